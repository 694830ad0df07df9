"""Adding up over sites that may lag, leave, come back, or answer what cannot be.

A fit is a function of one set of sites: all its sums must be over the same. When a site of the set
does not answer within the deadline, or is not believed, the sums so far are dropped and the fit
begins again with the others; so what it returns equals the pooled fit of the sites that it names,
and no late or doubtful answer is in it. A site that was late or away is asked again in the next
fit; one that was not believed is not, until the coordinator is made anew.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

from fusionjax.errors import FusionError
from fusionjax.federated.messages import (
    Arrays,
    Doubt,
    Refusal,
    Request,
    check,
    check_concave,
    check_expansion,
)

Fitted = TypeVar("Fitted")
Believe = Callable[[str, Arrays], None]
Ask = Callable[[Request, tuple[str, ...]], Mapping[str, Arrays | Refusal]]


class FederationError(FusionError):
    """A federation that cannot go on: too few sites are left, or who is wrong cannot be told."""


class Sum(NamedTuple):
    """A sum over `members`, and the bytes that each of them sent for it.

    `absent` and `doubted` say of the others why they are not in it.
    """

    arrays: Arrays
    members: tuple[str, ...]
    sent: Mapping[str, int]
    absent: Mapping[str, str]
    doubted: Mapping[str, str]


class Transport(NamedTuple):
    """How sites are reached: who is there, and the sum over those of some sites that answer.

    `total(request, sites, believe)` calls `believe(site, answer)`, which raises Doubt, for every
    answer that it can see; where it sees none but the sum, for the sum, with the site "".
    """

    present: Callable[[], tuple[str, ...]]
    total: Callable[[Request, tuple[str, ...], Believe], Sum]


class Event(NamedTuple):
    """What a site did in a fit, counted from 1, at which task: "absent", "doubted" or "back"."""

    fit: int
    task: str
    site: str
    what: str
    reason: str


class Federation:
    """The coordinator's state: who takes part, who is out, and a log of both.

    `sent[task, site]` counts answers and their bytes over all fits.
    """

    def __init__(self, transport: Transport, least: int = 2):
        """Fits need `least` sites. With fewer than three each site learns the other's sums."""
        self.transport, self.least = transport, least
        self.members: tuple[str, ...] = ()
        self.doubted: dict[str, str] = {}
        self.events: list[Event] = []
        self.sent: dict[tuple[str, str], tuple[int, int]] = {}
        self.fits = 0
        self._announced: dict[str, float] = {}
        self._last: dict[str, tuple[np.ndarray, Arrays]] = {}

    def fit(self, work: Callable[["Federation"], Fitted]) -> Fitted:
        """`work` with one set of sites from its beginning to its end; see the module.

        Raises FederationError where fewer than `least` are left.
        """
        before, away = self.members, set()
        self.fits += 1
        while True:
            here = set(self.transport.present()) - set(self.doubted)
            self.members = tuple(sorted(here - away))
            if len(self.members) < self.least:
                raise FederationError(
                    f"{len(self.members)} sites take part ({', '.join(self.members)}), and at "
                    f"least {self.least} must. {self._why()}"
                )
            for site in sorted(here - away - set(before)) if before else ():
                self.events.append(Event(self.fits, "census", site, "back", ""))
            self._announced, self._last, before = {}, {}, self.members
            try:
                return work(self)
            except _Departed:
                away |= set(before) - set(self.members)

    def total(self, request: Request) -> Arrays:
        """The sum of the members' answers; leaves `work` where a member is not in it."""
        asked = self.members
        try:
            found = self.transport.total(request, asked, partial(self._believe, request))
        except Doubt as doubt:
            raise FederationError(
                f"the sum over {', '.join(asked)} cannot be: {doubt}. Under secure aggregation "
                "nobody can tell whose answer is wrong: let each site look at its own records, or "
                "ask without secure aggregation"
            ) from doubt
        self._note(request, found)
        if found.members != asked:
            self.members = found.members
            raise _Departed
        return found.arrays

    def _believe(self, request: Request, site: str, answer: Arrays) -> None:
        check(answer, request)
        if request.task == "census":
            self._announced[site] = float(np.sum(answer["labels"]))
        if request.task == "expand":
            announced = self._announced.get(site, np.inf)
            check_expansion(answer, announced, request.arrays["constants"])
            u = request.arrays["u"]
            if site in self._last:
                centre, before = self._last[site]
                check_concave(answer, u, before, centre)
            self._last[site] = u, answer

    def _note(self, request: Request, found: Sum) -> None:
        for what, reasons in (("absent", found.absent), ("doubted", found.doubted)):
            for site, reason in reasons.items():
                self.events.append(Event(self.fits, request.task, site, what, reason))
        self.doubted |= found.doubted
        for site, size in found.sent.items():
            answers, before = self.sent.get((request.task, site), (0, 0))
            self.sent[request.task, site] = answers + 1, before + size

    def _why(self) -> str:
        said = [f"{e.site} was {e.what} ({e.reason})" for e in self.events if e.what != "back"]
        return "; ".join(said[-8:]) or "Nobody else is there"


class _Departed(Exception):
    """The set of sites has changed."""


def plain(ask: Ask, present: Callable[[], tuple[str, ...]]) -> Transport:
    """A transport by which the coordinator sees every answer, and judges each by itself."""

    def total(request: Request, sites: tuple[str, ...], believe: Believe) -> Sum:
        answers = ask(request, sites)
        good, absent, doubted = {}, {}, {}
        for site in sites:
            answer = answers.get(site, Refusal("no answer before the deadline"))
            if isinstance(answer, Refusal):
                absent[site] = answer.reason
                continue
            try:
                believe(site, answer)
                good[site] = answer
            except Doubt as doubt:
                doubted[site] = str(doubt)
        summed = {
            name: np.asarray(sum(np.asarray(a[name], np.float64) for a in good.values()))
            for name in request.expected
        }
        sent = {site: sum(x.nbytes for x in answer.values()) for site, answer in good.items()}
        return Sum(summed, tuple(good), sent, absent, doubted)

    return Transport(present, total)
