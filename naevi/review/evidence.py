"""Measure how well a mask fits the expected foreground, and how much better an alternative would fit.

The fit of a mask is the sum of the log-odds inside it, and how well its outline follows the colors. Alternatives are
the same mask mirrored or turned, and the same mask shifted. `swaps` compares it with the masks of other images.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import fft

from naevi.images.files import Pixels
from naevi.parallel.processes import cores
from naevi.review.edges import Masks, compare_masks, edge_colors, side_contrast
from naevi.review.expectation import sigmoid
from naevi.review.pixels import SIDE

LogOdds = NDArray[np.float32]
Numbers = NDArray[np.float64]

SOFT = 10.0  # px, added to areas so that ratios of small areas stay small
BLOCK = 250  # images at a time
MAX_SHIFT = 1 / 3  # of the side

# The ways in which a mask may be turned relative to its image. The first three are possible for images of any shape.
TURNS: dict[str, Callable[[Masks], Masks]] = {
    "mirrored left to right": lambda masks: masks[..., ::-1],
    "mirrored up and down": lambda masks: masks[..., ::-1, :],
    "turned by 180 degrees": lambda masks: masks[..., ::-1, ::-1],
    "turned by 90 degrees": lambda masks: np.rot90(masks, 1, (-2, -1)),
    "turned by 270 degrees": lambda masks: np.rot90(masks, 3, (-2, -1)),
    "mirrored and turned by 90 degrees": lambda masks: np.swapaxes(masks, -2, -1),
    "mirrored and turned by 270 degrees": lambda masks: np.swapaxes(masks[..., ::-1, ::-1], -2, -1),
}
TURNS_OF_ANY_SHAPE = 3


def mask_evidence(images: Pixels, log_odds: LogOdds, masks: Masks, square: NDArray[np.bool_]) -> pd.DataFrame:
    """Return a row for each mask: its fit, and that of its best turn and shift.

    `images` is uint8 (N, S, S, 3), `log_odds` and `masks`, 0 or 1, are float32 (N, S, S). `square` says which images
    are as wide as high at native size. More columns name the alternatives: turn (index in TURNS), down, right (px). All
    lengths and areas are in px of images of SIDE px.
    """

    def describe(rows: slice) -> pd.DataFrame:
        fits = _fits(log_odds[rows], masks[rows], square[rows])
        return fits.assign(**_contrasts(images[rows], masks[rows], fits))

    return in_blocks(describe, len(masks))


def in_blocks(describe: Callable[[slice], pd.DataFrame], number: int) -> pd.DataFrame:
    """Return the rows of `number` images. `describe` returns those of BLOCK images, several blocks at the same time."""
    blocks = [slice(start, start + BLOCK) for start in range(0, number, BLOCK)]
    with ThreadPoolExecutor(cores()) as pool:
        return pd.concat(pool.map(describe, blocks), ignore_index=True)


def _contrasts(images: Pixels, masks: Masks, fits: pd.DataFrame) -> dict[str, Numbers]:
    """Return how well the colors fit the mask, and how much better they fit its best turn and shift."""
    turns = list(TURNS.values())
    turned = np.stack([turns[turn](mask) for turn, mask in zip(fits.turn, masks, strict=True)])
    steps = fits[["down", "right"]].to_numpy() // (SIDE // masks.shape[-1])
    shifted = np.stack([move_mask(mask, *step) for mask, step in zip(masks, steps, strict=True)])
    colors = edge_colors(images)
    contrast, side = side_contrast(colors, masks)
    columns = {"contrast": contrast, "side": side}
    for name, other in (("turn", turned), ("shift", shifted)):
        other_contrast, other_side = side_contrast(colors, other)
        columns |= {f"{name}_contrast": other_contrast - contrast, f"{name}_side": other_side - side}
        names = (f"{name}_colors", f"{name}_common_colors", f"{name}_colors_root")
        columns |= dict(zip(names, compare_masks(colors, masks, other), strict=True))
    return columns


def move_mask(mask: Masks, down: int, right: int) -> Masks:
    """Return a mask (S, S) moved by whole pixels. Pixels that leave the image are lost."""
    side = len(mask)
    return np.pad(mask, side)[side - down : 2 * side - down, side - right : 2 * side - right]


def _fits(log_odds: LogOdds, masks: Masks, square: NDArray[np.bool_]) -> pd.DataFrame:
    expected = (log_odds > 0).astype(np.float32)
    probability = sigmoid(log_odds)
    area, expected_area = _sum(masks), _sum(expected)
    fit = _sum(masks * log_odds)
    loss = _sum(np.maximum(log_odds, 0)) - fit  # of the given mask against the expected one
    scale = np.sqrt(area * expected_area) + 0.2 * area + 2 * SOFT
    columns = {
        "dice": _dice(masks, expected),
        "soft_dice": _dice(masks, probability),
        "sureness": _dice(expected, probability),
        "loss": np.log((loss + SOFT / 2) / scale),
        "log_area": np.log(area + SOFT / 2),
        "log_expected_area": np.log(expected_area + SOFT / 2),
        "mean_odds": np.abs(log_odds).mean(axis=(1, 2)),
    }
    columns |= _best_turn(log_odds, masks, expected, square, loss, scale)
    columns |= _best_shift(log_odds, masks, fit, loss, scale)
    return pd.DataFrame(columns)


def _best_turn(
    log_odds: LogOdds, masks: Masks, expected: Masks, square: NDArray[np.bool_], loss: Numbers, scale: Numbers
) -> dict[str, Numbers]:
    gains, ratios, dices = [], [], []
    for number, turn in enumerate(TURNS.values()):
        other = turn(masks)
        gain = _sum((other - masks) * log_odds)
        ratio = gain / (_sum(np.abs(other - masks)) + SOFT)
        gains.append(gain)
        ratios.append(ratio if number < TURNS_OF_ANY_SHAPE else np.where(square, ratio, -np.inf))
        dices.append(_dice(other, expected))
    best, rows = np.argmax(ratios, axis=0), np.arange(len(masks))
    gain = np.array(gains)[best, rows]
    return {
        "turn_mean": np.array(ratios)[best, rows],
        "turn_gain": gain / scale,
        "turn_share": gain / (loss + SOFT),
        "turn_dice": np.array(dices)[best, rows],
        "turn": best,
    }


def _best_shift(log_odds: LogOdds, masks: Masks, fit: Numbers, loss: Numbers, scale: Numbers) -> dict[str, Numbers]:
    side = masks.shape[-1]
    padded = (2 * side, 2 * side)  # so that pixels shifted out of the image don't come in on the other side
    spectrum = np.conj(fft.rfft2(masks, padded)) * fft.rfft2(log_odds, padded)
    steps = np.arange(-int(MAX_SHIFT * side), int(MAX_SHIFT * side) + 1)
    fits = fft.irfft2(spectrum, padded)[:, steps[:, None], steps[None, :]].reshape(len(masks), -1)
    best, rows = fits.argmax(axis=1), np.arange(len(masks))
    px = SIDE // side
    gain = fits[rows, best] * px**2 - fit
    down, right = px * steps[best // len(steps)], px * steps[best % len(steps)]
    distance, diameter = np.hypot(down, right), 2 * np.sqrt(_sum(masks) / np.pi) + SOFT / 2
    return {
        "shift_mean": gain / (distance * diameter + SOFT),
        "shift_gain": gain / scale,
        "shift_share": gain / (loss + SOFT),
        "shift_distance": distance / diameter,
        "down": down,
        "right": right,
    }


def _sum(values: NDArray[np.floating]) -> Numbers:
    total: Numbers = values.sum(axis=(1, 2), dtype=np.float64) * (SIDE // values.shape[-1]) ** 2
    return total


def _dice(first: NDArray[np.floating], second: NDArray[np.floating]) -> Numbers:
    return 2 * _sum(first * second) / (_sum(first) + _sum(second) + 1e-6)
