"""Assign every image to test, validation or training, for each model."""

import pandas as pd

from naevi import paths, refusal, splitting
from naevi.config import load_config


def main() -> None:
    config = load_config("split")
    splitting.assign(pd.read_csv(paths.LESIONS), config.split).to_csv(paths.SPLIT, index=False)


if __name__ == "__main__":
    refusal.run(main)
