"""Find for a mask the image that it fits better, while that image's mask fits better here."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from naevi.review.edges import Masks
from naevi.review.evidence import BLOCK, SOFT, LogOdds


class Exchange:
    """The masks of all images, to find for one of them the image whose mask fits better while its own fits there.

    It compares at half the size: N * N comparisons need a quarter of the time.
    """

    def __init__(self, log_odds: LogOdds, masks: Masks) -> None:
        self.log_odds, self.masks = 4 * _halved(log_odds), _halved(masks)
        self.area = 4 * self.masks.sum(axis=1)
        self.fit = (self.log_odds * self.masks).sum(axis=1)

    def evidence(
        self, images: NDArray[np.int64], masks: Masks, owners: NDArray[np.int64] | None = None
    ) -> pd.DataFrame:
        """Return a row for each of `images` (indices) as if it had this mask: what an exchange would gain.

        With `owners`, the mask is that of another image, which has this image's mask. Further column: partner.
        """
        parts = []
        for start in range(0, len(images), BLOCK):
            rows = slice(start, start + BLOCK)
            parts.append(self._evidence(images[rows], _halved(masks[rows]), None if owners is None else owners[rows]))
        return pd.concat(parts, ignore_index=True)

    def _evidence(self, images: NDArray[np.int64], masks: Masks, owners: NDArray[np.int64] | None) -> pd.DataFrame:
        rows = np.arange(len(images))
        area = 4 * masks.sum(axis=1)
        here = self.log_odds[images] @ self.masks.T - (self.log_odds[images] * masks).sum(axis=1)[:, None]
        there = masks @ self.log_odds.T - self.fit
        apart = self.area + area[:, None] - 8 * masks @ self.masks.T + SOFT
        if owners is not None:
            here[rows, owners] = self.fit[images] - (self.log_odds[images] * masks).sum(axis=1)
            there[rows, owners] = self.fit[owners] - (self.log_odds[owners] * self.masks[images]).sum(axis=1)
            apart[rows, owners] = self.area[images] + area - 8 * (self.masks[images] * masks).sum(axis=1) + SOFT
        both = np.minimum(here, there)
        both[rows, images] = -np.inf
        partner = (both / np.sqrt(apart)).argmax(axis=1)
        gain, apart = both[rows, partner], apart[rows, partner]
        scale = np.sqrt(area * self.area[partner]) + 2 * SOFT
        return pd.DataFrame(
            {
                "exchange_root": gain / np.sqrt(apart),
                "exchange_mean": gain / apart,
                "exchange_best": np.maximum(here, there)[rows, partner] / apart,
                "exchange_gain": gain / scale,
                "partner": partner,
            }
        )


def _halved(values: Masks) -> Masks:
    """Return the means of 2x2 pixels, (N, S/2 * S/2)."""
    number, side, _ = values.shape
    halved: Masks = values.reshape(number, side // 2, 2, side // 2, 2).mean(axis=(2, 4)).reshape(number, -1)
    return halved
