"""Validate a model on labeled images from elsewhere, with the scores and report of the cross-validation."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from naevi.added_parameters import complete_record
from naevi.config import (
    Config,
    DataConfig,
    EvaluateConfig,
    ModelConfig,
    PhantomsConfig,
    PredictConfig,
    PreprocessConfig,
    RuntimeConfig,
    Section,
    TrainConfig,
    class_names,
    flatten,
    nest,
    parse_section,
)
from naevi.datasets.archives import read_files
from naevi.datasets.decoding import read_new_image
from naevi.datasets.folder import import_folder
from naevi.datasets.raw import fill_raw
from naevi.errors import UserError, check_inputs, check_output, shorten
from naevi.evaluation.outputs import write_outputs
from naevi.evaluation.scoring import Part, per_image_table, score_images
from naevi.evaluation.summary import summarize
from naevi.files import atomic_folder, parse_yaml, read_bytes
from naevi.images.folders import pack_images
from naevi.inference.predictor import PredictorSettings, TrainingReading, read_predict_settings
from naevi.inference.segmenter import Segmenter, open_segmenter
from naevi.models.device import resolve_compute_settings
from naevi.preprocessing.checks import check_data, write_checks
from naevi.preprocessing.prepare import Prepared, prepare
from naevi.provenance import read_description
from naevi.reporting.report import publish_report
from naevi.workspace import Workspace

# The bootstrap of the committed params.yaml. Constants, because a predictor is used without params.yaml too.
RESAMPLES, SEED = 10_000, 0
# The parameters that can be changed, with the values of the committed params.yaml.
PARAMETERS = {
    "data.columns.image": "auto",
    "data.columns.diagnosis": "auto",
    "data.columns.group": "auto",
    "data.mismatches": "refuse",
    "data.extra_rows": "ignore",
    "data.repeated_rows": "refuse",
    "data.masks.values": "refuse",
    "data.masks.void": [],
    "data.masks.sizes": "resize",
    "data.masks.several": "refuse",
    "data.masks.missing": "mismatch",
    "data.reading.orientation": "auto",
    "data.reading.mask_alpha": "auto",
    "data.reading.pages": "refuse",
    "preprocess.empty_masks": "refuse",
    "preprocess.near_duplicates": 0.985,
}
CLASS = "data.classes."  # the beginning of the parameters with the mask value of each class


class ValidationConfig(Section):
    """The sections of params.yaml that a validation needs."""

    data: DataConfig
    preprocess: PreprocessConfig
    model: ModelConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    runtime: RuntimeConfig


def validate_model(
    workspace: Workspace,
    model: Path,
    images: Path,
    masks: Path,
    labels: Path | None,
    out: Path,
    *,
    force: bool,
    assignments: Sequence[str] = (),
) -> None:
    """Write data/ and reports/ like those of the pipeline into `out`, for images and masks with the same names.

    The settings are those of the predictor. For a model folder without predict.json they are those of the workspace.
    `assignments`, such as data.mismatches=leave-out, change PARAMETERS and the mask values of the classes.

    Raises UserError as `check_inputs`, `check_output`, `read_predict_settings`, `import_folder` and `prepare` do, and
    for invalid assignments.
    """
    check_inputs([images, masks] + ([labels] if labels else []))
    check_output(out, force=force)
    _check_replaceable(out)
    settings = read_predict_settings(model, workspace)
    description = read_description(model)
    config = _validation_config(description, settings, assignments)
    segmenter = open_segmenter(model, config.evaluate, resolve_compute_settings(config.runtime))
    with atomic_folder(out.resolve()) as folder:
        external = Workspace(folder)
        files = _labeled_files(images, masks, labels)
        with _explain_parameters(config.data):
            fill_raw(external, lambda raw: import_folder(files, raw, config.data, read_new_image))
            prepared = prepare(external, config.data, config.preprocess)
        _score(external, config, segmenter, description, prepared)


@contextmanager
def _explain_parameters(data: DataConfig) -> Iterator[None]:
    """Add to a message about parameters how to set them, because a validation doesn't read params.yaml."""
    try:
        yield
    except UserError as error:
        text = str(error)
        named = [key for key in [*PARAMETERS, CLASS] if key.rstrip(".") in text]
        if not named:
            raise
        first = min(named, key=lambda key: text.index(key.rstrip(".")))
        example = f"{first}=…".replace(CLASS, f"{CLASS}{data.names()[-1]}")
        raise UserError(f"{text} Here, parameters are set with --set-param {example}") from error


def _score(
    workspace: Workspace, config: Config, segmenter: Segmenter, description: dict[str, Any], prepared: Prepared
) -> None:
    """Score the model on the prepared images of a workspace, and write the results and the report."""
    image_table = prepared.image_table
    write_checks(workspace, prepared, check_data(workspace, prepared, config.preprocess), suspicions=None)
    with atomic_folder(workspace.predictions) as predictions:
        (scores,) = score_images(workspace, [Part(segmenter, image_table.image_id.tolist(), keep=predictions)])
        pack_images(predictions)
    test = scores._replace(rows=per_image_table(scores.rows.assign(fold=description["item"]), image_table))
    write_outputs(workspace, test, summarize(test.rows, test.pixels, config.evaluate), config.data.names())
    publish_report(workspace, config, [description], curves=None)


def _check_replaceable(out: Path) -> None:
    """Raise UserError if `out` contains anything but a validation: it is replaced as a whole."""
    if out.exists() and (others := {path.name for path in out.iterdir()} - {"data", "reports"}):
        raise UserError(f"--out {out} contains other files too ({', '.join(sorted(others)[:3])}). Choose a new folder.")


def _validation_config(description: dict[str, Any], settings: PredictorSettings, assignments: Sequence[str]) -> Config:
    """Return the sections of a Config that a validation needs, from model.json, predict.json and assignments."""
    classes = description["classes"]
    parameters = _assign(PARAMETERS | {f"{CLASS}{name}": value for name, value in classes.items()}, assignments)
    fixed = {
        "data": {
            "source": "folder",
            "path": "images",
            "datasets": "one",
            "name": "own images",
            "classes_by_dataset": "none",
            "patterns": {"images": "auto", "masks": "auto"},  # the user names both folders
            "split_folders": "ignore",
            "group_folders": "ignore",
            "reading": settings.model_dump(include=set(TrainingReading.model_fields)),
            "phantoms": PhantomsConfig.model_construct(),  # type: ignore[call-arg]  # it isn't used
        },
        "preprocess": {"size": description["size"]},
        "model": description["model"],
        "train": complete_record({"data": {}, "train": description["train"]})["train"],
        "evaluate": settings.model_dump(include=set(PredictConfig.model_fields))
        | {"resamples": RESAMPLES, "seed": SEED},
        "runtime": settings.model_dump(include=set(RuntimeConfig.model_fields)),
    }
    parsed = parse_section(ValidationConfig, nest(flatten(fixed) | parameters), "--set-param")
    values = parsed.data.values()
    if parsed.data.names() != class_names(classes) or len(set(values)) < len(values):
        raise UserError(
            f"--set-param gives the classes the values {parsed.data.classes}. Each class needs a value of its own, in "
            f"the order of the model's values {classes}."
        )
    return Config.model_construct(**{name: getattr(parsed, name) for name in ValidationConfig.model_fields})


def _assign(parameters: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Return the parameters by dotted key with the values of assignments such as data.mismatches=leave-out."""
    changed = dict(parameters)
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if key not in parameters or not equals:
            raise UserError(
                f"--set-param can't set {shorten(repr(assignment))}. Use one of {', '.join(parameters)}, = and a value."
            )
        changed[key] = parse_yaml(value, f"--set-param {assignment}")
    return changed


def _labeled_files(images: Path, masks: Path, labels: Path | None) -> Iterator[tuple[str, str, bytes]]:
    """Yield role (images, masks or labels), name and bytes of each file. The name is relative, such as masks/a.png."""
    for role, source in (("images", images), ("masks", masks)):
        for name, content in read_files(source, lambda _: True):
            yield role, f"{role}/{name.removeprefix(f'{source}/')}", content
    if labels:
        yield "labels", labels.name, read_bytes(labels)
