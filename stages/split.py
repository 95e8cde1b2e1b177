"""Assign every image to test, validation or training, for each model."""

from naevi import paths, refusal, splitting, tables, whole
from naevi.config import load_config


def main() -> None:
    config = load_config("split")
    with whole.file(paths.SPLIT) as split:
        splitting.assign(tables.read(paths.LESIONS), config.split).to_csv(split, index=False)


if __name__ == "__main__":
    refusal.run(main)
