"""A private fit gives a model that predicts, is saved and loaded, and says what it promises."""

import random
from pathlib import Path

import jax
import numpy as np
import pytest

pytest.importorskip("dp_accounting", reason="privacy is an extra: pip install 'fusionjax[privacy]'")

from experiments import private as experiment
from experiments.cards import breast_cancer
from fusionjax import card, metrics
from fusionjax import model as models
from fusionjax import study as studies
from fusionjax.privacy import PrivacyError, Promise, fitting, public
from fusionjax.records.ingest import ingest

RANGES = Path(experiment.__file__).parent / "cards" / "breast_cancer_public.toml"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("private")
    records = ingest(card.load(breast_cancer.convert(None, folder / "data")), folder / "cache")
    stated = public.load(RANGES)
    return records, stated, public.prepare(records, stated)


def test_a_private_model_predicts_and_carries_its_guarantee(prepared, tmp_path):
    _, stated, study = prepared
    config = fitting.Config(Promise(3.0, 1e-4), draws=60)
    found = fitting.fit(jax.random.key(0), study, stated, config, random.Random(0))
    models.save(found.model, tmp_path)
    model, rows = models.load(tmp_path), study.split.test
    parts = [models.diagnose(model, b).predictive.prob for b in studies.ordered(study, rows)]
    prob = np.concatenate(parts)[: len(rows)]
    assert metrics.accuracy(prob, study.label[rows]) > 0.8
    note = model.certificate.notes[0]
    assert note.startswith("REHEARSAL")
    for said in ("(3, 0.0001)", "record, one of 456", "clip", "class means", "no calibration"):
        assert said in note
    assert found.guarantee.epsilon == 3.0
    assert not len(study.split.validation)


def test_statistics_of_the_records_are_refused(prepared):
    records, stated, _ = prepared
    with pytest.raises(PrivacyError, match="statistics of its own records"):
        fitting.fit(jax.random.key(0), studies.prepare(records), stated, fitting.Config())


def test_a_delta_above_one_in_the_records_is_refused(prepared):
    _, stated, study = prepared
    config = fitting.Config(Promise(1.0, 1e-2))
    with pytest.raises(PrivacyError, match="delta"):
        fitting.fit(jax.random.key(0), study, stated, config)


def test_one_record_moves_the_class_sums_by_no_more_than_the_bound(prepared):
    _, stated, study = prepared
    found = fitting.read(study, stated, Promise())
    onehot = np.eye(2)[found.label]
    whole = np.concatenate([np.ones((len(onehot), 1)), *found.features], axis=1)
    most = np.linalg.norm(onehot[:, :, None] * whole[:, None, :], axis=(1, 2)).max()
    assert most <= np.sqrt(1 + sum(f.shape[1] for f in found.features)) + 1e-6
