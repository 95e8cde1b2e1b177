"""Bring the images and masks into data/raw, checked."""

from functools import partial

from naevi import paths, raw, refusal
from naevi.config import load_config


def main() -> None:
    data = load_config("data").data
    if data.source == "phantoms":
        raw.fill(paths.RAW, partial(raw.phantom_images, settings=data.phantoms))
    else:
        raw.fill(paths.RAW, raw.ph2_images)


if __name__ == "__main__":
    refusal.run(main)
