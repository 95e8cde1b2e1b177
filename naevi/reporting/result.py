"""The data of a report."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from naevi.config import Config, ModelConfig
from naevi.rendering.data_sets import DATASET_NAMES, SYNTHETIC_LABEL
from naevi.reporting.dependencies import Dependencies
from naevi.results.data_sets import DataSet
from naevi.results.folders import PublishedResult


@dataclass(frozen=True)
class ReportData:
    """Everything in a report except the images.

    Attributes:
        config: the parameters of the run.
        metrics: all scores, see `record.read_scores`.
        per_image: per_image.csv with one row for each image.
        curves: curves.csv, or None for an external validation, which tests one model on images from elsewhere.
        reliability: reliability.csv.
        thresholds: thresholds.csv.
        risk_coverage: risk_coverage.csv.
        image_table: the table of prepared images, lesions.csv.
        statistics: the content of data.json.
        models: the model.json of each of config.model_names(), in this order.
        recorded: the results in reports/results.
        inputs: the SHA-256 of each input file by its path.
        dependencies: the versions of the packages.
        fingerprint: the fingerprint of the result.
    """

    config: Config
    metrics: dict[str, Any]
    per_image: pd.DataFrame
    curves: pd.DataFrame | None
    reliability: pd.DataFrame
    thresholds: pd.DataFrame
    risk_coverage: pd.DataFrame
    image_table: pd.DataFrame
    statistics: dict[str, Any]
    models: list[dict[str, Any]]
    recorded: list[PublishedResult]
    inputs: dict[str, str]
    dependencies: Dependencies
    fingerprint: str

    @property
    def data_set(self) -> str:
        """Return the name of the data set."""
        return (
            self.config.data.data_set()
            if self.config.data.source == "folder"
            else DATASET_NAMES[self.config.data.source]
        )

    @property
    def is_synthetic(self) -> bool:
        """Whether the images are synthetic, which every page and plot then says."""
        return self.config.data.source == "phantoms"

    @property
    def tested(self) -> DataSet:
        """Return the data set that was tested."""
        data = self.config.data
        return DataSet(data.source, data.data_set(), self.statistics.get("digest") or "")

    @property
    def plot_title(self) -> str:
        """Return the title of every plot."""
        return SYNTHETIC_LABEL if self.is_synthetic else ""

    @property
    def network(self) -> ModelConfig:
        """Return the network that was trained. Lesson 12's networks don't use the encoder in params.yaml."""
        return ModelConfig.model_validate(self.models[0]["model"])
