"""Cut the foreground out of an image and put it over another image, as in the lab of lesson 12."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from naevi.datasets.decoding import read_image, read_new_image
from naevi.errors import check_inputs, check_output
from naevi.files import atomic_file, read_bytes
from naevi.images.files import Pixels, write_image
from naevi.inference.segmenter import Segmenter


def write_cutout(segmenter: Segmenter, image: Path, over: Path, out: Path, *, force: bool) -> None:
    """Write a PNG that shows the foreground of one image over another image.

    Raises UserError as `check_inputs`, `check_output` and `read_new_image` do.
    """
    check_inputs([image, over])
    check_output(out, force=force, suffixes=(".png",))
    pixels = read_new_image(read_bytes(image), str(image), segmenter.reading).pixels
    background = read_image(read_bytes(over), str(over), segmenter.reading).pixels
    (probability,) = segmenter.probabilities([pixels])
    # With two classes there is one probability, the foreground's. Otherwise class 0 is the background.
    foreground = probability[0] if len(probability) == 1 else 1 - probability[0]
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(out) as partial:
        write_image(partial, composite(pixels, foreground, background))


def composite(image: Pixels, probability: NDArray[np.float32], background: Pixels) -> Pixels:
    """Return an image, uint8 (H, W, 3), over a background of any size that is cropped to (H, W).

    The image is visible where the foreground's probability, float32 (H, W), is above 0.5. Between 0.375 and 0.625 both
    are blended, so that edges are smooth.
    """
    height, width = probability.shape
    cropped = np.asarray(ImageOps.fit(Image.fromarray(background), (width, height)), dtype=np.float32)
    alpha = np.clip(4 * probability - 1.5, 0, 1)[..., None]
    blended: Pixels = np.rint(cropped + alpha * (image - cropped)).astype(np.uint8)
    return blended
