"""The scikit-learn face: the conventions, the quality on digits, and randomness."""

from copy import copy
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fisherae as fae
from fisherae.estimator import FisherAutoencoder

TINY: dict[str, Any] = {"latent_dim": 2, "hidden": (8,), "epochs": 1, "random_state": 0}
X, Y = load_digits(return_X_y=True)
TRAIN, TEST = slice(0, 1300), slice(1300, None)


def tiny(**arguments: Any) -> FisherAutoencoder:
    return FisherAutoencoder(**(TINY | arguments))


@pytest.fixture(scope="module")
def digits() -> FisherAutoencoder:
    return FisherAutoencoder(random_state=0).fit(X[TRAIN])


@parametrize_with_checks([tiny(), tiny(refine=True)])
def test_scikit_learn_conventions(estimator: FisherAutoencoder, check: Any) -> None:
    check(estimator)


def test_digits_are_told_apart_by_their_latents(digits: FisherAutoencoder) -> None:
    classifier = make_pipeline(StandardScaler(), LogisticRegression())
    classifier.fit(digits.transform(X[TRAIN]), Y[TRAIN])
    assert classifier.score(digits.transform(X[TEST]), Y[TEST]) > 0.8  # chance: 0.1


def test_reconstruction_of_unseen_digits_beats_the_best_linear_one(
    digits: FisherAutoencoder,
) -> None:
    pca = PCA(8).fit(X[TRAIN])
    linear = mean_squared_error(X[TEST], pca.inverse_transform(pca.transform(X[TEST])))
    mean_image = np.square(X[TEST] - X[TRAIN].mean(0)).mean()
    assert -digits.score(X[TEST]) < 0.8 * linear
    assert -digits.score(X[TEST]) < 0.3 * mean_image


def test_linear_networks_find_the_principal_subspace() -> None:
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(1000, 2)) @ np.array([[3.0, 1, 0, 1, -2], [0, 1, 3, -1, 1]])
    data = signal + 0.3 * rng.normal(size=(1000, 5))
    linear = tiny(order=2, hidden=(), epochs=60, learning_rate=1e-2)
    error = -linear.fit(data).score(data)
    pca = PCA(2).fit(data)
    best = mean_squared_error(data, pca.inverse_transform(pca.transform(data)))
    assert best <= error < 1.2 * best


def test_a_polynomial_posterior() -> None:
    """Trains, and its means are the features; of other orders than 2 it is another model."""
    estimator = tiny(posterior_order=4, epochs=4).fit(X[TRAIN])
    assert estimator.loss_curve_[-1] < estimator.loss_curve_[0]
    assert estimator.transform(X[TEST]).shape == (len(X[TEST]), 2)
    assert isinstance(estimator.model_.encode(torch.zeros(1, 64).double()), fae.PolynomialPosterior)


def test_refined_features_explain_noisy_rows_better(digits: FisherAutoencoder) -> None:
    """Turned on after the fit: it removes noise that the encoder leaves, and the rest stays."""
    alone = digits.transform(X[TEST])
    noisy = X[TEST] + np.random.default_rng(0).normal(scale=8, size=X[TEST].shape)
    error = mean_squared_error(X[TEST], digits.inverse_transform(digits.transform(noisy)))
    searching = copy(digits).set_params(refine=True)
    left = mean_squared_error(X[TEST], searching.inverse_transform(searching.transform(noisy)))
    assert left < 0.8 * error
    assert_allclose(digits.transform(X[TEST]), alone)


def test_any_default_dtype_will_do() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        estimator = tiny(epochs=1).fit(X[TRAIN])
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.isfinite(estimator.loss_curve_).all()
    assert estimator.transform(X[TEST].astype(np.float32)).dtype == np.float32


def test_loss_falls(digits: FisherAutoencoder) -> None:
    assert len(digits.loss_curve_) == digits.epochs
    assert digits.loss_curve_[-1] < digits.loss_curve_[0]


def test_prior_has_the_moments_of_the_aggregated_posterior(digits: FisherAutoencoder) -> None:
    features = torch.from_numpy((X[TRAIN] - digits.mean_) / digits.scale_)
    with torch.no_grad():
        q = digits.model_.encode(features)
    variance = q.mean.var(0) + q.std.square().mean(0)
    z = fae.sample(digits.model_.prior, 20_000)
    error = (z.mean(0) - q.mean.mean(0)) / variance.sqrt()
    assert error.abs().max() < 0.15
    assert_allclose(z.std(0), variance.sqrt(), rtol=0.1)


def test_samples_look_like_the_data(digits: FisherAutoencoder) -> None:
    samples = digits.sample(2000)
    assert samples.shape == (2000, 64)
    assert np.abs(samples.mean(0) - X.mean(0)).max() < 0.25 * X.std()
    assert_allclose(samples.std(0).mean(), X.std(0).mean(), rtol=0.3)
    assert np.corrcoef(samples.std(0), X.std(0))[0, 1] > 0.95


@pytest.mark.parametrize("order", [2, 3, 4])
def test_prior_stays_within_the_latents_it_was_fitted_to(order: int) -> None:
    estimator = tiny(order=order).fit(X[:200])
    z = fae.sample(estimator.model_.prior, 1000)
    standardised = torch.from_numpy((X[:200] - estimator.mean_) / estimator.scale_)
    latents = estimator.model_.encode(standardised).rsample().detach()
    distance = (z - latents.mean(0)).abs() / (latents.amax(0) - latents.amin(0))
    assert distance.max() < 3


def test_score_is_minus_the_mean_squared_error() -> None:
    estimator = tiny().fit(X)
    reconstructed = estimator.inverse_transform(estimator.transform(X))
    assert estimator.score(X) == pytest.approx(-mean_squared_error(X, reconstructed))


def test_units_of_the_data_do_not_matter() -> None:
    estimator, scaled = tiny().fit(X), tiny().fit(4 * X + 16)
    assert_allclose(scaled.transform(4 * X + 16), estimator.transform(X), atol=1e-3)
    assert_allclose(scaled.sample(5), 4 * estimator.sample(5) + 16, atol=1e-2)


def test_constant_features_do_no_harm() -> None:
    data = np.hstack([X[:500, 1:] / 16, np.full((500, 1), 0.1)])
    estimator = tiny(epochs=20, latent_dim=4, hidden=(32,)).fit(data)
    reconstructed = estimator.inverse_transform(estimator.transform(data))
    assert_allclose(reconstructed[:, -1], 0.1, atol=0.1)
    assert -estimator.score(data) < data.var(0).mean()


def test_equal_rows_come_back() -> None:
    data = np.full((10, 3), 0.1)
    estimator = tiny(epochs=200, learning_rate=1e-2).fit(data)
    assert estimator.scale_ == 1
    assert_allclose(estimator.inverse_transform(estimator.transform(data)), data, atol=0.1)


def test_random_state_alone_decides() -> None:
    torch.manual_seed(1)
    first = tiny().fit(X[:200])
    torch.manual_seed(2)
    second, other = tiny().fit(X[:200]), tiny(random_state=1).fit(X[:200])
    assert_array_equal(first.transform(X), second.transform(X))
    assert_array_equal(first.sample(5), second.sample(5))
    assert not np.allclose(first.transform(X), other.transform(X))


def test_global_random_state_of_torch_is_left_alone() -> None:
    before = torch.get_rng_state()
    tiny().fit(X[:200]).sample(5)
    assert torch.equal(torch.get_rng_state(), before)


def test_sample_takes_its_own_random_state() -> None:
    estimator = tiny().fit(X[:200])
    assert_array_equal(estimator.sample(5, random_state=3), estimator.sample(5, random_state=3))
    assert not np.allclose(estimator.sample(5, random_state=3), estimator.sample(5))


def test_random_state_instance_moves_on() -> None:
    estimator = tiny(random_state=np.random.RandomState(0)).fit(X[:200])
    assert not np.allclose(estimator.sample(5), estimator.sample(5))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_keep_their_dtype(dtype: type[np.floating[Any]]) -> None:
    estimator = tiny().fit(X.astype(dtype))
    z = estimator.transform(X.astype(dtype))
    assert z.dtype == estimator.inverse_transform(z).dtype == dtype


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latent_dim", 0),
        ("order", 1),
        ("hidden", (8, 0)),
        ("hidden", 8),
        ("variance", 0.0),
        ("score_fraction", 1.5),
        ("noise", -1.0),
        ("epochs", 0),
        ("batch_size", 2.5),
        ("learning_rate", -1.0),
        ("clip", 0.0),
    ],
)
def test_unusable_arguments_are_named(name: str, value: Any) -> None:
    with pytest.raises(fae.InputError, match=name.removeprefix("latent_")):
        tiny(**{name: value}).fit(X[:50])


def test_diverged_training_is_an_error() -> None:
    with pytest.raises(fae.NonFiniteError, match="learning_rate"):
        tiny(epochs=20, learning_rate=1e20, clip=None).fit(X)


def test_sparse_data_and_one_row_are_refused() -> None:
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        tiny().fit(csr_matrix(X))
    with pytest.raises(ValueError, match="minimum of 2"):
        tiny().fit(X[:1])


def test_latents_of_another_width_are_refused() -> None:
    estimator = tiny().fit(X[:50])
    with pytest.raises(fae.InputError, match="3 latent dimensions, the model has 2"):
        estimator.inverse_transform(np.zeros((4, 3)))


@pytest.mark.parametrize(
    "use",
    [
        lambda e: e.transform(X),
        lambda e: e.inverse_transform(X[:, :2]),
        lambda e: e.sample(2),
        lambda e: e.score(X),
        lambda e: e.get_feature_names_out(),
    ],
)
def test_nothing_works_before_fit(use: Any) -> None:
    with pytest.raises(NotFittedError):
        use(tiny())


def test_pipeline_and_grid_search() -> None:
    pipeline = make_pipeline(StandardScaler(), tiny(epochs=3), LogisticRegression())
    grid = {"fisherautoencoder__latent_dim": np.array([1, 3])}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X[:400], Y[:400])
    assert search.best_params_ == {"fisherautoencoder__latent_dim": 3}
    assert search.best_estimator_[:-1].transform(X).shape == (len(X), 3)


def test_grid_search_by_reconstruction() -> None:
    grid = {"latent_dim": np.array([1, 3])}
    search = GridSearchCV(tiny(hidden=(32,), epochs=20), grid, cv=2).fit(X[:400])
    assert search.best_params_ == {"latent_dim": 3}


def test_clone_is_unfitted_and_pickle_is_not(tmp_path: Any) -> None:
    estimator = tiny().fit(X[:200])
    assert not hasattr(clone(estimator), "model_")
    joblib.dump(estimator, tmp_path / "estimator.joblib")
    loaded = joblib.load(tmp_path / "estimator.joblib")
    assert_array_equal(loaded.transform(X), estimator.transform(X))
    assert_array_equal(loaded.sample(5), estimator.sample(5))


def test_pandas_in_and_out() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X[:50], columns=[f"pixel{i}" for i in range(64)])
    estimator = tiny().set_output(transform="pandas").fit(frame)
    latents = estimator.transform(frame)
    assert list(latents.columns) == ["fisherautoencoder0", "fisherautoencoder1"]
    assert list(estimator.feature_names_in_) == list(frame.columns)
    assert estimator.score(frame) == pytest.approx(
        -mean_squared_error(frame, estimator.inverse_transform(latents))
    )


def test_verbose_reports_each_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    tiny(epochs=2, verbose=True).fit(X[:50])
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        "epoch 1/2",
        "epoch 2/2",
    ]
