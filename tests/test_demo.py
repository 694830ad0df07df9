"""What a demonstration keeps of a run."""

from experiments import demo


def test_the_summary_is_the_fusions_and_names_what_each_set_was_shown() -> None:
    content = {
        "task": {"modalities": [{"name": "image", "encoder": "cnn", "kind": "image"}]},
        "models": [
            {"role": "single", "metrics": {"nll": 2.0}},
            {"role": "fusion", "metrics": {"nll": 1.0}},
        ],
        "patterns": [{"present": ["image", "note"], "coverage": {"covered": 0.9}}],
        "truth": {"kl": {}},
        "posterior": {"ok": True},
        "provenance": {"commit": "0"},
        "reliability": {},
    }
    assert demo.summary(content) == {
        "fusion": {"nll": 1.0},
        "encoders": {"image": "cnn"},
        "sets": {"image+note": {"covered": 0.9}},
        "truth": {"kl": {}},
        "posterior": {"ok": True},
        "provenance": {"commit": "0"},
    }
