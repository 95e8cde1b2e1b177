"""Every file and folder of the pipeline, relative to the repository's root, where DVC runs each stage."""

import os
from pathlib import Path

PARAMS = Path("params.yaml")
PIPELINE = Path("dvc.yaml")
LOCK = Path("dvc.lock")
MANIFEST = Path("data/ph2.csv")  # in git: which pixels are PH2

EXTERNAL = Path("data/external")  # where a user may put an archive or a folder
EXTERNAL_TEST = Path("external")  # where `python -m naevi score` writes, beside the pipeline

RAW = Path("data/raw")  # images/<id>.png, masks/<id>.png (classes) and labels.csv, at native size
PREPARED = Path("data/prepared")  # the same at the training size, with lesions.csv
LESIONS = PREPARED / "lesions.csv"
SPLIT = Path("data/split.csv")  # in git
MODELS = Path("data/models")  # one folder per item of cv.models
PREDICTIONS = Path("data/predictions")  # <id>.png (classes) at native size

DATA = Path("reports/data.json")
METRICS = Path("reports/metrics.json")
PER_IMAGE = Path("reports/per_image.csv")
CURVES = Path("reports/curves.csv")
RELIABILITY = Path("reports/reliability.csv")
THRESHOLDS = Path("reports/thresholds.csv")
RISK_COVERAGE = Path("reports/risk_coverage.csv")
REPORT_MD = Path("reports/report.md")
REPORT_HTML = Path("reports/report.html")
FIGURES = Path("reports/figures")
RESULTS = Path("reports/results")  # <name>/overrides.txt, metrics.json, per_image.csv


def root() -> Path:
    """The repository that outlasts an experiment: the parent one inside `dvc exp run --temp` and `--queue`."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def checkpoint(fingerprint: str) -> Path:
    """Where the training with this fingerprint goes on if it is killed; no output, and nothing to keep."""
    return root() / ".dvc/tmp/checkpoints" / f"{fingerprint}.pt"


def model(item: str) -> Path:
    """The folder of one fitted model: model.safetensors, model.json, history.csv."""
    return MODELS / item
