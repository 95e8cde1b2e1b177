"""Estimate where the foreground of each image should be, from the other images and their masks.

A model of single pixels is fitted to the data set itself. It is far weaker than a network but takes only seconds, and
its mistakes differ from those in the masks. An image's own mask and those of its near-duplicates are never used for it.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from naevi.images import Pixels
from naevi.review.pixels import COLOR_FEATURES, SIDE, Features, pixel_features

FOLDS = 4
SEED = 0
RANDOM_FEATURES = 256
SAMPLED_PIXELS = 80_000  # in each fold
CHUNK = 32  # images described at a time
MAX_STEPS, TOLERANCE = 8, 0.01  # of Newton's method
SMOOTHING = 1.0  # px, of the log-odds
MAX_LOG_ODDS = 4.0  # limited, because a single pixel proves little
MAX_OWN_LOG_ODDS = 6.0  # of the image's own colors
OWN_COLORS = 0.5  # weight of the image's own colors against the model of all images

Values = NDArray[np.floating]


def expected_foreground(images: Pixels, foreground: NDArray[np.bool_], groups: list[str]) -> NDArray[np.float32]:
    """Return the log-odds that a pixel is foreground, float32 (N, SIDE, SIDE) in -MAX_LOG_ODDS..MAX_LOG_ODDS.

    `images` is uint8 (N, SIDE, SIDE, 3), `foreground` (N, SIDE, SIDE). Images of one group are never used for each
    other. The result doesn't depend on the number of threads.
    """
    folds = assign_folds(groups)
    weights, bias = _random_layer()
    log_odds = np.zeros(foreground.shape, np.float32)
    with threadpool_limits(1), ThreadPoolExecutor() as pool:  # sums in BLAS depend on its number of threads
        chunks = [np.arange(start, min(start + CHUNK, len(images))) for start in range(0, len(images), CHUNK)]
        picked = np.random.default_rng(SEED).integers(0, SIDE * SIDE, (len(images), _pixels_per_image(folds)))
        sampled = list(pool.map(lambda rows: _sample(images[rows], picked[rows]), chunks))
        samples = np.concatenate(sampled)
        middle, spread = samples.mean(axis=(0, 1)), samples.std(axis=(0, 1)) + np.float32(1e-6)

        def expand(features: Features) -> Values:
            standard = np.clip((features - middle) / spread, -4, 4)
            ones = np.ones((*standard.shape[:-1], 1), np.float32)
            return np.concatenate([standard, np.maximum(standard @ weights + bias, 0), ones], axis=-1)

        labels = np.take_along_axis(foreground.reshape(len(images), -1), picked, axis=1)

        def fit(fold: int) -> Values:
            others = folds != fold
            return fit_logistic(expand(samples[others].reshape(-1, samples.shape[-1])), labels[others].ravel(), 1.0)

        models = np.stack(list(pool.map(fit, range(FOLDS))))

        def predict(rows: NDArray[np.int64]) -> None:
            features = pixel_features(images[rows])
            for row, described in zip(rows, features, strict=True):
                general = np.clip(expand(described) @ models[folds[row]], -MAX_LOG_ODDS, MAX_LOG_ODDS)
                own = np.clip(
                    _own_colors(described[..., :COLOR_FEATURES], general), -1.5 * MAX_LOG_ODDS, 1.5 * MAX_LOG_ODDS
                )
                mixed = (1 - OWN_COLORS) * general + OWN_COLORS * own
                clipped = np.clip(mixed, -MAX_LOG_ODDS, MAX_LOG_ODDS)
                log_odds[row] = gaussian_filter(clipped, SMOOTHING, mode="nearest")

        list(pool.map(predict, chunks))
    return log_odds


def assign_folds(groups: list[str]) -> NDArray[np.int64]:
    """Return the fold of each image, 0..FOLDS-1. Images of one group are in one fold."""
    names, group = np.unique(np.array(groups, dtype=str), return_inverse=True)
    return (np.random.default_rng(SEED).permutation(len(names)) % FOLDS)[group]


def fit_logistic(features: Values, labels: NDArray[np.bool_], ridge: float) -> Values:
    """Return the weights (F,) of a logistic regression, by Newton's method. A column of ones is the intercept."""
    weights = np.zeros(features.shape[1])
    for _ in range(MAX_STEPS):
        probability = sigmoid(features @ weights.astype(features.dtype))
        slope = features.T @ (probability - labels).astype(features.dtype) + ridge * weights
        certainty = np.maximum(probability * (1 - probability), 1e-4).astype(features.dtype)
        curvature = features.T @ (features * certainty[:, None]) + ridge * np.eye(len(weights))
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


def _sample(images: Pixels, picked: NDArray[np.int64]) -> Features:
    features = pixel_features(images).reshape(len(images), SIDE * SIDE, -1)
    return np.take_along_axis(features, picked[..., None], axis=1)


def _random_layer() -> tuple[Features, Features]:
    """Return the weights (F, RANDOM_FEATURES) and bias of a layer that isn't trained."""
    rng = np.random.default_rng(SEED)
    inputs = pixel_features(np.zeros((1, SIDE, SIDE, 3), np.uint8)).shape[-1]
    weights = rng.normal(size=(inputs, RANDOM_FEATURES)) / np.sqrt(inputs)
    return weights.astype(np.float32), rng.normal(scale=0.7, size=RANDOM_FEATURES).astype(np.float32)


def _own_colors(colors: Features, log_odds: Values) -> Values:
    """Return the log-odds from this image's own colors: linear discriminant analysis, with `log_odds` as labels."""
    pixels = colors.reshape(-1, colors.shape[-1]).astype(np.float64)
    inside = sigmoid(log_odds).reshape(-1, 1).astype(np.float64)
    means, covariance, sizes = [], np.zeros((pixels.shape[1],) * 2), []
    for share in (inside, 1 - inside):
        sizes.append(float(share.sum()) + 5)
        means.append((share * pixels).sum(axis=0) / sizes[-1])
        apart = pixels - means[-1]
        covariance += (share * apart).T @ apart / len(pixels)
    covariance += 0.1 * np.trace(covariance) / len(covariance) * np.eye(len(covariance)) + 1e-6 * np.eye(
        len(covariance)
    )
    direction = np.linalg.solve(covariance, means[0] - means[1])
    offset = np.log(sizes[0] / sizes[1]) - direction @ (means[0] + means[1]) / 2
    own: Values = (pixels @ direction + offset).reshape(log_odds.shape)
    return own
