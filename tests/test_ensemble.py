"""A deep ensemble over ψ: a mixture of members, whose uncertainty has three parts."""

from dataclasses import replace

import numpy as np
import pytest

from fusionjax import ensemble
from fusionjax.fitting import log_probs
from fusionjax.model import Model, diagnose
from fusionjax.study import ordered
from tests.small_study import CONFIG, ENCODERS, Small


@pytest.fixture(scope="module")
def members(small: Small) -> tuple[Model, ...]:
    """Two members; the engine of their posteriors is not the default one."""
    return ensemble.fit_members(small.study, ENCODERS, replace(CONFIG, posterior="independence"), 2)


def test_each_member_has_its_own_encoders_and_certificate(members: tuple[Model, ...]) -> None:
    assert [member.certificate.engine for member in members] == ["independence"] * 2
    one, two = (np.asarray(member.members[0].maps[0].matrix) for member in members)
    assert one.shape != two.shape or not np.allclose(one, two)


def test_probabilities_are_the_mean_over_members(small: Small, members: tuple[Model, ...]) -> None:
    rows = small.study.split.test
    (batch,) = ordered(small.study, rows)
    found = ensemble.mixed(members, batch)
    each = [np.exp(log_probs(member, small.study, rows)) for member in members]
    np.testing.assert_allclose(found.prob[: len(rows)], np.mean(each, axis=0), rtol=1e-4)


def test_uncertainty_adds_up_and_members_that_differ_are_epistemic(
    small: Small, members: tuple[Model, ...]
) -> None:
    (batch,) = ordered(small.study, small.study.split.test)
    found = ensemble.mixed(members, batch)
    np.testing.assert_allclose(found.total, found.aleatoric + found.epistemic, atol=1e-5)
    some = np.asarray(batch.presence).any(axis=1)
    assert np.asarray(found.between)[some].mean() > 1e-4
    assert np.asarray(found.between)[~some] == pytest.approx(0, abs=1e-5)


def test_a_member_twice_is_that_member(small: Small, members: tuple[Model, ...]) -> None:
    (batch,) = ordered(small.study, small.study.split.test)
    twice, alone = ensemble.mixed(members[:1] * 2, batch), diagnose(members[0], batch).predictive
    for name in ("prob", "total", "aleatoric", "epistemic"):
        np.testing.assert_allclose(getattr(twice, name), getattr(alone, name), atol=1e-6)
    np.testing.assert_allclose(twice.between, 0, atol=1e-6)
