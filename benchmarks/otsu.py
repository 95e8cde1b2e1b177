"""How far one threshold per image gets: Otsu's, on the gray image, dark is lesion. A network must beat it.

Prints the mean Dice per image on 200 phantoms and, where data/raw holds images, on those:

    python -m benchmarks.otsu
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from naevi.datasets.synthetic import synthetic_image
from naevi.images import read_image, read_mask


def main() -> None:
    """Print one line per data set."""
    phantoms = (synthetic_image(index, height=288, width=384, seed=7) for index in range(200))
    print(f"200 phantoms: {mean_dice((each.image, each.mask) for each in phantoms):.3f}")
    images = sorted((workspace.raw / "images").glob("*.png"))
    if images:
        pairs = ((read_image(image), read_mask(workspace.raw / "masks" / image.name)) for image in images)
        print(f"{len(images)} in {workspace.raw}: {mean_dice(pairs):.3f}")


def mean_dice(pairs: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> float:
    """Mean Dice per image, 0..1, of Otsu's masks over pairs of an image and its mask, which isn't empty."""
    return float(np.mean([_dice(otsu_mask(image), mask) for image, mask in pairs]))


def otsu_mask(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Uint8 (H, W), 1 where an image (H, W, 3) is at most as light as the threshold that splits its grays best.

    Best is the largest variance between the two classes: N. Otsu, "A threshold selection method from gray-level
    histograms", IEEE Transactions on Systems, Man, and Cybernetics 9 (1), 1979.
    """
    gray = np.asarray(Image.fromarray(image).convert("L"))
    count = np.bincount(gray.ravel(), minlength=256)
    dark, brightness = np.cumsum(count), np.cumsum(count * np.arange(256))
    light = gray.size - dark
    variance = (brightness[-1] * (dark / gray.size) - brightness) ** 2 / np.maximum(dark * light, 1)
    mask: NDArray[np.uint8] = (gray <= variance.argmax()).astype(np.uint8)
    return mask


def _dice(prediction: NDArray[np.uint8], mask: NDArray[np.uint8]) -> float:
    return float(2 * np.count_nonzero(prediction & mask) / (np.count_nonzero(prediction) + np.count_nonzero(mask)))


if __name__ == "__main__":
    main()
