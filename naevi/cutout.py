"""What a model finds in an image, laid over another image: the lab of lesson 12."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from naevi import segmenter
from naevi.images import Pixels, read_image, write_image
from naevi.refusal import Refusal


def write(model: Path, image: Path, over: Path, out: Path) -> None:
    """Write the cutout as a PNG; raises Refusal for files that can't be read, and where `out` is there already."""
    if out.exists() or out.suffix.lower() != ".png":
        raise Refusal(f"--out {out} is there already, or is no .png; name a new one.")
    pixels = read_image(image)
    (found,) = segmenter.load(model).probabilities([pixels])
    foreground = found[0] if len(found) == 1 else 1 - found[0]
    write_image(out, laid_over(pixels, foreground, read_image(over)))


def laid_over(image: Pixels, probability: np.ndarray, background: Pixels) -> Pixels:
    """The parts of an image, uint8 (H, W, 3), where the probability, float32 (H, W), is above a half, over another.

    The other one is cropped to the image's shape. Between .375 and .625 they blend, so that no border is jagged.
    """
    height, width = probability.shape
    behind = np.asarray(ImageOps.fit(Image.fromarray(background), (width, height)), dtype=np.float32)
    alpha = np.clip(4 * probability - 1.5, 0, 1)[..., None]
    blended: Pixels = np.rint(behind + alpha * (image - behind)).astype(np.uint8)
    return blended
