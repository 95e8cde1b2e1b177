"""Check every mask, bring images and masks to the training size, and list what is in them."""

import json

from naevi import lesions, paths, refusal, whole
from naevi.config import load_config


def main() -> None:
    config = load_config("data", "preprocess")
    lesions.prepare(paths.RAW, paths.PREPARED, config.data, config.preprocess)
    paths.DATA.parent.mkdir(exist_ok=True)
    with whole.file(paths.DATA) as overview:
        overview.write_text(json.dumps(lesions.overview(paths.PREPARED), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    refusal.run(main)
