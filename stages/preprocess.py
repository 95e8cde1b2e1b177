"""Check every mask, bring images and masks to the training size, and list what is in them."""

from naevi import lesions, paths, refusal
from naevi.config import load_config


def main() -> None:
    config = load_config("data", "preprocess")
    lesions.prepare(paths.RAW, paths.PREPARED, config.data, config.preprocess)


if __name__ == "__main__":
    refusal.run(main)
