"""Score Otsu's threshold on the gray image, with dark pixels as lesion. A network must beat it.

Prints the mean Dice per image on 200 synthetic images and on the images in data/raw, if there are any:

    python -m benchmarks.otsu
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from naevi.datasets.synthetic import synthetic_image
from naevi.images.folders import stored_image, stored_mask
from naevi.tables import read_labels
from naevi.workspace import current_workspace


def main() -> None:
    """Print one line for each data set."""
    workspace = current_workspace()
    synthetic = (synthetic_image(index, height=288, width=384, seed=7) for index in range(200))
    print(f"200 synthetic images: {mean_dice((sample.image, sample.mask) for sample in synthetic):.3f}")
    if workspace.raw.exists():
        ids = read_labels(workspace).image_id
        images, masks = workspace.raw / "images", workspace.raw / "masks"
        pairs = ((stored_image(images, image_id), stored_mask(masks, image_id)) for image_id in ids)
        print(f"{len(ids)} in {workspace.raw}: {mean_dice(pairs):.3f}")


def mean_dice(pairs: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> float:
    """Return the mean Dice per image, 0..1, of Otsu's masks for pairs of an image and a mask that isn't empty."""
    return float(np.mean([_dice(otsu_mask(image), mask) for image, mask in pairs]))


def otsu_mask(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return uint8 (H, W), 1 where an image (H, W, 3) is not lighter than the best threshold of its grays.

    The best threshold has the largest variance between the classes: N. Otsu, "A threshold selection method from
    gray-level histograms", IEEE Transactions on Systems, Man, and Cybernetics 9 (1), 1979.
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
