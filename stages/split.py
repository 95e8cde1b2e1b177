"""Assign every image to test, validation or training, for each model."""

from naevi import paths, refusal, splitting, tables
from naevi.config import load_config


def main() -> None:
    config = load_config("split")
    splitting.assign(tables.read(paths.LESIONS), config.split).to_csv(paths.SPLIT, index=False)


if __name__ == "__main__":
    refusal.run(main)
