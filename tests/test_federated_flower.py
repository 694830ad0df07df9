"""Flower's transports: in this process with sites that fail, and over real TLS processes."""

import copy
import itertools
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("flwr", reason="the extra federation is not installed")
    import flwr.serverapp
    from flwr.app import Context, Message, RecordDict
    from flwr.app.error import Error
    from flwr.supercore.task_identity import TaskIdentity

    from fusionjax.federated import client, flower, wire

from fusionjax.federated.coordinator import Transport
from fusionjax.federated.messages import Arrays, Request

SITES = ("east", "north", "south", "west")
REQUEST = Request(
    "expand", {"u": np.zeros(2)}, {"value": (), "labels": (2,), "slope": (3,)}, ("labels",)
)


def sums(site: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(SITES.index(site))
    return {
        "value": np.asarray(-1e5 * rng.random()),
        "labels": rng.integers(0, 1000, 2),
        "slope": rng.normal(size=3),
    }


class Grid(flwr.serverapp.Grid):
    """Sites in this process: `away(site, number)` says which of a site's messages find nobody."""

    run = set_run = create_message = get_node_ids = send_and_receive = None  # type: ignore

    def __init__(self, away: Callable[[str, int], bool] = lambda site, number: False):
        self.away, self.replies, self.numbers = away, {}, itertools.count()
        self.asked = dict.fromkeys(SITES, 0)
        self.contexts = {
            site: Context(1, i + 1, {"site": site, "folder": "", "cache": ""}, RecordDict(), {})
            for i, site in enumerate(SITES)
        }

    def get_nodes(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(node_id=i + 1, name=site) for i, site in enumerate(SITES)]

    def push_messages(self, messages) -> list[str]:
        names = []
        for message in messages:
            name, site = str(next(self.numbers)), SITES[message.metadata.dst_node_id - 1]
            message.metadata.__dict__["_message_id"] = name
            message.__dict__["_content"] = copy.deepcopy(message.content)
            self.asked[site] += 1
            names.append(name)
            if not self.away(site, self.asked[site]):
                self.replies[name] = self.answer(message, self.contexts[site])
        return names

    def answer(self, message: Message, context: Context) -> Message:
        try:
            return client.app(message=message, context=context)
        except Exception as error:
            return Message(Error(code=1, reason=str(error)), reply_to=message)

    def pull_messages(self, names) -> list[Message]:
        return [self.replies.pop(name) for name in list(names) if name in self.replies]


@pytest.fixture(autouse=True)
def identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower asks who it is that sends: this process is the ServerApp of run 1."""
    monkeypatch.setattr(TaskIdentity, "_run_id", 1)
    monkeypatch.setattr(TaskIdentity, "_node_id", 1)
    monkeypatch.setattr(TaskIdentity, "_task_id", 1)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sites answer `sums`; the site named to this function cannot."""
    broken = set()

    def answer(request: Request, context: Context) -> Arrays:
        site = str(context.node_config["site"])
        if site in broken:
            raise KeyError("a note's text")
        return sums(site)

    monkeypatch.setattr(client, "_answer", answer)
    return broken.add


def transport(kind: str, grid: Any) -> Transport:
    context = Context(1, 0, {}, RecordDict(), {})
    if kind == "plain":
        return flower.plain(grid, 0.3)
    return flower.secure(grid, context, 0.3)


def believed(site: str, answer: Arrays) -> None:
    assert set(answer) == set(REQUEST.expected)


@pytest.mark.parametrize("kind", ["plain", "secure"])
def test_a_sum_by_flower_is_the_sum(kind, answers) -> None:
    found = transport(kind, Grid()).total(REQUEST, SITES, believed)
    assert found.members == SITES
    assert not found.absent
    for name in REQUEST.expected:
        want = sum(np.asarray(sums(site)[name], np.float64) for site in SITES)
        np.testing.assert_allclose(found.arrays[name], want, rtol=1e-14, atol=1e-12)
    assert set(found.sent) == set(SITES)
    assert min(found.sent.values()) >= 48


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_site_that_leaves_at_any_stage_is_named_and_not_in_the_sum(stage, answers) -> None:
    grid = Grid(lambda site, number: site == "north" and number >= stage)
    found = transport("secure", grid).total(REQUEST, SITES, believed)
    assert found.members == ("east", "south", "west")
    assert set(found.absent) == {"north"}
    assert not found.arrays, "what the coordinator would drop is not even opened"


def test_who_leaves_at_unmasking_is_in_the_sum(answers) -> None:
    grid = Grid(lambda site, number: site == "north" and number >= 4)
    found = transport("secure", grid).total(REQUEST, SITES, believed)
    assert found.members == SITES
    want = sum(sums(site)["slope"] for site in SITES)
    np.testing.assert_allclose(found.arrays["slope"], want, atol=1e-12)


@pytest.mark.parametrize("kind", ["plain", "secure"])
def test_an_error_at_a_site_says_nothing_of_its_records(kind, answers) -> None:
    answers("west")
    found = transport(kind, Grid()).total(REQUEST, SITES, believed)
    assert found.members == ("east", "north", "south")
    assert "a note's text" not in str(found.absent)
    assert set(found.absent) == {"west"}


def test_a_masked_sum_that_too_few_stay_for_is_not_opened(answers) -> None:
    grid = Grid(lambda site, number: site in ("north", "west") and number >= 4)
    found = transport("secure", grid).total(REQUEST, SITES, believed)
    assert not found.arrays
    assert set(found.absent) == {"north", "west"}


def test_masked_answers_tell_nothing_of_the_sums_by_themselves(answers) -> None:
    """The same answer twice is masked by other numbers, and neither is the answer's limbs."""
    seen = []

    class Watched(Grid):
        def answer(self, message: Message, context: Context) -> Message:
            reply = super().answer(message, context)
            for record in reply.content.config_records.values():
                for value in record.values():
                    vectors = value if isinstance(value, list) else []
                    seen.extend(x for x in vectors if isinstance(x, bytes) and len(x) > 400)
            return reply

    for _ in range(2):
        transport("secure", Watched()).total(REQUEST, SITES, believed)
    limbs = wire.to_limbs(sums("east"), REQUEST) + wire.RANGE / 2
    assert seen
    assert len(set(seen)) == len(seen)
    assert limbs.astype(np.int64).tobytes() not in b"".join(seen)


def test_flower_folds_a_masks_secret_to_32_bits() -> None:
    """A limit that docs/federation.md states; should Flower mend it, the page must follow."""
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

    one, other = bytes(range(32)), bytes(range(28, 32)) + bytes(range(4, 28)) + bytes(range(4))
    assert one != other
    first, second = (pseudo_rand_gen(secret, 1 << 32, [(4,)])[0] for secret in (one, other))
    np.testing.assert_array_equal(first, second)


def test_a_request_survives_the_wire() -> None:
    found = wire.unpack(wire.pack(REQUEST))
    np.testing.assert_array_equal(found.arrays["u"], REQUEST.arrays["u"])
    assert found._replace(arrays={}) == REQUEST._replace(arrays={})


@pytest.mark.slow
def test_over_tls_processes_a_fit_equals_the_pooled_one(tmp_path: Path, real_data) -> None:
    from experiments import federated_cardiology as study
    from experiments.cards import place_card
    from fusionjax import model
    from fusionjax.federated import deployment

    real_data("heart")
    folders, card = study.split(tmp_path / "dataset"), place_card("heart", tmp_path / "card")
    sites = ("cleveland", "hungary", "switzerland")
    at, out = deployment.place(tmp_path, sites), tmp_path / "out"
    out.mkdir()
    processes = [deployment.superlink(at)]
    try:
        for site in sites:
            deployment.register(at, site)
            processes += deployment.supernode(at, site, folders[site])
        told = {"card": str(card), "out": str(out), "fits": 1}
        told |= {"secure": False, "opened": False, "deadline": 60.0, "sites": 3, "patience": 120.0}
        deployment.run(at, told | {"draws": 50, "seed": 0})
        end = time.monotonic() + 500
        while not (out / "fits.json").exists():
            assert time.monotonic() < end, (tmp_path / "superlink.log").read_text()[-2000:]
            time.sleep(0.5)
    finally:
        deployment.stop(*processes)
    assert json.loads((out / "fits.json").read_text())[0]["members"] == list(sites)
    whole = [folders[site] for site in sites]
    want, bias = study.pooled(tmp_path / "pooled", whole, seed=0, draws=50)
    apart = study.compare(model.load(out / "fit-1"), want, bias)
    assert max(apart["theta"], apart["tau"], apart["bias"]) < 1e-5
