"""Predict every image by the model that never saw it; write predictions and scores."""

from naevi import evaluation, paths, refusal, summary, tables, whole
from naevi.config import load_config


def main() -> None:
    config = load_config("data", "evaluate", "runtime", "cv")
    test, validation = evaluation.cross_validate(config, tables.read(paths.SPLIT), tables.read(paths.LESIONS))
    figures = summary.cross_validated(test.rows, test.pixels, validation, config.evaluate)
    evaluation.write(test, figures, config.data.names())
    with whole.file(paths.CURVES) as curves:
        evaluation.curves(config).to_csv(curves, index=False)


if __name__ == "__main__":
    refusal.run(main)
