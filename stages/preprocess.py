"""Check every mask, bring images and masks to the training size, and list what is in them."""

from naevi import lesions, paths, refusal
from naevi.config import load_config


def main() -> None:
    config = load_config("data", "preprocess")
    lesions.prepare(
        paths.RAW,
        paths.PREPARED,
        dataset=config.data.source,
        size=config.preprocess.size,
        classes=len(config.data.classes),
        empty_masks=config.preprocess.empty_masks,
    )


if __name__ == "__main__":
    refusal.run(main)
