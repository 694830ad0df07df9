"""The untrained projection: what it keeps, what it leaves out, and that it serves small data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jaxtyping import Float
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from fusionjax.encoders import projection, summaries
from fusionjax.types import Inputs


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def project(
    kind: str, features: int, train: Inputs, new: Inputs | None = None
) -> Float[np.ndarray, "batch p"]:
    encoder = projection.linear(kind, features)
    params = encoder.init(jax.random.key(0), train)
    return np.asarray(encoder.apply(params, new or train).vector)[:, 1:]


def complete(values: np.ndarray, masked: int = 2) -> Inputs:
    return Inputs(jnp.asarray(values), jnp.ones(values.shape[:masked], bool))


def test_narrow_tables_are_standardised(rng: np.random.Generator) -> None:
    x = rng.normal(size=(50, 4)) * [1, 10, 0.1, 3] + [0, 5, 1, -2]
    expected = StandardScaler().fit_transform(x)
    np.testing.assert_allclose(project("vector", 8, complete(np.float32(x))), expected, atol=1e-4)


@pytest.mark.parametrize("records", [200, 30])
def test_wide_vectors_are_turned_to_principal_axes(records: int, rng: np.random.Generator) -> None:
    x = (rng.normal(size=(records, 60)) * np.geomspace(1, 0.1, 60)) @ rng.normal(size=(60, 60))
    ours = project("vector", 8, complete(np.float32(x)))
    theirs = PCA(8).fit_transform(StandardScaler().fit_transform(x))
    theirs /= np.sqrt(np.mean(theirs**2))
    signs = np.sign(np.sum(ours * theirs, axis=0))
    np.testing.assert_allclose(ours * signs, theirs, atol=2e-3)
    assert np.mean(ours**2) == pytest.approx(1, rel=1e-4)


def test_constant_and_repeated_columns_are_dropped(rng: np.random.Generator) -> None:
    x = rng.normal(size=(30, 2)).astype(np.float32)
    padded = np.column_stack([x, np.full(30, 3, np.float32), x[:, :1]])
    np.testing.assert_allclose(
        project("vector", 8, complete(padded)), project("vector", 8, complete(x)), atol=1e-6
    )


def test_a_gap_in_a_table_is_a_column_once(rng: np.random.Generator) -> None:
    x = rng.normal(size=(40, 3)).astype(np.float32)
    mask = np.ones((40, 3), bool)
    assert project("tabular", 8, Inputs(x, mask)).shape == (40, 3)
    mask[:9, :2] = False
    assert project("tabular", 8, Inputs(x, mask)).shape == (40, 4)


def test_missing_records_do_not_shift_what_is_fitted(rng: np.random.Generator) -> None:
    x = rng.normal(size=(30, 4)).astype(np.float32)
    more = Inputs(np.vstack([x, 99 * x]), np.arange(60)[:, None] < np.full((1, 4), 30))
    np.testing.assert_array_equal(
        project("vector", 8, more)[:30], project("vector", 8, complete(x))
    )


@pytest.mark.parametrize("kind", ["vector", "text"])
def test_without_any_record_only_the_constant_is_left(kind: str) -> None:
    values = np.zeros((3, 4), np.int32 if kind == "text" else np.float32)
    assert project(kind, 8, Inputs(values, np.zeros((3, 4), bool))).shape == (3, 0)


def test_chunks_do_not_show(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    x = complete(rng.normal(size=(23, 9)).astype(np.float32))
    whole = project("vector", 6, x)
    monkeypatch.setattr(projection, "CHUNK", 10)
    np.testing.assert_allclose(project("vector", 6, x), whole, atol=2e-4)


def test_image_summary_is_the_mean_of_cells(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 1, 48, 32, 3)).astype(np.float32)
    cells = x[:, 0].reshape(2, 16, 3, 16, 2, 3).mean(axis=(2, 4))
    found = summaries.image({}, complete(x, masked=2))
    np.testing.assert_allclose(found, cells.reshape(2, -1), atol=1e-6)


def test_areas_weigh_a_place_by_what_is_in_the_cell() -> None:
    weight = summaries._areas(24)
    np.testing.assert_allclose(weight[0, :3], [2 / 3, 1 / 3, 0], atol=1e-6)
    np.testing.assert_allclose(weight.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(weight.sum(axis=0), 16 / 24, atol=1e-6)


def test_audio_summary_divides_what_was_heard() -> None:
    ramp = np.arange(40, dtype=np.float32)[None, None, :, None]
    heard = np.arange(40)[None, None, :] < 20
    found = summaries.audio({}, jax.tree.map(jnp.asarray, Inputs(ramp, heard)))
    np.testing.assert_allclose(found[0], np.arange(10) * 2 + 0.5, atol=1e-5)


@pytest.mark.parametrize("band", [2, 9])
def test_signal_summary_finds_the_band_of_a_tone(band: int) -> None:
    cycles = (2 * band + 1.5) / summaries.WINDOW
    tone = np.sin(2 * np.pi * cycles * np.arange(512)).astype(np.float32)[None, None, :, None]
    found = jax.jit(summaries.signal)({}, complete(tone, masked=3))
    mean, deviation, power = found[0, 0], found[0, 1], found[0, -summaries.BANDS :]
    assert abs(mean) < 0.02
    assert deviation == pytest.approx(np.sqrt(0.5), abs=0.02)
    assert np.argmax(power) == band


def test_text_summary_is_that_of_scikit_learn(rng: np.random.Generator) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    tokens = rng.integers(0, 12, (20, 9)).astype(np.int32)
    notes = [" ".join(f"w{t:02d}" for t in row) for row in tokens]
    vectorizer = TfidfVectorizer(vocabulary=[f"w{t:02d}" for t in range(tokens.max() + 1)])
    inputs = complete(tokens)
    found = summaries.text({"rarity": summaries.rarity(inputs)}, inputs)
    np.testing.assert_allclose(found, vectorizer.fit_transform(notes).toarray(), atol=1e-5)


def logistic_loss(x: Array, y: Array, x_new: Array, y_new: Array) -> float:
    fitted = LogisticRegression(C=0.3, max_iter=2000).fit(x, y)
    return log_loss(y_new, fitted.predict_proba(x_new))


@pytest.mark.parametrize("data", [load_breast_cancer, load_digits])
def test_logistic_regression_is_as_good_as_on_raw_columns(data) -> None:
    x, y = (part[:600] for part in data(return_X_y=True))
    x, x_new, y, y_new = train_test_split(x, y, test_size=0.4, random_state=0, stratify=y)
    scaler = StandardScaler().fit(x)
    raw = logistic_loss(scaler.transform(x), y, scaler.transform(x_new), y_new)
    train, new = (complete(np.float32(scaler.transform(part))) for part in (x, x_new))
    ours = logistic_loss(
        project("vector", 128, train), y, project("vector", 128, train, new), y_new
    )
    assert ours <= raw * 1.1
