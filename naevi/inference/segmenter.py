"""Run a trained model: images of any size in, probabilities and masks of that size out."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from naevi.config import PredictConfig, ReadingConfig
from naevi.errors import UserError
from naevi.images.files import Pixels, resize_image
from naevi.inference.postprocessing import resize_probabilities, to_mask
from naevi.inference.predictor import PLAIN, read_predict_settings
from naevi.models.build import NormalizedNetwork
from naevi.models.device import ComputeSettings, resolve_compute_settings
from naevi.models.prediction import predict_probabilities
from naevi.models.storage import load_model, weights_digest
from naevi.workspace import Workspace

BATCH_SIZE = 4  # images of any size that callers hold in memory at a time
MAX_OPEN = 16  # models that a worker process keeps

_using_gpu = Lock()  # the threads of a process take turns, because each batch needs its own memory there


@dataclass(frozen=True)
class Segmenter:
    """A trained network with its settings for prediction.

    Another process gets only the name of its folder, and opens it there once.
    """

    folder: Path  # of the model
    network: NormalizedNetwork
    names: list[str]  # of the classes, the background first
    size: int  # px, side of the squares that the network sees
    settings: PredictConfig
    compute: ComputeSettings
    reading: ReadingConfig = PLAIN  # how new image files are read

    @cached_property
    def weights(self) -> str:
        """Return the digest of the weights."""
        return weights_digest(self.network)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how another process opens the segmenter."""
        return _reopen, (self.folder.absolute(), self.settings, self.compute, self.reading, self.weights)

    def predict_prepared(self, images: Tensor) -> Tensor:
        """Return probabilities, float32 (N, C, size, size) on the CPU, for images uint8 (N, 3, size, size).

        With two classes C is 1: the foreground's probability. Otherwise C is the number of classes.
        """
        flips, turns = self.settings.flips, self.settings.turns
        with _using_gpu if self.compute.device != "cpu" else nullcontext():
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
    return Segmenter(folder, network, names, description["size"], settings, compute)


def load_segmenter(folder: Path, workspace: Workspace | None = None) -> Segmenter:
    """Return the model in a predictor folder, or in a model folder of a workspace, with its settings.

    Raises UserError as `read_predict_settings` and `load_model` do.
    """
    settings = read_predict_settings(folder, workspace)
    segmenter = open_segmenter(folder, settings, resolve_compute_settings(settings))
    return replace(segmenter, reading=settings.reading())


def with_one_thread(segmenter: Segmenter) -> Segmenter:
    """Return a segmenter that computes with one thread on a CPU, so that several workers can use it at the same time.

    With other numbers of threads, such as 3, the last digits of a probability depend on its batch.
    """
    torch.set_num_threads(1)
    return replace(segmenter, compute=replace(segmenter.compute, threads=1))


@lru_cache(MAX_OPEN)
def _reopen(
    folder: Path, settings: PredictConfig, compute: ComputeSettings, reading: ReadingConfig, weights: str
) -> Segmenter:
    """Return the segmenter with these weights in a worker process. Raises UserError if the folder has others now."""
    torch.set_num_threads(compute.threads)
    segmenter = replace(open_segmenter(folder, settings, compute), reading=reading)
    if segmenter.weights != weights:
        raise UserError(f"The model in {folder} was replaced meanwhile. Run the command again.")
    return segmenter
