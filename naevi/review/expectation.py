"""Estimate where the foreground of each image should be, from the other images and their masks.

A model of single pixels is fitted to the data set itself. It is far weaker than a network but takes only seconds, and
its mistakes differ from those in the masks. An image's own mask and those of its near-duplicates are never used for it.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from naevi.images.files import Pixels
from naevi.parallel.processes import cores
from naevi.preprocessing.prepare import MANY
from naevi.review.pixels import COLOR_FEATURES, Features, blur, pixel_features

FOLDS = 4
SEED = 0
RANDOM_FEATURES = 256
SAMPLED_PIXELS = 80_000  # in each fold
CHUNK = 32  # images described at a time
ROWS = 4096  # pixels at a time, so that they fit into the cache
MAX_STEPS, TOLERANCE = 8, 0.01  # of Newton's method
SMOOTHING = 1.0  # px, of the log-odds
MAX_LOG_ODDS = 4.0  # limited, because a single pixel proves little
MAX_OWN_LOG_ODDS = 6.0  # of the image's own colors
OWN_COLORS = 0.5  # weight of the image's own colors against the model of all images

Values = NDArray[np.floating]
Expand = Callable[[Features], Features]


def expected_foreground(images: Pixels, foreground: NDArray[np.bool_], groups: list[str]) -> Features:
    """Return the log-odds that a pixel is foreground, float32 (N, S, S) in -MAX_LOG_ODDS..MAX_LOG_ODDS.

    `images` is uint8 (N, S, S, 3), `foreground` (N, S, S). Images of one group are never used for each other. The
    models are fitted to up to MANY images. The result doesn't depend on the number of threads.
    """
    folds = assign_folds(groups)
    log_odds = np.zeros(foreground.shape, np.float32)
    with threadpool_limits(1), ThreadPoolExecutor(cores()) as pool:  # sums in BLAS depend on its number of threads
        models, expand = _fit_models(images, foreground, folds, pool)

        def predict(rows: NDArray[np.int64]) -> None:
            features = pixel_features(images[rows])
            general = np.stack([models[folds[row]] @ expand(each) for row, each in zip(rows, features, strict=True)])
            general = np.clip(general, -MAX_LOG_ODDS, MAX_LOG_ODDS)
            own = np.clip(_own_colors(features[:, :COLOR_FEATURES], general), -MAX_OWN_LOG_ODDS, MAX_OWN_LOG_ODDS)
            mixed = np.clip((1 - OWN_COLORS) * general + OWN_COLORS * own, -MAX_LOG_ODDS, MAX_LOG_ODDS)
            log_odds[rows] = blur(mixed.reshape(-1, *foreground.shape[1:]), SMOOTHING)

        list(pool.map(predict, _chunks(np.arange(len(images)))))
    return log_odds


def _fit_models(
    images: Pixels, foreground: NDArray[np.bool_], folds: NDArray[np.int64], pool: ThreadPoolExecutor
) -> tuple[Features, Expand]:
    """Return the weights of each fold's model, float32 (FOLDS, F), and the function that expands features for them.

    The model of a fold is fitted to sampled pixels of the other folds' images.
    """
    rng = np.random.default_rng(SEED)
    used = np.arange(len(images)) if len(images) <= MANY else np.sort(rng.permutation(len(images))[:MANY])
    labels = foreground[used].reshape(len(used), -1)
    picked = rng.integers(0, labels.shape[1], (len(used), _pixels_per_image(folds[used])))
    labels = np.take_along_axis(labels, picked, axis=1)

    def sample(rows: NDArray[np.int64]) -> Features:
        features = pixel_features(images[used[rows]])
        return np.moveaxis(np.take_along_axis(features, picked[rows, None], axis=2), 1, 2)

    samples = np.concatenate(list(pool.map(sample, _chunks(np.arange(len(used))))))
    inputs = samples.shape[-1]
    layer = _random_layer(inputs)
    middle, spread = samples.mean(axis=(0, 1)), samples.std(axis=(0, 1)) + np.float32(1e-6)

    def expand(features: Features) -> Features:
        expanded = np.ones((inputs + 1 + RANDOM_FEATURES, features.shape[1]), np.float32)
        np.clip((features - middle[:, None]) / spread[:, None], -4, 4, out=expanded[:inputs])
        hidden = np.matmul(layer, expanded[: inputs + 1], out=expanded[inputs + 1 :])
        np.maximum(hidden, 0, out=hidden)
        return expanded

    def fit(fold: int) -> Values:
        others = folds[used] != fold
        expanded = expand(samples[others].reshape(-1, samples.shape[-1]).T).T
        return fit_logistic(np.ascontiguousarray(expanded), labels[others].ravel(), 1.0)

    return np.stack(list(pool.map(fit, range(FOLDS)))).astype(np.float32), expand


def _chunks(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]


def assign_folds(groups: list[str]) -> NDArray[np.int64]:
    """Return the fold of each image, 0..FOLDS-1. Images of one group are in one fold."""
    names, group = np.unique(np.array(groups, dtype=str), return_inverse=True)
    return (np.random.default_rng(SEED).permutation(len(names)) % FOLDS)[group]


def fit_logistic(features: Values, labels: NDArray[np.bool_], ridge: float) -> Values:
    """Return the weights (F,) of a logistic regression, by Newton's method. A column of ones is the intercept."""
    weights = np.zeros(features.shape[1])
    for _ in range(MAX_STEPS):
        slope, curvature = ridge * weights, ridge * np.eye(len(weights))
        for first in range(0, len(features), ROWS):
            part = features[first : first + ROWS]
            probability = sigmoid(part @ weights.astype(features.dtype))
            slope += part.T @ (probability - labels[first : first + ROWS]).astype(features.dtype)
            certainty = np.maximum(probability * (1 - probability), 1e-4).astype(features.dtype)
            weighted = part * np.sqrt(certainty)[:, None]
            curvature += weighted.T @ weighted  # a product with itself takes half the time
        step = np.linalg.solve(curvature, slope)
        weights -= step
        if np.abs(step).max() < TOLERANCE:
            break
    return weights


def sigmoid(log_odds: Values) -> Values:
    """Return probabilities."""
    return 1 / (1 + np.exp(-np.clip(log_odds, -30, 30)))


def _pixels_per_image(folds: NDArray[np.int64]) -> int:
    return max(8, min(SAMPLED_PIXELS // max(1, len(folds) - len(folds) // FOLDS), 1000))


def _random_layer(inputs: int) -> Features:
    """Return the weights of a layer that isn't trained, float32 (RANDOM_FEATURES, inputs + 1); the last are biases."""
    rng = np.random.default_rng(SEED)
    weights = rng.normal(size=(inputs, RANDOM_FEATURES)) / np.sqrt(inputs)
    return np.vstack([weights, rng.normal(scale=0.7, size=RANDOM_FEATURES)]).T.astype(np.float32, order="C")


def _own_colors(colors: Features, log_odds: Features) -> Features:
    """Return the log-odds (N, P) from each image's own colors, (N, F, P).

    This is a linear discriminant analysis in which `log_odds`, (N, P), are the labels.
    """
    number, channels, pixels = colors.shape
    inside = sigmoid(log_odds)[:, None]
    padded = np.concatenate([np.ones_like(inside), colors], axis=1)
    moments = [(padded * share) @ padded.swapaxes(1, 2) for share in (inside, 1 - inside)]
    means, covariance, sizes = [], np.zeros((number, channels, channels)), []
    for moment in (each.astype(np.float64) for each in moments):
        sizes.append(moment[:, 0, 0] + 5)
        means.append(moment[:, 0, 1:] / sizes[-1][:, None])
        cross = moment[:, 0, 1:, None] * means[-1][:, None]
        square = means[-1][:, :, None] * means[-1][:, None]
        covariance += (moment[:, 1:, 1:] - cross - cross.swapaxes(1, 2) + moment[:, :1, :1] * square) / pixels
    ridge = 0.1 * np.trace(covariance, axis1=1, axis2=2) / channels + 1e-6
    covariance += ridge[:, None, None] * np.eye(channels)
    direction = np.linalg.solve(covariance, (means[0] - means[1])[..., None])[..., 0]
    offset = np.log(sizes[0] / sizes[1]) - (direction * (means[0] + means[1])).sum(axis=1) / 2
    own: Features = (direction.astype(np.float32)[:, None] @ colors)[:, 0] + offset.astype(np.float32)[:, None]
    return own
