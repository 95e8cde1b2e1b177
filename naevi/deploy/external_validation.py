"""Validate a model on labeled images from elsewhere, with the scores and report of the cross-validation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from naevi.config import (
    ColumnsConfig,
    Config,
    DataConfig,
    EvaluateConfig,
    ModelConfig,
    PredictConfig,
    PreprocessConfig,
    RuntimeConfig,
    TrainConfig,
)
from naevi.datasets.archives import read_files
from naevi.datasets.folder import import_folder
from naevi.datasets.raw import fill_raw
from naevi.errors import UserError, check_inputs, check_output
from naevi.evaluation.outputs import write_outputs
from naevi.evaluation.scoring import per_image_table, score_images
from naevi.evaluation.summary import summarize
from naevi.files import atomic_folder, write_json
from naevi.inference.predictor import PredictorSettings, read_predict_settings
from naevi.inference.segmenter import Segmenter, open_segmenter
from naevi.models.device import resolve_compute_settings
from naevi.preprocessing.checks import check_data
from naevi.preprocessing.prepare import prepare
from naevi.provenance import read_description
from naevi.reporting.report import publish_report
from naevi.workspace import Workspace

# The bootstrap of the committed params.yaml. Constants, because a predictor is used without params.yaml too.
RESAMPLES, SEED = 10_000, 0
NEAR_DUPLICATES = 0.985  # preprocess.near_duplicates of the committed params.yaml


def validate_model(
    workspace: Workspace,
    model: Path,
    images: Path,
    masks: Path,
    labels: Path | None,
    out: Path,
    *,
    force: bool,
    keep_empty_masks: bool = False,
) -> None:
    """Write data/ and reports/ like those of the pipeline into `out`, for images and masks with the same names.

    The settings are those of the predictor. For a model folder without predict.json they are those of the workspace.

    Raises UserError as `check_inputs`, `check_output`, `read_predict_settings`, `import_folder` and `prepare` do.
    """
    check_inputs([images, masks] + ([labels] if labels else []))
    check_output(out, force=force)
    _check_replaceable(out)
    settings = read_predict_settings(model, workspace)
    description = read_description(model)
    config = _validation_config(description, settings, keep_empty_masks)
    segmenter = open_segmenter(model, config.evaluate, resolve_compute_settings(config.runtime))
    with atomic_folder(out.resolve()) as folder:
        external = Workspace(folder)
        files = _labeled_files(images, masks, labels)
        fill_raw(external, lambda raw: import_folder(files, raw, config.data))
        _score(external, config, segmenter, description)


def _score(workspace: Workspace, config: Config, segmenter: Segmenter, description: dict[str, Any]) -> None:
    """Prepare the raw images of a workspace, score the model on them, and write the results and the report."""
    prepared = prepare(workspace, config.data, config.preprocess)
    image_table = prepared.image_table
    workspace.data_statistics.parent.mkdir()
    write_json(workspace.data_statistics, check_data(workspace, prepared, config.preprocess))
    with atomic_folder(workspace.predictions) as predictions:
        scores = score_images(segmenter, workspace, image_table.image_id.tolist(), keep=predictions)
    test = scores._replace(rows=per_image_table(scores.rows.assign(fold=description["item"]), image_table))
    write_outputs(workspace, test, summarize(test.rows, test.pixels, config.evaluate), config.data.names())
    publish_report(workspace, config, [description], curves=None)


def _check_replaceable(out: Path) -> None:
    """Raise UserError if `out` contains anything but a validation: it is replaced as a whole."""
    if out.exists() and (others := {path.name for path in out.iterdir()} - {"data", "reports"}):
        raise UserError(f"--out {out} contains other files too ({', '.join(sorted(others)[:3])}). Choose a new folder.")


def _validation_config(description: dict[str, Any], settings: PredictorSettings, keep_empty_masks: bool) -> Config:
    """Return the sections of a Config that a validation needs, from model.json and predict.json."""
    data: dict[str, Any] = {
        "source": "folder",
        "path": "images",
        "name": "own images",
        "classes": description["classes"],
        "columns": ColumnsConfig(image="auto", diagnosis="auto", group="auto"),
        "split_folders": "ignore",
        "mismatches": "refuse",
        "extra_rows": "ignore",
        "repeated_rows": "refuse",
        "reading": settings.reading().model_copy(update={"orientation": "auto"}),
    }
    sections: dict[str, Any] = {
        "data": DataConfig.model_construct(**data),
        "preprocess": PreprocessConfig(
            size=description["size"],
            empty_masks="keep" if keep_empty_masks else "refuse",
            near_duplicates=NEAR_DUPLICATES,
        ),
        "model": ModelConfig.model_validate(description["model"]),
        "train": TrainConfig.model_validate(description["train"]),
        "evaluate": EvaluateConfig(
            **settings.model_dump(include=set(PredictConfig.model_fields)), resamples=RESAMPLES, seed=SEED
        ),
        "runtime": RuntimeConfig(**settings.model_dump(include=set(RuntimeConfig.model_fields))),
    }
    return Config.model_construct(**sections)


def _labeled_files(images: Path, masks: Path, labels: Path | None) -> Iterator[tuple[str, str, bytes]]:
    """Yield role (images, masks or labels), name and bytes of each file."""
    for role, source in (("images", images), ("masks", masks)):
        yield from ((role, name, content) for name, content in read_files(source, lambda _: True))
    if labels:
        yield "labels", labels.name, labels.read_bytes()
