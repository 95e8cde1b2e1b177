"""Show the result to people: report.html, report.md and figures."""

from naevi import paths, provenance, refusal, reporting, tables
from naevi.config import load_config


def main() -> None:
    config = load_config()
    models = [provenance.described(paths.model(item)) for item in config.items()]
    reporting.publish(config, models, tables.read(paths.CURVES))


if __name__ == "__main__":
    refusal.run(main)
