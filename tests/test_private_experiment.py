"""The page of a private run has a table for what was measured, and none of the names of records."""

import pytest

pytest.importorskip("jax_privacy", reason="privacy is an extra: pip install 'fusionjax[privacy]'")

from experiments import private


def test_a_page_of_part_of_a_run_can_be_written():
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6}
    row = {"name": "private, ε = 1", "metrics": {"accuracy": estimate, "nll": estimate}}
    leak = {
        "model": "plain",
        "promised": None,
        "attack": "loss",
        "auc": 0.6,
        "auc_error": 0.01,
        "tpr": 0.02,
        "epsilon": 0.3,
    }
    content = {"guarantees": {"1": {"sentence": "(1, 0.0001)-private"}}, "models": [row]}
    text = private.page("heart", {**content, "leaks": [leak]})
    assert "(1, 0.0001)-private" in text
    assert "| private, ε = 1 | 0.500 [0.400, 0.600] | 0.500 [0.400, 0.600] |" in text
    assert "| plain | loss | 0.600 ± 0.010 | 0.020 | 0.30 | none |" in text
