"""The ServerApp's side of Flower: two transports for a coordinator.

`plain` sees each site's answer. `secure` sees sums alone, by Flower's SecAgg+ (Bell et al. 2020,
"Secure single-server aggregation with (poly)logarithmic overhead"), whose four stages are run here
one by one so that who left at which of them is known. Its quantiser is set to steps of 1 on the
limbs of `fixed_point`, so that nothing is lost by it.
"""

import time
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.common import parameters_to_ndarrays
from flwr.compat.common import recorddict_compat as compat
from flwr.server.compat.legacy_context import LegacyContext
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.server.workflow.secure_aggregation.secaggplus_workflow import WorkflowState
from flwr.serverapp import Grid

from fusionjax.federated import coordinator, wire
from fusionjax.federated.coordinator import Believe, Sum, Transport
from fusionjax.federated.messages import Arrays, Refusal, Request

POLL = 0.1
SHARE = 0.75
"""Of the sites that must stay for a masked sum to be opened: of four, one may leave midway."""


class Node(NamedTuple):
    """A SuperNode that is there; its name was given when its public key was registered."""

    id: int
    name: str


def nodes(grid: Grid) -> tuple[Node, ...]:
    """Who is there now, by name."""
    found: Any = grid.get_nodes()
    return tuple(sorted((Node(n.node_id, n.name or str(n.node_id)) for n in found), key=_name))


def plain(grid: Grid, deadline: float) -> Transport:
    """Answers that come within `deadline` seconds, each seen and judged by the coordinator."""

    def ask(request: Request, sites: tuple[str, ...]) -> Mapping[str, Arrays | Refusal]:
        there = {n.id: n.name for n in nodes(grid) if n.name in sites}
        content = compat.fitins_to_recorddict(wire.pack(request), keep_input=False)
        messages = [Message(content, node, "query") for node in there]
        answers: dict[str, Arrays | Refusal] = {
            name: Refusal("not connected") for name in set(sites) - set(there.values())
        }
        for reply in _Prompt(grid).send_and_receive(messages, timeout=deadline):
            answers[there[reply.metadata.src_node_id]] = _opened(reply, request)
        return answers

    return coordinator.plain(ask, lambda: tuple(n.name for n in nodes(grid)))


def secure(grid: Grid, context: Context, deadline: float) -> Transport:
    """Sums by SecAgg+; each of its four stages waits for `deadline` seconds at most."""

    def total(request: Request, sites: tuple[str, ...], believe: Believe) -> Sum:
        there = {n.id: n.name for n in nodes(grid) if n.name in sites}
        absent = dict.fromkeys(sorted(set(sites) - set(there.values())), "not connected")
        watched = _Prompt(grid)
        mean, stages = _secagg(watched, context, request, tuple(there), deadline)
        for stage, left in stages.items():
            absent |= {there[node]: f"no answer at {stage}" for node in left}
        members = tuple(site for site in sites if site not in absent)
        sent = {there[node]: size for node, size in watched.received.items() if node in there}
        if mean is None:
            return Sum({}, members, sent, absent or dict.fromkeys(sites, "too few answered"), {})
        arrays = wire.from_mean(mean, len(members), request)
        believe("", arrays)
        return Sum(arrays, members, sent, absent, {})

    return Transport(lambda: tuple(n.name for n in nodes(grid)), total)


def _secagg(grid: Any, context: Context, request: Request, asked: tuple[int, ...], deadline):
    """The mean of the answers, None if it could not be opened, and who left at which stage."""
    strategy: Any = _Strategy(request, asked)
    legacy = LegacyContext(context, strategy=strategy, client_manager=strategy)
    legacy.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({WorkflowKey.CURRENT_ROUND: 1})
    legacy.state.array_records[MAIN_PARAMS_RECORD] = ArrayRecord()
    workflow = SecAggPlusWorkflow(
        num_shares=1.0,
        reconstruction_threshold=SHARE,
        max_weight=1.0,
        clipping_range=wire.RANGE / 2,
        quantization_range=wire.RANGE,
        modulus_range=1 << 32,
        timeout=deadline,
    )
    state, left, before = WorkflowState(), {}, set(asked)
    steps = {
        "setup": workflow.setup_stage,
        "the exchange of keys": workflow.share_keys_stage,
        "the masked sum": workflow.collect_masked_vectors_stage,
        "unmasking": workflow.unmask_stage,
    }
    for stage, step in steps.items():
        went_on = step(grid, legacy, state)
        if stage != "unmasking":
            left[stage] = before - set(state.active_node_ids)
            before = set(state.active_node_ids)
        if not went_on:
            return None, left
    return strategy.mean, left


class _Strategy:
    """What the workflow asks of a strategy and a client manager: whom, what, and the result."""

    def __init__(self, request: Request, asked: tuple[int, ...]):
        self.request, self.asked = request, asked
        self.mean: Any = None

    def configure_fit(self, server_round: int, parameters: Any, client_manager: Any) -> list:
        """One instruction a site."""
        return [(SimpleNamespace(node_id=n), wire.pack(self.request)) for n in self.asked]

    def aggregate_fit(self, server_round: int, results: list, failures: list) -> tuple:
        """Keep the mean, which the workflow puts into every result."""
        self.mean = parameters_to_ndarrays(results[0][1].parameters)[0]
        return None, {}

    def num_available(self) -> int:
        """For the workflow's log."""
        return len(self.asked)


class _Prompt:
    """A grid that looks for replies ten times a second, and counts the bytes of each site's."""

    def __init__(self, grid: Grid):
        self.grid = grid
        self.received: dict[int, int] = {}

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None) -> list:
        """Replies that come within `timeout` seconds."""
        waiting = {m for m in self.grid.push_messages(messages) if m}
        end, replies = time.monotonic() + (timeout or 0.0), []
        while waiting and time.monotonic() < end:
            for reply in self.grid.pull_messages(waiting):
                waiting.discard(reply.metadata.reply_to_message_id)
                replies.append(reply)
                node = reply.metadata.src_node_id
                if reply.has_content():
                    self.received[node] = self.received.get(node, 0) + _size(reply.content)
            time.sleep(POLL)
        return replies


def _opened(reply: Message, request: Request) -> Arrays | Refusal:
    if reply.has_error():
        return Refusal(f"Flower reports: {reply.error.reason}")
    found = compat.recorddict_to_fitres(reply.content, keep_input=True)
    if found.metrics.get("refusal"):
        return Refusal(f"the site reports: {found.metrics['refusal']}")
    return wire.by_name(parameters_to_ndarrays(found.parameters), request)


def _size(content: RecordDict) -> int:
    arrays = sum(len(a.data) for record in content.array_records.values() for a in record.values())
    return arrays + sum(
        len(x)
        for record in content.config_records.values()
        for value in record.values()
        for x in (value if isinstance(value, list) else [value])
        if isinstance(x, bytes)
    )


def _name(node: Node) -> str:
    return node.name
