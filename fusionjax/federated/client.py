"""The ClientApp: a site behind Flower.

A SuperNode is told by `--node-config` where the site's records are: `site` (its name), `folder`
(with a dataset.toml) and `cache`. What goes wrong at a site is told the coordinator by the name of
the error alone, since a message might quote a record; the site's own log has the rest.
"""

import traceback
from functools import lru_cache
from pathlib import Path

import numpy as np
from flwr.app import Context, Message
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import Code, FitRes, Scalar, Status, ndarrays_to_parameters
from flwr.compat.common import recorddict_compat as compat

from fusionjax.federated import wire
from fusionjax.federated.messages import Arrays, Request, check

app = ClientApp()


@app.query()
def plain(message: Message, context: Context) -> Message:
    """An answer that the coordinator sees."""
    request = wire.unpack(compat.recorddict_to_fitins(message.content, keep_input=True))
    try:
        return _reply(message, wire.in_order(_answer(request, context), request))
    except Exception as error:
        traceback.print_exc()
        return _reply(message, [], type(error).__name__)


@app.train(mods=[secaggplus_mod])
def secure(message: Message, context: Context) -> Message:
    """An answer that Flower masks before it leaves; its sum with others is all that can be read."""
    request = wire.unpack(compat.recorddict_to_fitins(message.content, keep_input=True))
    try:
        limbs = wire.to_limbs(_answer(request, context), request)
    except Exception as error:
        traceback.print_exc()
        raise RuntimeError(type(error).__name__) from None
    return _reply(message, [limbs])


def _answer(request: Request, context: Context) -> Arrays:
    from fusionjax.federated import hospital

    config = context.node_config
    found = hospital.answer(
        _hospital(str(config["site"]), str(config["folder"]), str(config["cache"])), request
    )
    check(found, request)
    return found


@lru_cache
def _hospital(site: str, folder: str, cache: str):
    """The site's records, those with a label: each is for the fit to read."""
    from fusionjax import card as cards
    from fusionjax.federated.hospital import Hospital
    from fusionjax.records.ingest import ingest

    records = ingest(cards.load(Path(folder)), Path(cache))
    return Hospital(site, records, np.flatnonzero(records.table["label"].to_numpy() >= 0))


def _reply(message: Message, arrays: list[np.ndarray], refusal: str = "") -> Message:
    # Every answer counts once, whatever the site's size: the sums themselves hold the weights.
    metrics: dict[str, Scalar] = {"refusal": refusal} if refusal else {}
    found = FitRes(Status(Code.OK, ""), ndarrays_to_parameters(arrays), 1, metrics)
    return Message(compat.fitres_to_recorddict(found, keep_input=False), reply_to=message)
