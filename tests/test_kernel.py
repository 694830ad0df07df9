"""The kernel features: that they are those of a Gaussian kernel, and bend where lines do not."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Float
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits, make_circles
from sklearn.decomposition import KernelPCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from fusionjax.encoders import kernel, projection
from fusionjax.types import Inputs


def complete(values: np.ndarray) -> Inputs:
    return Inputs(jnp.asarray(values, jnp.float32), jnp.ones(values.shape, bool))


def mapped(encoder, train: np.ndarray, new: np.ndarray) -> Float[np.ndarray, "batch p"]:
    params = encoder.init(jax.random.key(0), complete(train))
    return np.asarray(encoder.apply(params, complete(new)).vector)[:, 1:]


def centred(x: np.ndarray, width: float) -> np.ndarray:
    k = np.exp(-cdist(x, x, "sqeuclidean") / width)
    return k - k.mean(axis=0) - k.mean(axis=1)[:, None] + k.mean()


@pytest.mark.parametrize("columns", [1, 3, 20, 100])
def test_products_are_those_of_the_centred_kernel(columns: int) -> None:
    x = StandardScaler().fit_transform(np.random.default_rng(0).normal(size=(300, columns)))
    z = mapped(kernel.gaussian("vector", 300), x, x)

    def error(width: float) -> float:
        wanted = centred(x, width)
        return float(np.std(z @ z.T * np.trace(wanted) / np.sum(z**2) - wanted))

    # As many independent cosines would leave 1/√2048 = .022.
    assert error(2 * columns) < 0.015
    assert error(2 * columns) < error(columns) / 2


def test_what_no_line_divides_is_divided() -> None:
    x, y = map(np.asarray, make_circles(600, noise=0.1, factor=0.5, random_state=0))
    score = {}
    for name, build in (("line", projection.linear), ("kernel", kernel.gaussian)):
        z = mapped(build("vector", 32), x[:300], x)
        score[name] = LogisticRegression().fit(z[:300], y[:300]).score(z[300:], y[300:])
    assert score["kernel"] > 0.95
    assert score["line"] < 0.6


def test_few_columns_are_as_good_as_principal_components_of_the_kernel_matrix() -> None:
    digits: Any = load_digits()
    x, y = digits.data, digits.target
    scaler: Any = StandardScaler().fit(x[:900])
    train, new = scaler.transform(x[:900]), scaler.transform(x[900:])
    ours = mapped(kernel.gaussian("vector", 64), train, np.concatenate([train, new]))
    width = 2 * np.count_nonzero(x[:900].std(axis=0))
    theirs = KernelPCA(64, kernel="rbf", gamma=1 / width).fit(train)
    theirs = theirs.transform(np.concatenate([train, new]))
    losses = []
    for z in (ours, theirs / np.sqrt(np.mean(theirs[:900] ** 2))):
        fitted = LogisticRegression(C=0.3, max_iter=2000).fit(z[:900], y[:900])
        losses.append(log_loss(y[900:], fitted.predict_proba(z[900:])))
    assert losses[0] <= losses[1] * 1.1


def test_columns_have_mean_variance_one_and_fall() -> None:
    x = np.random.default_rng(1).normal(size=(200, 5))
    z = mapped(kernel.gaussian("vector", 16), x, x)
    assert z.shape == (200, 16)
    assert np.mean(z**2) == pytest.approx(1, rel=1e-3)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-3)
    assert np.all(np.diff(z.var(axis=0)) <= 0)


@pytest.mark.parametrize("values", [np.ones((9, 3)), np.zeros((1, 3))])
def test_records_that_do_not_differ_leave_the_constant_alone(values: np.ndarray) -> None:
    assert mapped(kernel.gaussian("vector", 8), values, values).shape == (len(values), 0)


def test_without_any_record_only_the_constant_is_left() -> None:
    encoder = kernel.gaussian("vector", 8)
    nobody = Inputs(jnp.ones((3, 4)), jnp.zeros((3, 4), bool))
    assert encoder.apply(encoder.init(jax.random.key(0), nobody), nobody).vector.shape == (3, 1)


def test_what_is_kept_does_not_grow_with_the_records() -> None:
    rng = np.random.default_rng(2)
    encoder = kernel.gaussian("vector", 8)
    few, many = (
        encoder.init(jax.random.key(0), complete(rng.normal(size=(n, 4)))) for n in (50, 400)
    )
    assert jax.tree.map(jnp.shape, few) == jax.tree.map(jnp.shape, many)
