"""Bring the images and masks into data/raw, checked."""

from functools import partial

from naevi import paths, raw, refusal
from naevi.config import load_config


def main() -> None:
    data = load_config("data").data
    writers = {
        "ph2": raw.ph2_images,
        "phantoms": partial(raw.phantom_images, settings=data.phantoms),
        "folder": partial(raw.folder_images, values=data.values()),
    }
    raw.fill(paths.RAW, writers[data.source])


if __name__ == "__main__":
    refusal.run(main)
