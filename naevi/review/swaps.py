"""Find the image whose mask was probably swapped with this one: each of the two masks fits the other image better."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from naevi.review.edges import Masks
from naevi.review.evidence import SOFT, LogOdds, in_blocks
from naevi.review.pixels import SIDE

MAX_CANDIDATES = 3000  # images with which a swap is considered, so that time grows only linearly


class Swaps:
    """The masks of all images, as candidates for a swap.

    They are compared at SIDE / 2, which takes a quarter of the time. In large data sets, only the masks that fit
    their images worst are candidates.
    """

    def __init__(self, log_odds: LogOdds, masks: Masks) -> None:
        self.log_odds, self.masks = 4 * _halved(log_odds), _halved(masks)
        self.area = 4 * self.masks.sum(axis=1)
        self.fit = (self.log_odds * self.masks).sum(axis=1)
        worst = np.argsort(self.fit / (self.area + SOFT), kind="stable")[:MAX_CANDIDATES]
        self.candidates = np.sort(worst)

    def evidence(
        self, images: NDArray[np.int64], masks: Masks, owners: NDArray[np.int64] | None = None
    ) -> pd.DataFrame:
        """Return a row for each of `images` (indices) with these masks: the gain of a swap with the best partner.

        With `owners`, each mask belongs to that image, which has this image's mask instead. `partner` is an index.
        """

        def describe(rows: slice) -> pd.DataFrame:
            return self._evidence(images[rows], _halved(masks[rows]), None if owners is None else owners[rows])

        return in_blocks(describe, len(images))

    def _evidence(self, images: NDArray[np.int64], masks: Masks, owners: NDArray[np.int64] | None) -> pd.DataFrame:
        others, rows = self.candidates, np.arange(len(images))
        area, fit = 4 * masks.sum(axis=1), (self.log_odds[images] * masks).sum(axis=1)
        here = self.log_odds[images] @ self.masks[others].T - fit[:, None]
        there = masks @ self.log_odds[others].T - self.fit[others]
        apart = self.area[others] + area[:, None] - 8 * masks @ self.masks[others].T + SOFT
        partners = np.broadcast_to(others, here.shape)
        impossible = partners == images[:, None]
        if owners is not None:  # the owner has this image's mask
            impossible = np.column_stack([impossible | (partners == owners[:, None]), np.zeros(len(rows), bool)])
            there_now = (self.log_odds[owners] * self.masks[images]).sum(axis=1)
            apart_now = self.area[images] + area - 8 * (self.masks[images] * masks).sum(axis=1) + SOFT
            here = np.column_stack([here, self.fit[images] - fit])
            there = np.column_stack([there, self.fit[owners] - there_now])
            apart, partners = np.column_stack([apart, apart_now]), np.column_stack([partners, owners])
        both = np.where(impossible, -np.inf, np.minimum(here, there))
        best = (both / np.sqrt(apart)).argmax(axis=1)
        partner, gain, apart = partners[rows, best], both[rows, best], apart[rows, best]
        scale = np.sqrt(area * self.area[partner]) + 2 * SOFT
        return pd.DataFrame(
            {
                "swap_root": gain / np.sqrt(apart),
                "swap_mean": gain / apart,
                "swap_best": np.maximum(here, there)[rows, best] / apart,
                "swap_gain": gain / scale,
                "partner": partner,
            }
        )


def _halved(values: Masks) -> Masks:
    """Return images (N, S, S) with half of SIDE pixels, as (N, SIDE/2 * SIDE/2)."""
    number, half, step = len(values), SIDE // 2, values.shape[-1] // (SIDE // 2)
    halved: Masks = values.reshape(number, half, step, half, step).mean(axis=(2, 4)).reshape(number, -1)
    return halved
