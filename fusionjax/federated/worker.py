"""A site's process that stays: it runs the ClientApp for one message after another.

Flower starts a process for every message, which would import JAX and compile anew for each of a
fit's sums. Beside a SuperNode with `--isolation process` this one takes the tasks instead:

    python -m fusionjax.federated.worker --runtime 127.0.0.1:9094 [--root-certificates ca.pem]

It speaks the SuperNode's own Runtime API, by the functions that Flower's process is made of.
"""

import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Config:
    """Where the SuperNode's Runtime API is, and the certificate of who signed its own."""

    runtime: str
    root_certificates: Path | None = None
    poll: float = 0.05


def run(config: Config) -> None:
    """Take tasks for as long as the process lives."""
    from flwr.proto.runtime_pb2 import AcquireTaskRequest

    client = _client(config, None)
    while True:
        try:
            task = client.AcquireTask(AcquireTaskRequest(supported_task_types=["flwr-clientapp"]))
        except Exception as error:
            # The SuperNode may not be up yet, or be gone for a while.
            print(f"no task: {type(error).__name__}", flush=True)
            time.sleep(1.0)
            continue
        if task.token:
            _perform(config, task.token)
        time.sleep(config.poll)


def _perform(config: Config, token: str) -> None:
    """Pull a message, run the ClientApp, push its reply and what it keeps."""
    from flwr.app import Message
    from flwr.app.error import Error
    from flwr.common.constant import ErrorCode, SubStatus
    from flwr.supernode.runtime.run_clientapp import (
        pull_task_input,
        push_message,
        push_task_output,
    )

    from fusionjax.federated.client import app

    client = _client(config, token)
    message, context, _, _ = pull_task_input(client)
    try:
        reply, status = app(message=message, context=context), SubStatus.COMPLETED
    except Exception as error:
        traceback.print_exc()
        code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
        reply = Message(Error(code=code, reason=str(error)), reply_to=message)
        status = SubStatus.FAILED
    push_message(client, reply, context)
    push_task_output(client, context, status, "")
    client.close()


def _client(config: Config, token: str | None):
    from flwr.supercore.interceptors import (
        RuntimeTokenHttpInterceptor,
        RuntimeVersionHttpInterceptor,
    )
    from flwr.supercore.retry import make_simple_http_retry_invoker
    from flwr.supercore.runtime import RuntimeHttpClient

    name = "flwr-clientapp" if token else "SuperExec"
    interceptors = [RuntimeVersionHttpInterceptor(component_name=name)]
    root = config.root_certificates
    return RuntimeHttpClient.from_server_address(
        server_address=config.runtime,
        insecure=root is None,
        root_certificates=root.read_bytes() if root else None,
        interceptors=interceptors + ([RuntimeTokenHttpInterceptor(token)] if token else []),
        retry_invoker=make_simple_http_retry_invoker(),
    )


if __name__ == "__main__":
    run(tyro.cli(Config, description=__doc__))
