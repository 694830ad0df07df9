"""φ and ψ of sums over sites against those of the pooled records, for every kind that can be."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from fusionjax import card as cards
from fusionjax import model as models
from fusionjax import preprocess, train
from fusionjax.crossfit import FitConfig, kept
from fusionjax.errors import CardError
from fusionjax.federated import coordinator, hospital, posterior, setup, statistics
from fusionjax.federated import model as federated
from fusionjax.federated.coordinator import Federation
from fusionjax.federated.hospital import Hospital
from fusionjax.federated.messages import Arrays, Request, check
from fusionjax.records.ingest import Records, ingest
from fusionjax.study import of_model, sample
from tests import small_folder

LABELLED = '\n[label]\nclasses = ["ill", "well"]\n[modalities.image]'
CARD = (
    small_folder.CARD.replace("\n[modalities.image]", LABELLED)
    .replace('[modalities.note]\nkind = "text"\ncolumn = "note"\n', "")
    .replace("length = 50", 'length = 50\nchannels = ["I", "II"]')
    .replace('"gene_*"', '"gene_a", "gene_b"')
    .replace("size = 16", "size = 8")
    .replace("seconds = 0.5", "seconds = 0.5\nmels = 6")
)
ENDS = {"north": (0, 10), "south": (10, 20), "west": (20, 30)}


def rows() -> list[dict[str, str]]:
    """West has neither image nor sound; some lack this and that; one level has one record only."""
    rng = np.random.default_rng(0)
    found = small_folder.rows(30)
    for i, row in enumerate(found):
        row["crp"] = f"{np.exp(rng.normal(size=1))[0]:.4f}" if rng.random() < 0.9 else ""
        row["smoker"] = "once" if i == 15 else str(rng.choice(["yes", "no", "", "ja, früher"]))
        row["gene_a"] = f"{1e4 + rng.normal():.3f}"
        if i >= ENDS["west"][0]:
            row["image"] = row["sound"] = ""
    return found


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Records:
    folder = tmp_path_factory.mktemp("pooled")
    return ingest(cards.load(small_folder.write(folder, rows(), CARD)), folder / "cache")


@pytest.fixture(scope="module")
def made(pooled) -> Federation:
    return federation(pooled)


def federation(pooled: Records) -> Federation:
    sites = {name: Hospital(name, pooled, np.arange(*ends)) for name, ends in ENDS.items()}

    def ask(request: Request, names: tuple[str, ...]) -> Mapping[str, Arrays]:
        answers = {name: hospital.answer(sites[name], request) for name in names}
        for answer in answers.values():
            check(answer, request)
        return answers

    return Federation(coordinator.plain(ask, lambda: tuple(ENDS)))


@pytest.fixture(scope="module")
def shape(pooled, made) -> posterior.Shape:
    return made.fit(lambda f: federated.prepare(f, pooled.card, features=8))


def test_statistics_of_sums_are_those_of_the_pooled_records(pooled, shape) -> None:
    columns = zip(*pooled.source.__getitems__(list(range(30))), strict=True)
    found = setup.loads(shape.setup).statistics
    for modality, mine, raws in zip(pooled.card.modalities, found, columns, strict=True):
        want = preprocess.fit(modality, raws)
        for name in want._fields:
            here, there = getattr(mine, name), getattr(want, name)
            if isinstance(there, np.ndarray):
                assert here.dtype == there.dtype
                np.testing.assert_allclose(here, there, rtol=1e-6, err_msg=modality.name)
            else:
                assert here == there, (modality.name, name)


def test_projections_of_sums_are_those_of_the_pooled_records(pooled, shape) -> None:
    """The axes of repeated eigenvalues may turn, so what is compared is the features' products."""
    mine = setup.loads(shape.setup)
    study = of_model(pooled, mine.statistics)
    study = study._replace(split=study.split._replace(train=np.arange(30)))
    assert mine.projection == kept(study, FitConfig(projection=8))
    inputs = sample(study).inputs
    for encoder, weights, x in zip(setup.stack(mine), mine.member.weights, inputs, strict=True):
        want = train.init_encoder(encoder, jax.random.key(0), x)
        here, there = (np.asarray(encoder.apply(w, x).vector)[:, 1:] for w in (weights, want))
        assert here.shape == there.shape
        np.testing.assert_allclose(here @ here.T, there @ there.T, atol=2e-3)


@pytest.mark.slow
def test_a_federated_model_is_saved_and_diagnoses(pooled, made, shape, tmp_path) -> None:
    found = made.fit(lambda f: posterior.fit(jax.random.key(0), f, shape, draws=20))
    models.save(federated.assemble(shape, found), tmp_path)
    again = models.load(tmp_path)
    batch = sample(of_model(pooled, again.statistics)._replace(split=_everyone()))
    prob = np.asarray(models.diagnose(again, batch).predictive.prob)
    np.testing.assert_allclose(prob.sum(axis=1), 1, atol=1e-5)


def _everyone():
    from fusionjax.splits import Split

    nobody = np.arange(0)
    return Split(np.arange(30), nobody, nobody)


def test_levels_alone_make_a_federation(tmp_path) -> None:
    card = CARD[: CARD.index("[modalities.image]")] + (
        '[modalities.labs]\nkind = "tabular"\ncolumns = ["smoker"]\ncategorical = ["smoker"]\n'
    )
    records = ingest(cards.load(small_folder.write(tmp_path, rows(), card)), tmp_path / "cache")
    found = federation(records).fit(lambda f: federated.prepare(f, records.card))
    (mine,) = setup.loads(found.setup).statistics
    assert mine.levels == (("ja, früher", "no", "yes"),)


def test_what_is_no_sum_is_refused(pooled) -> None:
    card = pooled.card
    text = replace(card.modalities[0], kind="text")
    other = [replace(card.modalities[0], encoder=name) for name in ("cnn", "kernel")]
    for modality, word in ((text, "tokenizer"), *((one, "not fitted by sums") for one in other)):
        with pytest.raises(CardError, match=word):
            statistics.check(replace(card, modalities=(modality,)))
    wild = replace(card.modalities[-1], columns=("gene_*",))
    with pytest.raises(CardError, match="wildcard"):
        statistics.check(replace(card, modalities=(wild,)))
    with pytest.raises(CardError, match="empty"):
        statistics.check(replace(card, classes=()))


def test_a_card_as_a_path_is_not_needed_at_a_site(shape) -> None:
    """The setup says nothing of where the coordinator's files are."""
    assert setup.loads(shape.setup).card.path == Path("dataset.toml")
