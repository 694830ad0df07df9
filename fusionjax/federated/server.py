"""The ServerApp: fits one after another, each with the sites that are there.

Its run config names the `card` (a dataset.toml, whose records are at the sites alone), the folder
`out`, whether sums are `secure`, and then whether a request whose sum cannot be is `opened` to find
out whose answer it was, the `deadline` of an answer in seconds, how many `fits` to make, for how
many `sites` to wait before each and for how long (`patience`), and `draws` and `seed`.
`out/fit-N` gets the model, `out/fits.json` who took part and what was sent, and `out/sums.jsonl` a
line for each sum as it is made.
"""

import json
import time
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fusionjax import card as cards
from fusionjax import files, model
from fusionjax.federated import flower
from fusionjax.federated import model as federated
from fusionjax.federated.coordinator import Believe, Federation, Sum, Transport
from fusionjax.federated.messages import Request

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Make the fits of the run config."""
    config = context.run_config
    out, deadline = Path(str(config["out"])), float(config["deadline"])
    secure = bool(config["secure"])
    way = flower.secure(grid, context, deadline) if secure else flower.plain(grid, deadline)
    seen = flower.plain(grid, deadline) if secure and bool(config["opened"]) else None
    federation = Federation(way, least=3 if secure else 2, opened=seen)
    federation.transport = _told(federation, way, out / "sums.jsonl")
    card = cards.load(Path(str(config["card"])), records=False)
    for number in range(1, int(config["fits"]) + 1):
        _wait(federation, int(config["sites"]), float(config["patience"]))
        draws, seed = int(config["draws"]), int(config["seed"])
        found = federated.fit(federation, card, draws=draws, seed=seed)
        model.save(found, out / f"fit-{number}")
        _note(federation, out / "fits.json")


def _wait(federation: Federation, sites: int, patience: float) -> None:
    """Until so many sites are there, or for so long."""
    end = time.monotonic() + patience
    while len(federation.transport.present()) < sites and time.monotonic() < end:
        time.sleep(0.5)


def _told(federation: Federation, way: Transport, path: Path) -> Transport:
    """The transport, which appends a line to `path` for every sum."""
    started = time.monotonic()

    def total(request: Request, sites: tuple[str, ...], believe: Believe) -> Sum:
        began = time.monotonic() - started
        found = way.total(request, sites, believe)
        line = {
            "fit": federation.fits,
            "task": request.task,
            "asked": sites,
            "members": found.members,
            "sent": found.sent,
            "absent": found.absent,
            "doubted": found.doubted,
            "began": round(began, 2),
            "seconds": round(time.monotonic() - started, 2),
        }
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return found

    return way._replace(total=total)


def _note(federation: Federation, path: Path) -> None:
    """Add who took part in the fit, and all that has happened so far, whole or not at all."""
    content = json.loads(path.read_text()) if path.exists() else []
    events = [event._asdict() for event in federation.events]
    content.append({"members": federation.members, "events": events})
    files.write(path, json.dumps(content, indent=1))
