"""Show the result to people: report.html, report.md and figures."""

from naevi import figures, metrics, paths, provenance, refusal, reporting, tables
from naevi.config import load_config


def main() -> None:
    config = load_config()
    models = [provenance.described(paths.model(item)) for item in config.items()]
    scores = metrics.read(paths.METRICS)
    result = reporting.Result(
        config=config,
        metrics=scores,
        per_image=metrics.by_image(tables.read(paths.PER_IMAGE)),
        curves=tables.read(paths.CURVES),
        lesions=tables.read(paths.LESIONS),
        models=models,
        fingerprint=provenance.of_result(config, models, scores),
    )
    reporting.write(result, figures.pictures(figures.chosen(result.per_image), paths.RAW, paths.PREDICTIONS))


if __name__ == "__main__":
    refusal.run(main)
