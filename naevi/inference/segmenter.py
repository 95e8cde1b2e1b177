"""Run a trained model: images of any size in, probabilities and masks of that size out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from naevi.config import PredictConfig, ReadingConfig
from naevi.images import Pixels, resize_image
from naevi.inference.postprocessing import resize_probabilities, to_mask
from naevi.inference.predictor import PLAIN, read_predict_settings
from naevi.models.build import NormalizedNetwork
from naevi.models.device import ComputeSettings, resolve_compute_settings
from naevi.models.prediction import predict_probabilities
from naevi.models.storage import load_model
from naevi.workspace import Workspace

BATCH_SIZE = 4  # images of any size that callers hold in memory at a time


@dataclass(frozen=True)
class Segmenter:
    """A trained network with its settings for prediction."""

    network: NormalizedNetwork
    names: list[str]  # of the classes, the background first
    size: int  # px, side of the squares that the network sees
    settings: PredictConfig
    compute: ComputeSettings
    reading: ReadingConfig = PLAIN  # how new image files are read

    def predict_prepared(self, images: Tensor) -> Tensor:
        """Return probabilities, float32 (N, C, size, size) on the CPU, for images uint8 (N, 3, size, size).

        With two classes C is 1: the foreground's probability. Otherwise C is the number of classes.
        """
        flips, turns = self.settings.flips, self.settings.turns
        return predict_probabilities(self.network, images, self.compute, flips=flips, turns=turns).cpu()

    def probabilities(self, images: Sequence[Pixels]) -> list[NDArray[np.float32]]:
        """Return probabilities, float32 (C, H, W), for images uint8 (H, W, 3) of any size."""
        small = np.stack([resize_image(image, self.size) for image in images])
        probabilities = self.predict_prepared(torch.from_numpy(small).permute(0, 3, 1, 2))
        return [
            resize_probabilities(probability, height=image.shape[0], width=image.shape[1]).numpy()
            for probability, image in zip(probabilities, images, strict=True)
        ]

    def mask(self, probability: NDArray[np.float32]) -> Pixels:
        """Return the mask, uint8 (H, W) of class indices, for probabilities (C, H, W)."""
        return to_mask(torch.from_numpy(probability), self.settings)


def open_segmenter(folder: Path, settings: PredictConfig, compute: ComputeSettings) -> Segmenter:
    """Return the model in a folder with these settings. Raises UserError as `load_model` does."""
    network, description = load_model(folder, device=compute.device)
    names = sorted(description["classes"], key=description["classes"].get)
    return Segmenter(network, names, description["size"], settings, compute)


def load_segmenter(folder: Path, workspace: Workspace | None = None) -> Segmenter:
    """Return the model in a predictor folder, or in a model folder of a workspace, with its settings.

    Raises UserError as `read_predict_settings` and `load_model` do.
    """
    settings = read_predict_settings(folder, workspace)
    segmenter = open_segmenter(folder, settings, resolve_compute_settings(settings))
    return replace(segmenter, reading=settings.reading())
