"""Sums over sites against the pooled fit, sites that fail, and numbers that add up under masks."""

from collections import Counter
from collections.abc import Callable, Mapping
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionjax.federated import coordinator, fixed_point, levels, messages, places, site
from fusionjax.federated import posterior as federated
from fusionjax.federated.coordinator import Federation, FederationError
from fusionjax.federated.messages import Arrays, Refusal, Request
from fusionjax.posterior import Observations, importance, newton
from tests.test_posterior import simulated

SIZES = (3, 4)
ENDS = {"north": (0, 70), "east": (70, 100), "south": (100, 180), "west": (180, 200)}
"""Rows of each site; west has nothing of the second modality."""


@pytest.fixture(scope="module")
def pooled() -> tuple[Observations, jax.Array]:
    observations, bias, _ = simulated(0, 200, SIZES, 3)
    start, stop = ENDS["west"]
    presence = observations.presence.at[start:stop, 1].set(False)
    second = observations.features[1].at[start:stop].set(0)
    weight = jnp.asarray(np.random.default_rng(1).uniform(0.2, 1.0, 200), jnp.float32)
    features = (observations.features[0], second)
    return Observations(features, presence, observations.onehot, weight), bias


def part(observations: Observations, names: tuple[str, ...]) -> Observations:
    rows = np.concatenate([np.arange(*ENDS[name]) for name in names])
    return jax.tree.map(lambda x: x[rows], observations)


def federation(pooled, spoil: Callable | None = None, least: int = 2) -> Federation:
    """Of sites in this process; `spoil(site, number, answer)` may change or withhold an answer."""
    observations, bias = pooled
    sites = {name: site.rows(part(observations, (name,)), bias) for name in ENDS}
    asked = dict.fromkeys(ENDS, 0)

    def ask(request: Request, names: tuple[str, ...]) -> Mapping[str, Arrays | Refusal]:
        answers = {}
        for name in names:
            asked[name] += 1
            answer = site.answer(sites[name], request)
            answer = spoil(name, asked[name], answer) if spoil else answer
            if answer is not None:
                answers[name] = {field: np.asarray(x) for field, x in answer.items()}
        return answers

    return Federation(coordinator.plain(ask, lambda: tuple(ENDS)), least)


def shape(pooled) -> federated.Shape:
    return federated.Shape(np.asarray(pooled[1]), SIZES)


def mode(pooled, names: tuple[str, ...], tau: np.ndarray) -> np.ndarray:
    """Of the pooled rows of these sites; the others weigh nothing."""
    observations, bias = pooled
    row = np.arange(len(observations.weight))
    there = np.any(
        [(row >= start) & (row < stop) for start, stop in (ENDS[name] for name in names)], axis=0
    )
    weight = jnp.where(there, observations.weight, 0)
    with jax.enable_x64(True):
        exact = newton.prepare(observations._replace(weight=weight), bias)
        return np.asarray(newton.solve(tau, *exact).z)


def federated_mode(federation: Federation, pooled, tau: np.ndarray) -> np.ndarray:
    found = federation.fit(lambda f: federated.solve(f, shape(pooled), tau)[0])
    return np.asarray(found.z)


TAU = np.array([0.7, 1.3])


def test_newton_from_sums_is_newton_on_the_pooled_rows(pooled) -> None:
    found = federated_mode(federation(pooled), pooled, TAU)
    np.testing.assert_allclose(found, mode(pooled, tuple(ENDS), TAU), atol=1e-12)


def test_draws_from_sums_are_those_of_the_pooled_rows(pooled) -> None:
    key = jax.random.key(0)
    want = importance.fit(key, *pooled, draws=100)
    found = federation(pooled).fit(
        lambda f: federated.fit(key, f, shape(pooled), engine="importance", draws=100)
    )
    for mine, theirs in zip((*found.theta, found.tau), (*want.theta, want.tau), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert found.certificate.ok == want.certificate.ok
    np.testing.assert_allclose(found.certificate.k_hat, want.certificate.k_hat, atol=1e-4)


def nan(answer: Arrays) -> Arrays:
    return {**answer, "slope": answer["slope"] * np.nan}


def short(answer: Arrays) -> Arrays:
    return {**answer, "slope": answer["slope"][1:]}


def unasked(answer: Arrays) -> Arrays:
    return {**answer, "names": np.zeros(3)}


def positive(answer: Arrays) -> Arrays:
    return {**answer, "value": np.asarray(-answer["value"])}


def indefinite(answer: Arrays) -> Arrays:
    return {**answer, "curvature": -answer["curvature"]}


def crooked(answer: Arrays) -> Arrays:
    return {**answer, "curvature": np.triu(answer["curvature"])}


def too_curved(answer: Arrays) -> Arrays:
    return {**answer, "curvature": 1e3 * answer["curvature"]}


def other_records(answer: Arrays) -> Arrays:
    return {**answer, "value": np.asarray(answer["value"] / 3)}


ABSURD = {
    nan: "finite",
    short: "shape",
    unasked: "fields",
    positive: "positive",
    indefinite: "eigenvalue",
    crooked: "symmetric",
    too_curved: "constant",
    other_records: "concave",
}


@pytest.mark.parametrize("wrong", ABSURD)
def test_an_answer_that_cannot_be_is_left_out_and_its_site_named(pooled, wrong) -> None:
    def spoil(name: str, number: int, answer: Arrays) -> Arrays:
        return wrong(answer) if name == "east" and number == 3 else answer

    made = federation(pooled, spoil)
    rest = ("north", "south", "west")
    np.testing.assert_allclose(
        federated_mode(made, pooled, TAU), mode(pooled, rest, TAU), atol=1e-12
    )
    assert made.members == rest
    (event,) = made.events
    assert (event.site, event.what) == ("east", "doubted")
    assert ABSURD[wrong] in event.reason
    federated_mode(made, pooled, TAU)
    assert made.members == rest, "a site that is not believed is not asked again"


def test_a_site_that_lags_is_left_out_and_taken_back_in_the_next_fit(pooled) -> None:
    def spoil(name: str, number: int, answer: Arrays) -> Arrays | None:
        return None if name == "north" and number == 4 else answer

    made = federation(pooled, spoil)
    rest = ("east", "south", "west")
    np.testing.assert_allclose(
        federated_mode(made, pooled, TAU), mode(pooled, rest, TAU), atol=1e-12
    )
    again = federated_mode(made, pooled, TAU)
    np.testing.assert_allclose(again, mode(pooled, tuple(ENDS), TAU), atol=1e-12)
    assert [(e.fit, e.site, e.what) for e in made.events] == [
        (1, "north", "absent"),
        (2, "north", "back"),
    ]


def test_a_fit_that_dropped_nothing_of_a_lost_site_would_not_pass(pooled) -> None:
    """The distance that the tests above could see, were the lost site still in the sums."""
    rest = ("east", "south", "west")
    gap = np.abs(mode(pooled, rest, TAU) - mode(pooled, tuple(ENDS), TAU))
    assert np.max(gap) > 1e-2


def test_too_few_sites_are_an_error_that_names_why(pooled) -> None:
    def spoil(name: str, number: int, answer: Arrays) -> Arrays | None:
        return answer if name == "south" else None

    with pytest.raises(FederationError, match=r"1 sites take part \(south\).*no answer before"):
        federated_mode(federation(pooled, spoil), pooled, TAU)


def test_more_records_than_were_announced_are_not_believed(pooled) -> None:
    answer = site.answer(
        site.rows(*pooled),
        Request("expand", {"u": np.zeros((7, 2))}, {}),
    )
    announced = float(np.sum(pooled[0].weight))
    constants = np.array([0, 3])
    messages.check_expansion(answer, announced, constants)
    with pytest.raises(messages.Doubt, match="announced"):
        messages.check_expansion(answer, announced - 1, constants)


def test_gains_above_the_tangent_are_not_believed(pooled) -> None:
    rows, centre = site.rows(*pooled), np.zeros((7, 2))
    before = site.answer(rows, Request("expand", {"u": centre}, {}))
    u = np.random.default_rng(0).normal(size=(5, 7, 2))
    answer = site.answer(rows, Request("gains", {"u": u, "centre": centre}, {}))
    messages.check_gains(answer, u, before, centre)
    with pytest.raises(messages.Doubt, match="concave"):
        messages.check_gains({"gains": answer["gains"] + 200}, u, before, centre)


def masked(pooled, wrong: str) -> coordinator.Transport:
    """Sums alone are seen, and one site's log-likelihood is positive by far."""
    observations, bias = pooled
    sites = {name: site.rows(part(observations, (name,)), bias) for name in ENDS}

    def total(request: Request, names: tuple[str, ...], believe) -> coordinator.Sum:
        answers = [site.answer(sites[name], request) for name in names]
        summed = {field: np.asarray(sum(a[field] for a in answers)) for field in answers[0]}
        if wrong in names:
            summed["value"] = np.asarray(summed["value"] + 1e6)
        believe("", summed)
        return coordinator.Sum(summed, names, {}, {}, {})

    return coordinator.Transport(lambda: tuple(ENDS), total)


def test_a_masked_sum_that_cannot_be_names_all_that_are_in_it(pooled) -> None:
    made = Federation(masked(pooled, "east"))
    with pytest.raises(FederationError, match="east, north, south, west cannot be"):
        federated_mode(made, pooled, TAU)


def test_a_masked_sum_that_cannot_be_is_opened_where_that_is_allowed(pooled) -> None:
    def spoil(name: str, number: int, answer: Arrays) -> Arrays:
        return positive(answer) if name == "east" else answer

    made = Federation(masked(pooled, "east"), opened=federation(pooled, spoil).transport)
    rest = ("north", "south", "west")
    np.testing.assert_allclose(
        federated_mode(made, pooled, TAU), mode(pooled, rest, TAU), atol=1e-12
    )
    assert [(e.site, e.what) for e in made.events] == [("east", "doubted")]


NUMBERS = st.floats(-(2.0**42), 2.0**42, allow_nan=False)


@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=5), st.randoms())
def test_limbs_add_up_under_masks(values, random) -> None:
    modulus = 1 << 32
    masks = [random.randrange(modulus) for _ in values]
    limbs = [fixed_point.encode(np.array(x)) + m for x, m in zip(values, masks, strict=True)]
    total = (sum(limbs) - sum(masks)) % modulus
    found = fixed_point.decode(total, len(values))
    exact = [sum(map(Fraction, column)) for column in zip(*values, strict=True)]
    for mine, want in zip(found, exact, strict=True):
        ease = len(values) * Fraction(1, 2**45) + abs(want) * Fraction(1, 2**52)
        assert abs(Fraction(float(mine)) - want) <= ease


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0**43, -(2.0**43)])
def test_what_has_no_limbs_is_refused(value) -> None:
    with pytest.raises(ValueError, match="not finite"):
        fixed_point.encode(np.array([0.0, value]))


@pytest.mark.parametrize("value", [-1, 0.5, 2**22, np.nan])
def test_what_is_no_count_is_refused(value) -> None:
    with pytest.raises(ValueError, match="not a whole number"):
        fixed_point.encode_counts(np.array([0, value]))


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(FLOATS, min_size=1, max_size=30), st.data())
def test_counting_finds_an_order_statistic_to_the_bit(values, data) -> None:
    column, prefix = np.array(values, np.float32), np.zeros(1, np.int64)
    rank = data.draw(st.integers(0, len(values) - 1))
    left = np.array([rank])
    for depth in range(len(places.BITS)):
        parts = np.array_split(places.place(column), 3)
        counts = sum(places.count(part, int(prefix[0]), depth) for part in parts)
        prefix, left = places.descend(counts[None, :], prefix, left, depth)
    assert places.value(prefix)[0] == np.sort(column)[rank]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=7)


@given(st.lists(st.dictionaries(TEXTS, st.integers(1, 9), max_size=4), min_size=1, max_size=3))
def test_levels_are_read_from_a_sum_of_tables_or_not_at_all(counted) -> None:
    total: Counter = Counter()
    for one in counted:
        total.update(one)
    for buckets in (4, 512):
        tables = [levels.table(one, buckets) for one in counted]
        found = levels.read({name: sum(t[name] for t in tables) for name in tables[0]})
        assert found in (None, dict(total))


def test_a_level_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        levels.table({"é" * 17: 1}, 64)
