"""Measure the images per second of `naevi predict`, from files to files, by number of views and input size.

    python -m benchmarks.predict
    python -m benchmarks.predict --size 256

The images are synthetic and have PH2's size (765 x 574 px). The network is the default with random weights, because
weights don't change the time. Each figure is the median of three.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from naevi.config import load_config
from naevi.datasets.synthetic import synthetic_image
from naevi.deploy.predict import predict_images
from naevi.images.files import write_image
from naevi.inference.segmenter import Segmenter
from naevi.models.build import create_network
from naevi.models.device import resolve_compute_settings
from naevi.workspace import current_workspace

IMAGES = 24


def main() -> None:
    """Print the table."""
    config = load_config(current_workspace())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=config.preprocess.size)
    size = parser.parse_args().size
    compute = resolve_compute_settings(config.runtime)
    network = create_network(config.model, classes=2, seed=0).to(compute.device).eval()
    print(f"{compute.device}, {compute.precision}, {compute.threads} threads; {size} px\n")
    print("| views of an image | images/s |\n|---|---|")
    with tempfile.TemporaryDirectory() as name:
        images = Path(name) / "images"
        images.mkdir()
        for index in range(IMAGES):
            write_image(images / f"{index}.png", synthetic_image(index, height=574, width=765, seed=7).image)
        for flips, turns in ((False, False), (True, False), (True, True)):
            settings = config.evaluate.model_copy(update={"flips": flips, "turns": turns})
            model = Segmenter(images, network, ["skin", "lesion"], size, settings, compute)
            print(f"| {(4 if flips else 1) * (2 if turns else 1)} | {speed(model, images):.1f} |")


def speed(model: Segmenter, images: Path) -> float:
    """Return images per second."""
    seconds = []
    for turn in range(4):
        began = time.perf_counter()
        predict_images(model, [images], images.parent / f"{id(model)}-{turn}", force=False)
        seconds.append(time.perf_counter() - began)
    return IMAGES / statistics.median(seconds[1:])  # the first one warms up


if __name__ == "__main__":
    main()
