"""Repetitions are summarised patient by patient, and test sets of several models as one."""

import numpy as np

from experiments import repeat


def trial(seed: int, records: int = 40) -> repeat.Trial:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, records)
    sure = np.where(label[:, None] == np.arange(2)[None, :], 0.8, 0.2)
    log_prob = {"fusion": np.log(sure), "coin": np.log(np.full((records, 2), 0.5))}
    roles = {"fusion": "fusion", "coin": "baseline"}
    return repeat.Trial(label, np.arange(records), log_prob, roles, ("linear",))


def test_a_worse_rival_has_a_positive_nll_difference() -> None:
    fusion, coin = repeat.summarise([trial(0), trial(1)])
    assert fusion["difference"] == {}
    assert np.isclose(fusion["metrics"]["nll"]["value"], -np.log(0.8))
    assert np.isclose(coin["difference"]["nll"]["value"], np.log(0.8 / 0.5))
    assert coin["difference"]["nll"]["low"] > 0


def test_pooled_trials_keep_every_record_and_its_probabilities() -> None:
    parts = [trial(0, 30), trial(1, 20)]
    whole = repeat.pooled(parts)
    assert len(whole.label) == len(whole.group) == 50
    for name, log_prob in whole.log_prob.items():
        np.testing.assert_array_equal(log_prob[30:], parts[1].log_prob[name])
    assert whole.encoders == ("linear", "linear")
