"""A model in use: an image of any size in, its mask at that size out, as the cross-validation predicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from naevi import model_file, paths, prediction, provenance
from naevi.config import EvaluateConfig, parse_config, read_yaml
from naevi.images import Pixels, resize_image
from naevi.networks import Normalized
from naevi.runtime import Runtime, resolve

BATCH = 4  # images of any size that callers hold in memory at a time


@dataclass(frozen=True)
class Segmenter:
    """A network, and all that says how it is asked."""

    network: Normalized
    names: list[str]  # of the classes, the background first
    size: int  # px, of the squares that the network sees
    settings: EvaluateConfig
    runtime: Runtime

    def probabilities(self, images: Sequence[Pixels]) -> list[NDArray[np.float32]]:
        """Of images, uint8 (H, W, 3), the probabilities, float32 (C, H, W); C is 1 for two classes."""
        small = np.stack([resize_image(image, self.size) for image in images])
        flips, turns = self.settings.flips, self.settings.turns
        found = prediction.probabilities(
            self.network, torch.from_numpy(small).permute(0, 3, 1, 2), self.runtime, flips=flips, turns=turns
        ).cpu()
        return [
            prediction.at_size(each, height=image.shape[0], width=image.shape[1]).numpy()
            for each, image in zip(found, images, strict=True)
        ]

    def mask(self, probability: NDArray[np.float32]) -> Pixels:
        """The mask, uint8 (H, W) of classes, that follows from probabilities (C, H, W)."""
        return prediction.masked(torch.from_numpy(probability), self.settings)


def load(model: Path, params: Path = paths.PARAMS) -> Segmenter:
    """The model in this folder; how it is asked, and on what, stands in a params.yaml (evaluate, runtime).

    Raises Refusal as `model_file.read` does.
    """
    config, description = parse_config(read_yaml(params)), provenance.described(model)
    runtime = resolve(config.runtime)
    network = model_file.read(model, device=runtime.device)
    names = sorted(description["classes"], key=description["classes"].get)
    return Segmenter(network, names, description["size"], config.evaluate, runtime)
