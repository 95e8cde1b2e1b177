"""The record of a result: what dvc.lock lists about its parameters, code, data and files.

All descriptions of a result use its record. The files in a workspace are checked against it, because params.yaml or a
table may have been edited after the pipeline ran.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from naevi.added_parameters import missing_parameters
from naevi.config import Config, flatten, nest, parse_record
from naevi.digests import file_digest, path_md5
from naevi.errors import UserError, describe_error
from naevi.files import parse_yaml, read_csv, read_json
from naevi.provenance import digest, read_description
from naevi.workspace import Workspace

COMPUTING_STAGES = ("download", "preprocess", "split", "train", "evaluate")  # the others only show the result
MAPPINGS = ("data.classes", "data.classes_by_dataset")  # parameters whose keys users choose
CODE = ("naevi/", "stages/", "requirements")  # beginnings of the paths of code in dvc.lock
SCORE_TOLERANCE = 2e-6  # per_image.csv and metrics.json have six digits
MAX_PROBLEMS = 3  # in one message


class StageRecord(NamedTuple):
    """What dvc.lock records of one stage."""

    parameters: dict[str, Any]  # by dotted key
    deps: dict[str, str]  # MD5 by path
    outs: dict[str, str]  # MD5 by path


class Record(NamedTuple):
    """The stages of dvc.lock behind a result, by name. The training stages are train@0, train@1, …."""

    stages: dict[str, StageRecord]

    @property
    def computing(self) -> "Record":
        """Return the record without the stage `report`. While that stage runs, its entry is missing or out of date."""
        return Record({name: stage for name, stage in self.stages.items() if _computes(name)})

    @property
    def values(self) -> dict[str, Any]:
        """Return the recorded parameters with which the result was computed, nested."""
        stages = self.computing.stages.values()
        return nest({key: value for stage in stages for key, value in stage.parameters.items()})

    @property
    def config(self) -> Config:
        """Return the parameters with which the result was computed, completed by `complete_record`."""
        return parse_record(self.values)

    @property
    def lacking(self) -> frozenset[str]:
        """Return the dotted keys of parameters that were added after this result."""
        return frozenset(missing_parameters(self.values))

    @property
    def outs(self) -> dict[str, str]:
        """Return the MD5 of every output by path."""
        return {path: md5 for stage in self.stages.values() for path, md5 in stage.outs.items()}

    @property
    def files(self) -> dict[str, str]:
        """Return the MD5 of every output and dependency by path. `record_problems` finds paths with several MD5s."""
        return {path: md5 for stage in self.stages.values() for path, md5 in stage.deps.items()} | self.outs

    def md5(self, workspace: Workspace, path: Path) -> str:
        """Return the MD5 of an output, or "" if the record lacks it."""
        return self.outs.get(workspace.relative(path), "")

    @property
    def code(self) -> dict[str, str]:
        """Return the MD5 of all code by path."""
        return {path: md5 for path, md5 in self.files.items() if path.startswith(CODE)}


def _computes(stage: str) -> bool:
    return stage.partition("@")[0] in COMPUTING_STAGES


def read_record(workspace: Workspace) -> Record:
    """Return the record of the result in a workspace. Raises UserError if there is none or it can't be read."""
    if not workspace.lock.exists():
        raise UserError(f"There is no {workspace.lock}, so the result has no record. Run `dvc repro`.")
    return parse_lock(workspace.lock.read_text(encoding="utf-8"), str(workspace.lock))


def parse_lock(text: str, name: str) -> Record:
    """Return the record in the text of a dvc.lock. `name` is for messages.

    Only the models that evaluate used are in it. The stage track is left out, because it can't affect a result.

    Raises UserError if the text can't be read or lacks a stage that computes.
    """
    try:
        entries = parse_yaml(text, name)["stages"]
        stages = {str(stage): _stage_record(entry) for stage, entry in entries.items()}
        models = [f"train@{item}" for item in stages["evaluate"].parameters["cv.models"]]
        names = [name for stage in COMPUTING_STAGES for name in (models if stage == "train" else [stage])]
        names += ["report"] if "report" in stages else []
        return Record({name: stages[name] for name in names})
    except (UserError, KeyError, TypeError, AttributeError) as error:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        raise UserError(
            f"{name} doesn't record a complete result ({kind}{describe_error(error)[:100]}). Run `dvc repro`."
        ) from error


def _stage_record(entry: Mapping[str, Any]) -> StageRecord:
    parameters = flatten(entry.get("params", {}).get("params.yaml", {}))
    # All classes as one value. Otherwise a stage that ran with fewer classes would seem to agree.
    for mapping in MAPPINGS:
        names = [key for key in parameters if key.startswith(f"{mapping}.")]
        if values := {key.removeprefix(f"{mapping}."): parameters.pop(key) for key in names}:
            parameters[mapping] = nest(values)
    deps, outs = ({item["path"]: item["md5"] for item in entry.get(kind, [])} for kind in ("deps", "outs"))
    return StageRecord(parameters, deps, outs)


def record_problems(record: Record) -> list[str]:
    """Return why the stages of a record don't belong together, as parts of a sentence; empty if they do.

    Stages must agree on their common parameters and on the MD5 of each file that they read or write.
    """
    seen: dict[str, tuple[str, Any]] = {}  # the first stage with a parameter or file, and its value or MD5
    problems = []
    for name, stage in record.stages.items():
        for path, value in (stage.parameters | stage.deps | stage.outs).items():
            first, expected = seen.setdefault(path, (name, value))
            if value != expected:
                problems.append(f"{path} was changed after {first} ran and before {name} did")
    return problems


def parameter_problems(record: Record, config: Config) -> list[str]:
    """Return the parameters that differ between a config and a record, as parts of a sentence."""
    recorded, present = (flatten(each.model_dump()) for each in (record.config, config))
    return [
        f"{key} is {present.get(key, 'not set')}, but the result was computed with {recorded.get(key, 'none')}"
        for key in recorded | present
        if recorded.get(key) != present.get(key)
    ]


def file_problems(workspace: Workspace, md5s: Mapping[str, str]) -> list[str]:
    """Return which files and folders are missing or differ from their recorded MD5, as parts of a sentence."""
    problems = []
    for path, md5 in md5s.items():
        if not (workspace.root / path).exists():
            problems.append(f"{path} is missing")
        elif path_md5(workspace, path) != md5:
            problems.append(f"{path} has changed")
    return problems


def check_result(workspace: Workspace, record: Record, config: Config | None, files: Iterable[Path]) -> None:
    """Raise UserError with the differences and a remedy if a workspace doesn't match the record of its result.

    `files` are the files and folders that will be shown or logged. `config` has the parameters in params.yaml. These
    parameters and the code in the workspace must be the recorded ones. `config` is None for the result of an earlier
    commit. Then parameters, code, and files that the record doesn't list are not checked.
    """
    names, known = [workspace.relative(path) for path in files], record.files
    md5s = {name: known[name] for name in names if name in known}
    if config is None:  # the report of an earlier result may have been written by other code
        problems = record_problems(record.computing)
    else:
        problems = parameter_problems(record, config) + record_problems(record)
        problems += [f"{name} is not in dvc.lock" for name in names if name not in known]
        md5s |= record.code
    problems += file_problems(workspace, md5s)
    problems = problems or content_problems(workspace, record)
    if problems:
        more = f"; and {len(problems) - MAX_PROBLEMS} more" * (len(problems) > MAX_PROBLEMS)
        raise UserError(
            f"The workspace differs from the result that dvc.lock records: {'; '.join(problems[:MAX_PROBLEMS])}{more}. "
            "Run `dvc repro`, or undo the change with `git restore` or `dvc checkout`."
        )


def content_problems(workspace: Workspace, record: Record) -> list[str]:
    """Return which files of a workspace contradict each other, as parts of a sentence: models, curves and scores.

    dvc.lock doesn't show whether evaluate used these models, because its dependency is the folder of all models, which
    may contain older ones. So their histories are compared with curves.csv, which evaluate wrote.
    """
    models = {name: workspace.model(name) for name in record.config.model_names()}
    problems = [problem for folder in models.values() for problem in model_problems(folder)]
    histories = [read_csv(folder / "history.csv").assign(model=name) for name, folder in models.items()]
    if not pd.concat(histories, ignore_index=True).equals(read_csv(workspace.curves)):
        problems.append("the models were trained again after evaluate ran")
    return problems + score_problems(read_json(workspace.metrics), read_csv(workspace.per_image))


def model_problems(folder: Path) -> list[str]:
    """Return why the files of a model don't belong together, as parts of a sentence."""
    try:
        weights = folder / "model.safetensors"
        same = file_digest(weights, "sha256") == read_description(folder)["sha256"]
    except (OSError, UserError):
        return [f"{folder.name} has no readable model"]
    return [] if same else [f"{folder.name}/{weights.name} is not the file that model.json describes"]


def score_problems(scores: Mapping[str, Any], per_image: pd.DataFrame) -> list[str]:
    """Return how metrics.json (`scores`) contradicts per_image.csv, as parts of a sentence.

    The means of Dice and IoU over images are recomputed. An image's score is the mean over its classes.
    """
    images = per_image.groupby(["image_id", "fold"])[["dice", "iou"]].mean()
    problems = []
    for name in ("dice", "iou"):
        recorded, mean = scores.get(name, {}).get("mean"), float(images[name].mean())
        if recorded is None or not abs(recorded - mean) < SCORE_TOLERANCE:
            problems.append(f"{name}.mean is {recorded}, but the mean of per_image.csv is {mean:.6f}")
    if scores.get("images") != len(images):
        problems.append(f"images is {scores.get('images')}, but per_image.csv has {len(images)}")
    return problems


def read_scores(metrics: Path, details: Path) -> dict[str, Any]:
    """Return all scores of a result. Those of earlier versions are all in metrics.json, without a details.json."""
    return merge_scores(read_json(metrics), read_json(details) if details.exists() else {})


def merge_scores(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents of metrics.json and details.json as one."""
    merged = {**details, **metrics}
    for name in metrics.keys() & details.keys():
        merged[name] = details[name] | metrics[name]
    return merged


def result_fingerprint(
    config: Config, models: list[dict[str, Any]], scores: dict[str, Any], lacking: Iterable[str] = ()
) -> str:
    """Return the fingerprint of a result: of its parameters, every model.json (with data and code) and all scores.

    data.path and data.name are left out, because equal images in another folder or under another name give the same
    result. `lacking` are the keys that the record lacks. They are left out too, so an old result keeps its fingerprint.
    """
    return digest([parameters_without(config, {"data.path", "data.name", *lacking}), models, scores])


def parameters_without(config: Config, keys: Iterable[str]) -> dict[str, Any]:
    """Return the parameters, nested, without these dotted keys and without sections that become empty."""
    return nest({key: value for key, value in flatten(config.model_dump()).items() if key not in set(keys)})
