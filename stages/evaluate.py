"""Predict every image by the model that never saw it; write predictions and scores."""

import pandas as pd

from naevi import evaluation, paths, refusal
from naevi.config import load_config


def main() -> None:
    config = load_config("evaluate", "runtime", "cv")
    test, validation = evaluation.cross_validate(config, pd.read_csv(paths.SPLIT), pd.read_csv(paths.LESIONS))
    evaluation.write(test, validation, config)


if __name__ == "__main__":
    refusal.run(main)
