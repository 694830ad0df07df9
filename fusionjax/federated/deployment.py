"""A federation's processes on one machine: a SuperLink, and a SuperNode and a worker for each site.

All listen on localhost; every connection between a SuperNode and the SuperLink is TLS and
authenticated by the site's key, which must have been registered. Flower's telemetry and its look
for updates are off, and its files are kept in the folder of the run.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import fusionjax
from fusionjax.federated import credentials

APP = """\
[project]
name = "fusionjax-federation"
version = "1.0.0"
description = "Fits a log-linear model of records that stay where they are"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "fusionjax"
flwr-version-target = "{version}"

[tool.flwr.app.components]
serverapp = "fusionjax.federated.server:app"
clientapp = "fusionjax.federated.client:app"

[tool.flwr.app.config]
"""


Process = subprocess.Popen


class Place(NamedTuple):
    """Where a federation's files are, the port of its SuperLink, and its environment."""

    folder: Path
    port: int
    environment: Mapping[str, str]


def place(folder: Path, sites: tuple[str, ...]) -> Place:
    """Make keys and certificates, and Flower's configuration, in `folder`."""
    folder = folder.absolute()
    credentials.make(folder / "keys", sites)
    port, home = free_port(), folder / "flower"
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{port}"\n'
        f"root-certificates = {json.dumps(str(folder / 'keys' / 'ca.pem'))}\n"
    )
    environment = {
        **os.environ,
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_HOME": str(home),
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
        "PYTHONPATH": str(Path(fusionjax.__file__).parents[1]),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return Place(folder, port, environment)


def superlink(at: Place) -> Process:
    """Start the SuperLink and wait until it listens; raises TimeoutError after two minutes."""
    switches = "--enable-supernode-auth", "--disable-runtime-dependency-installation"
    command = ["flower-superlink", *switches, *_served(at), "--port", str(at.port)]
    process = _start(at, "superlink", command)
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", at.port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return process
    raise TimeoutError(f"no SuperLink: see {at.folder / 'superlink.log'}")


def register(at: Place, site: str) -> None:
    """Make a site's public key known, under its name."""
    key = at.folder / "keys" / f"{site}.pub"
    _flwr(at, "supernode", "register", str(key), "here", "--name", site)


def supernode(at: Place, site: str, folder: Path) -> tuple[Process, Process]:
    """Start a site's SuperNode and its worker; its records are in `folder`."""
    keys, port = at.folder / "keys", str(free_port())
    told = {"site": site, "folder": str(folder.absolute()), "cache": str(folder / "cache")}
    config = " ".join(f"{name}={json.dumps(value)}" for name, value in told.items())
    root = ["--root-certificates", str(keys / "ca.pem")]
    there = ["--superlink", f"127.0.0.1:{at.port}", *root]
    known = ["--auth-supernode-private-key", str(keys / f"{site}.key"), "--node-config", config]
    node = ["flower-supernode", *there, *known, *_served(at), "--port", port]
    work = [sys.executable, "-m", "fusionjax.federated.worker", "--runtime", f"127.0.0.1:{port}"]
    return (
        _start(at, f"{site}-supernode", [*node, "--isolation", "process"]),
        _start(at, f"{site}-worker", [*work, *root]),
    )


def run(at: Place, config: Mapping[str, str | int | float | bool]) -> None:
    """Start the ServerApp of `server` with this run config; returns when it is on its way."""
    from importlib.metadata import version

    app = at.folder / "app"
    app.mkdir(exist_ok=True)
    lines = [f"{name} = {json.dumps(value)}" for name, value in config.items()]
    content = APP.format(version=version("flwr")) + "\n".join(lines) + "\n"
    (app / "pyproject.toml").write_text(content)
    _flwr(at, "run", str(app), "here")


def stop(*processes: Process, kill: bool = False) -> None:
    """End these processes and what they started; with `kill`, without a word."""
    for process in processes:
        try:
            os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
        except ProcessLookupError:
            continue
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    """A port of localhost that nothing listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _served(at: Place) -> list[str]:
    """What a server of Flower's is told of its certificate and its host."""
    keys = at.folder / "keys"
    authority = ["--ssl-ca-certfile", str(keys / "ca.pem")]
    own = ["--ssl-certfile", str(keys / "server.pem"), "--ssl-keyfile", str(keys / "server.key")]
    return [*authority, *own, "--host", "127.0.0.1"]


def _start(at: Place, name: str, command: list[str]) -> Process:
    """In a session of its own, so that all that it starts ends with it."""
    with (at.folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            command, env=dict(at.environment), stdout=log, stderr=log, start_new_session=True
        )


def _flwr(at: Place, *words: str) -> None:
    done = subprocess.run(
        ["flwr", *words], env=dict(at.environment), capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        raise RuntimeError(f"flwr {' '.join(words)} failed: {done.stdout}{done.stderr}")
