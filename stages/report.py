"""Show the result to people: report.html, report.md and figures."""

import pandas as pd

from naevi import figures, metrics, model_file, paths, provenance, refusal, reporting
from naevi.config import load_config


def main() -> None:
    config = load_config()
    models = [model_file.describe(paths.model(item)) for item in config.items()]
    per_image = pd.read_csv(paths.PER_IMAGE)
    scores = metrics.read(paths.METRICS)
    result = reporting.Result(
        config=config,
        metrics=scores,
        per_image=per_image,
        curves=pd.read_csv(paths.CURVES),
        lesions=pd.read_csv(paths.LESIONS),
        models=models,
        fingerprint=provenance.of_result(config, models, scores),
    )
    reporting.write(result, figures.pictures(figures.chosen(per_image), paths.RAW, paths.PREDICTIONS))


if __name__ == "__main__":
    refusal.run(main)
