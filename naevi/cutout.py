"""What a model finds in an image, laid over another image: the lab of lesson 12."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from naevi import model_file, prediction, provenance
from naevi.config import load_config
from naevi.images import Pixels, read_image, resize_image, write_image
from naevi.refusal import Refusal
from naevi.runtime import resolve


def write(model: Path, image: Path, over: Path, out: Path) -> None:
    """Write the cutout as a PNG; raises Refusal for files that can't be read, and where `out` is there already."""
    if out.exists() or out.suffix.lower() != ".png":
        raise Refusal(f"--out {out} is there already, or is no .png; name a new one.")
    config = load_config("evaluate", "runtime")
    runtime = resolve(config.runtime)
    network = model_file.read(model, device=runtime.device)
    pixels = read_image(image)
    small = torch.from_numpy(resize_image(pixels, provenance.described(model)["size"]).copy()).permute(2, 0, 1)[None]
    settings = config.evaluate
    probability = prediction.probabilities(network, small, runtime, flips=settings.flips, turns=settings.turns)
    height, width = pixels.shape[:2]
    found = prediction.at_size(probability[0].cpu(), height=height, width=width)
    foreground = found[0] if len(found) == 1 else 1 - found[0]
    write_image(out, laid_over(pixels, foreground.numpy(), read_image(over)))


def laid_over(image: Pixels, probability: np.ndarray, background: Pixels) -> Pixels:
    """The parts of an image, uint8 (H, W, 3), where the probability, float32 (H, W), is above a half, over another.

    The other one is cropped to the image's shape. Between .375 and .625 they blend, so that no border is jagged.
    """
    height, width = probability.shape
    behind = np.asarray(ImageOps.fit(Image.fromarray(background), (width, height)), dtype=np.float32)
    alpha = np.clip(4 * probability - 1.5, 0, 1)[..., None]
    blended: Pixels = np.rint(behind + alpha * (image - behind)).astype(np.uint8)
    return blended
