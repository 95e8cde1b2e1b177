"""The path of every file and folder of the pipeline."""

import os
from pathlib import Path

from naevi.errors import UserError


class Workspace:
    """A checkout of the pipeline. Every path begins with `root`, so several can be used in one process.

    `main_repository` outlasts an experiment: inside `dvc exp run --temp` and `--queue` it is the repository that the
    experiment was started from. It holds MLflow's store, the checkpoints and files that git and DVC don't copy.
    """

    def __init__(self, root: Path, main_repository: Path | None = None) -> None:
        """Name the paths under `root`; `main_repository` is `root` unless given."""
        self.root = root
        self._main_repository = main_repository or root

        self.params = root / "params.yaml"
        self.pipeline = root / "dvc.yaml"
        self.lock = root / "dvc.lock"
        self.requirements_lock = root / "requirements.lock"

        self.ph2_manifest = root / "data/ph2.csv"  # pixel hashes of PH2, in git
        self.raw = (
            root / "data/raw"
        )  # images/ (see images.folders), masks/<id>.png (class indices), labels.csv, native size
        self.reading_decisions = self.raw / "decisions.csv"  # decisions about files that can be read in several ways
        self.prepared = root / "data/prepared"  # the same at the training size, with the image table
        self.image_table = self.prepared / "lesions.csv"
        self.checks = root / "data/checks"  # what preprocess noticed, for people
        self.near_duplicates = self.checks / "near_duplicates.csv"
        self.vanished = self.checks / "vanished.csv"  # lesions too small for the training size
        self.suspicions = self.checks / "suspicions.csv"  # the scores behind the review page
        self.statistics_source = self.checks / "data.json"  # decisions, warnings and statistics
        self.split = root / "data/split.csv"  # in git
        self.models = root / "data/models"  # one folder for each entry of cv.models
        self.predictor = root / "data/predictor"  # the model to use, with all that prediction needs
        self.predictions = root / "data/predictions"  # <id>.png (class indices) at native size
        self.details_source = root / "data/details.json"  # all scores that metrics.json doesn't have

        # Copies in git of data/checks/data.json and data/details.json, see dvc.yaml.
        self.data_statistics = root / "reports/data.json"
        self.details = root / "reports/details.json"

        self.review_html = root / "reports/review.html"
        self.metrics = root / "reports/metrics.json"
        self.per_image = root / "reports/per_image.csv"
        self.curves = root / "reports/curves.csv"
        self.reliability = root / "reports/reliability.csv"
        self.thresholds = root / "reports/thresholds.csv"
        self.risk_coverage = root / "reports/risk_coverage.csv"
        self.report_md = root / "reports/report.md"
        self.report_html = root / "reports/report.html"
        self.figures = root / "reports/figures"
        self.results = root / "reports/results"  # <name>/overrides.txt, metrics.json, per_image.csv, record.json

    @property
    def main_repository(self) -> Path:
        """Return the absolute path of the repository that outlasts an experiment."""
        return self._main_repository.resolve()

    @property
    def external_data(self) -> Path:
        """Return the folder in which users may put PH2, as an archive or a folder."""
        return self._main_repository / "data/external"

    @property
    def mlflow_database(self) -> Path:
        """Return the file of MLflow's default store."""
        return self.main_repository / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        """Return the folder of MLflow's artifacts in the default store."""
        return self.main_repository / "mlartifacts"

    def model(self, name: str) -> Path:
        """Return the folder of one model: model.safetensors, model.json, history.csv."""
        return self.models / name

    def weights(self, name: str) -> Path:
        """Return the file of weights that model.weights names. imagenet and none have a file with an explanation."""
        return self.root / "data/weights" / name

    def checkpoint(self, fingerprint: str) -> Path:
        """Return the checkpoint of the training with this fingerprint. It is not an output of the pipeline."""
        return self.main_repository / ".dvc/tmp/checkpoints" / f"{fingerprint}.pt"

    def relative(self, path: Path) -> str:
        """Return a path of this workspace as git and DVC name it."""
        return path.relative_to(self.root).as_posix()


def current_workspace() -> Workspace:
    """Return the workspace in the current folder, where DVC runs each stage."""
    parent = os.environ.get("DVC_ROOT")
    return Workspace(Path(), Path(parent) if parent else None)


def require_workspace() -> Workspace:
    """Return the workspace in the current folder; raise UserError if the folder is not one."""
    workspace = current_workspace()
    if not (workspace.params.exists() and workspace.pipeline.exists()):
        raise UserError(
            "This command needs the pipeline's repository, and there is no params.yaml with dvc.yaml here. "
            "Change to a clone of the repository and run it again."
        )
    return workspace
