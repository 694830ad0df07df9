"""The clinic's truth against brute force, its bounds, and every file decoded to its findings."""

from itertools import product
from math import exp, prod

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from fusionjax import card, log_linear
from fusionjax.clinic import biomarkers, image, note, sound, world
from fusionjax.clinic.world import Dials
from fusionjax.clinic.write import write

EVERY_DIAL = Dials(severity=1.0, swap=0.3, missing=0.2, missing_by_label=0.5, site_shift=1.0)
ONE_DIAL = [
    Dials(),
    Dials(severity=1.5),
    Dials(swap=0.4),
    Dials(missing=0.4),
    Dials(missing_by_label=1.0),
    Dials(site_shift=1.0),
    EVERY_DIAL,
]
ALL = (0, 1, 2, 3)


def draw(dials: Dials, n: int, seed: int = 0, nodes: int = 7):
    here = world.make(dials, nodes)
    return here, world.sample(np.random.default_rng(seed), here, n)


def chance(here, modality, z, y, u):
    """P(z_i | y, u), one finding at a time."""
    factors = []
    for f, value in enumerate(z):
        push = here.dials.severity * here.severity[u] * world.DRIFT[modality][f]
        natural = world.NATURAL[modality][y, f] + push
        if modality == world.BIOMARKERS:
            factors.append(norm.pdf(value, loc=natural))
        else:
            weights = [exp(natural * (level - 1.5)) for level in range(4)]
            factors.append(weights[value] / sum(weights))
    return prod(factors)


def brute_force(here, cohort, row, subset):
    """P(y | X_S, site) as a sum over severities, swaps and everyone the stranger can be."""
    site, nodes = cohort.site[row], range(len(here.severity))
    prior = np.exp(here.log_prior[site])
    weight = np.exp(here.log_weight)
    z = [cohort.findings[i][row] for i in subset]
    p = [
        [[chance(here, i, z_i, y, u) for u in nodes] for y in range(4)]
        for i, z_i in zip(subset, z, strict=True)
    ]
    stranger = [sum(prior[y] * weight[u] * p_i[y][u] for y in range(4) for u in nodes) for p_i in p]
    joint = np.zeros(4)
    for y, u, swaps in product(range(4), nodes, product([False, True], repeat=len(subset))):
        shown = prod(stranger[k] if s else p[k][y][u] for k, s in enumerate(swaps))
        rate = prod(here.dials.swap if s else 1 - here.dials.swap for s in swaps)
        joint[y] += prior[y] * weight[u] * rate * shown
    return joint / joint.sum()


def absence(here, presence, y):
    """P(presence pattern | y, not empty)."""
    keep = (1 - here.dials.missing) * (1 - here.dials.missing_by_label * world.ABSENCE[y])
    return prod(np.where(presence, keep, 1 - keep)) / (1 - prod(1 - keep))


def test_truth_is_the_brute_force_sum_for_every_subset():
    here, cohort = draw(EVERY_DIAL, 6, nodes=3)
    for subset in world.SUBSETS:
        expected = [brute_force(here, cohort, row, subset) for row in range(6)]
        np.testing.assert_allclose(np.exp(world.truth(here, cohort, subset)), expected, rtol=1e-9)


def test_truth_of_record_reads_the_absence():
    here, cohort = draw(EVERY_DIAL, 30, nodes=2)
    for row, log_prob in enumerate(world.truth_of_record(here, cohort)):
        present = cohort.presence[row]
        joint = brute_force(here, cohort, row, np.flatnonzero(present))
        joint *= [absence(here, present, y) for y in range(4)]
        np.testing.assert_allclose(np.exp(log_prob), joint / joint.sum(), rtol=1e-9)


@pytest.mark.parametrize("dials", ONE_DIAL, ids=str)
def test_patients_are_drawn_from_the_truth(dials):
    """E[(1[y = k] − P(y = k | X)) g(X)] = 0 for any g: here statistics, their squares, presence."""
    here, cohort = draw(dials, 10_000)
    onehot = np.eye(4)[cohort.label]
    s = np.hstack([world.statistics(i, z) for i, z in enumerate(cohort.findings)])
    reader = {(0,): s[:, :3], (2, 3): s[:, 6:], ALL: s}
    for subset, g in reader.items():
        g = np.hstack([np.ones((len(g), 1)), g, g**2, np.eye(3)[cohort.site]])
        assert_no_moment(onehot - np.exp(world.truth(here, cohort, subset)), g)
    shown = s * np.repeat(cohort.presence, [3, 3, 3, 4], axis=1)
    residual = onehot - np.exp(world.truth_of_record(here, cohort))
    assert_no_moment(residual, np.hstack([cohort.presence, shown]))


def assert_no_moment(residual, g):
    moment = residual[:, :, None] * g[:, None, :]
    assert np.abs(moment.mean(0) / (moment.std(0) / np.sqrt(len(g)))).max() < 5


def test_wrong_truth_would_be_noticed():
    _, cohort = draw(Dials(swap=0.4), 20_000)
    believed = world.truth(world.make(Dials()), cohort, ALL)
    g = np.hstack([world.statistics(i, z) for i, z in enumerate(cohort.findings)])
    with pytest.raises(AssertionError):
        assert_no_moment(np.eye(4)[cohort.label] - np.exp(believed), g)


def test_with_dials_at_zero_the_truth_is_log_linear():
    here, cohort = draw(Dials(), 200)
    features, theta = [], []
    for i, z in enumerate(cohort.findings):
        features.append(jnp.asarray(np.insert(world.statistics(i, z), 0, 1.0, axis=1)))
        theta.append(jnp.asarray(np.insert(world.NATURAL[i], 0, intercept(here, i, z), axis=1)))
    bias = jnp.log(jnp.asarray(world.PREVALENCE))
    for subset in world.SUBSETS:
        presence = jnp.tile(jnp.isin(jnp.asarray(ALL), jnp.asarray(subset)), (200, 1))
        log_prob = log_linear.log_prob(tuple(theta), bias, tuple(features), presence)
        np.testing.assert_allclose(log_prob, world.truth(here, cohort, subset), atol=2e-5)


def intercept(here, modality, findings):
    """−A_i(y), up to a constant in y: log P(z_i | y) − η_iy · s(z_i), the same at every z_i."""
    s = world.statistics(modality, findings)
    rest = world.log_likelihood(here, modality, findings)[:, :, 0] - s @ world.NATURAL[modality].T
    rest = rest - rest[:, :1]
    np.testing.assert_allclose(rest, np.broadcast_to(rest[0], rest.shape), atol=1e-12)
    return rest[0]


def test_the_task_is_neither_easy_nor_hopeless():
    here, cohort = draw(Dials(), 40_000)
    for i in ALL:
        best = np.exp(world.truth(here, cohort, (i,))).max(axis=1)
        assert 0.45 + 0.01 < best.mean() < 0.70 - 0.01
    prob = np.exp(world.truth(here, cohort, ALL))
    assert 0.80 + 0.01 < prob.max(axis=1).mean() < 0.92 - 0.01
    assert -(prob * np.log(prob)).sum(axis=1).mean() > 0.3 + 0.01


def test_single_modality_accuracy_by_enumeration():
    here = world.make(Dials())
    grid = np.array(list(product(range(4), repeat=3)))
    for i in (0, 1, 2):
        likelihood = np.exp(world.log_likelihood(here, i, grid)[:, :, 0])
        np.testing.assert_allclose(likelihood.sum(axis=0), 1.0)
        assert 0.45 < (likelihood * world.PREVALENCE).max(axis=1).sum() < 0.70


def test_severity_makes_modalities_dependent_given_the_diagnosis():
    _, cohort = draw(Dials(severity=1.0), 20_000)
    failing = cohort.label == 0
    heart, bnp = cohort.findings[0][failing, 0], cohort.findings[3][failing, 0]
    assert np.corrcoef(heart, bnp)[0, 1] > 0.1
    _, calm = draw(Dials(), 20_000)
    failing = calm.label == 0
    heart, bnp = calm.findings[0][failing, 0], calm.findings[3][failing, 0]
    assert abs(np.corrcoef(heart, bnp)[0, 1]) < 5 / np.sqrt(failing.sum())


@pytest.mark.parametrize("dials", [Dials(missing=0.9), Dials(missing_by_label=1.0)], ids=str)
def test_every_patient_has_something(dials):
    _, cohort = draw(dials, 2_000)
    assert cohort.presence.any(axis=1).all()
    assert not cohort.presence.all()


@pytest.mark.parametrize("dials", [Dials(swap=-0.1), Dials(missing=1.0), Dials(severity=np.nan)])
def test_dials_out_of_range_are_refused(dials):
    with pytest.raises(ValueError, match="expected a number from 0 to"):
        world.make(dials)


@pytest.mark.parametrize("module", [image, note, sound])
@pytest.mark.parametrize("site", [-1.0, 0.0, 1.0])
def test_files_decode_to_their_findings(module, site):
    rng = np.random.default_rng(1)
    for z in product(range(4), repeat=3):
        content = module.render(rng, np.array(z), site)
        assert tuple(module.decode(content)) == z


def test_biomarkers_decode_up_to_rounding():
    rng = np.random.default_rng(2)
    for z in rng.normal(scale=2.0, size=(200, 4)):
        results = biomarkers.render(rng, z, 0.0)
        np.testing.assert_allclose(biomarkers.decode(results), z, atol=2e-6)


def test_no_wording_is_part_of_one_of_another_grade():
    grades = [words for finding in note.WORDINGS for words in finding]
    around = (*note.SMALL_TALK, *(lead for leads in note.LEADS for lead in leads))
    for words in grades:
        others = [w for other in grades if other is not words for w in other]
        assert not any(w in text.lower() for w in words for text in (*others, *around))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("clinic"), EVERY_DIAL, 60, seed=3).parent


def test_every_file_of_a_folder_decodes(folder):
    records = pd.read_csv(folder / "records.csv").set_index("id")
    findings = pd.read_parquet(folder / "findings.parquet").set_index("id")
    z = {m: findings[list(f)] for m, f in zip(world.MODALITIES, world.FINDINGS, strict=True)}
    for name, path in records["image"].dropna().items():
        pixels = np.asarray(Image.open(folder / path))
        np.testing.assert_array_equal(image.decode(pixels), z["image"].loc[name])
    for name, text in records["note"].dropna().items():
        np.testing.assert_array_equal(note.decode(text), z["note"].loc[name])
    for name, path in records["sound"].dropna().items():
        samples, rate = soundfile.read(folder / path, dtype="int16")
        assert rate == sound.RATE
        np.testing.assert_array_equal(sound.decode(samples), z["sound"].loc[name])
    for name, results in records[list(biomarkers.COLUMNS)].dropna().iterrows():
        decoded = biomarkers.decode(results.to_numpy())
        np.testing.assert_allclose(decoded, z["biomarkers"].loc[name], atol=2e-6)


def test_truth_is_stored_for_every_subset_that_a_patient_has(folder):
    here, cohort = draw(EVERY_DIAL, 60, seed=3)
    truth = pd.read_parquet(folder / "truth.parquet")
    stored = truth[truth["absence"] == "ignored"]
    held = cohort.presence.sum(axis=1)
    assert len(stored) == (2**held - 1).sum()
    both = stored[stored["subset"] == "image+sound"][list(world.CLASSES)]
    expected = world.truth(here, cohort, (0, 2))[cohort.presence[:, [0, 2]].all(axis=1)]
    np.testing.assert_array_equal(both, expected)
    read = truth[truth["absence"] == "read"][list(world.CLASSES)]
    np.testing.assert_array_equal(read, world.truth_of_record(here, cohort))


def test_same_seed_same_folder(folder, tmp_path):
    again = write(tmp_path, EVERY_DIAL, 60, seed=3).parent
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 60
    assert all((folder / file).read_bytes() == (again / file).read_bytes() for file in files)


def test_card_loads(folder):
    loaded = card.load(folder / "dataset.toml")
    assert tuple(m.name for m in loaded.modalities) == world.MODALITIES
    assert loaded.classes == world.CLASSES


def test_logistic_regression_on_the_findings_is_near_the_truth():
    here, cohort = draw(Dials(), 4_500)
    s = np.hstack([world.statistics(i, z) for i, z in enumerate(cohort.findings)])
    model = LogisticRegression(C=10.0, max_iter=500).fit(s[:2500], cohort.label[:2500])
    log_truth = world.truth(here, cohort, ALL)[2500:]
    kl = (np.exp(log_truth) * (log_truth - model.predict_log_proba(s[2500:]))).sum(axis=1)
    assert kl.mean() < 0.02
