"""The tables that stages pass on to each other: their columns and values, checked whenever a table is read."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from naevi.errors import UserError, first_ten
from naevi.files import read_csv, write_csv
from naevi.workspace import Workspace

PARTS = ["train", "val", "test"]
SHA256 = r"[0-9a-f]{64}"


class Numbers(NamedTuple):
    """The numbers from `low` to `high`, both included; also empty cells if `optional`."""

    low: float
    high: float
    optional: bool = False


# What the cells of a column may be: one of a list, text that matches a regular expression, or numbers.
Rule = list[str] | list[bool] | str | Numbers

ANY_TEXT = r"[\s\S]+"
COUNT = Numbers(0, float("inf"))
SHARE = Numbers(0, 1)
SCORE = Numbers(0, 1, optional=True)
ANY_NUMBER = Numbers(float("-inf"), float("inf"), optional=True)

LABELS: dict[str, Rule] = {"image_id": ANY_TEXT, "diagnosis": ANY_TEXT}
GIVEN_SPLIT: dict[str, Rule] = {"split": PARTS, "fold": COUNT}
IMAGES = LABELS | {
    "dataset": ANY_TEXT,
    "group": ANY_TEXT,
    "height": Numbers(1, 2**31),
    "width": Numbers(1, 2**31),
    "lesion_fraction": SHARE,
    "touches_frame": [True, False],
    "dark_corners": Numbers(0, 4),
    "sha256": SHA256,
}
SPLIT = LABELS | {"group": ANY_TEXT}
NEAR_DUPLICATES: dict[str, Rule] = {"first": ANY_TEXT, "second": ANY_TEXT, "correlation": Numbers(-1, 1)}
VANISHED: dict[str, Rule] = {"image_id": ANY_TEXT, "class": ANY_TEXT, "pixels": COUNT, "pixels_at_size": COUNT}
DECISIONS: dict[str, Rule] = {"decision": ANY_TEXT, "item": ANY_TEXT, "parameter": ANY_TEXT}
SUMMARY = ["decision", "count", "examples", "parameter"]
HISTORY: dict[str, Rule] = {"epoch": Numbers(1, float("inf")), "lr": COUNT, "train_loss": ANY_NUMBER}
PER_IMAGE: dict[str, Rule] = LABELS | {
    "dataset": ANY_TEXT,
    "lesion_fraction": SHARE,
    "fold": r"\d+|all",  # the name of the model; an external validation may test `all`
    "class": ANY_TEXT,
    **dict.fromkeys(["dice", "iou", "confidence"], SCORE),
    **dict.fromkeys(["tp", "fp", "fn", "tn"], COUNT),
}
THRESHOLDS: dict[str, Rule] = {
    "class": ANY_TEXT,
    **dict.fromkeys(["threshold", "sensitivity", "false_positive_rate", "precision"], SHARE),
}
RELIABILITY: dict[str, Rule] = {"class": ANY_TEXT, "probability": SHARE, "observed": SHARE, "pixels": COUNT}
RISK_COVERAGE: dict[str, Rule] = {"coverage": SHARE, "dice": SHARE}


class Decision(NamedTuple):
    """What was decided while images, masks or tables were read."""

    decision: str  # such as "Masks read from their alpha channel"
    ids: list[str]  # of the images or files
    parameter: str  # the key of params.yaml that decides otherwise


def decision_table(decisions: Iterable[Decision]) -> pd.DataFrame:
    """Return a row for each decision that concerns anything: decision, count, examples, parameter."""
    rows = [(text, len(ids), first_ten(sorted(ids)), parameter) for text, ids, parameter in decisions if ids]
    return pd.DataFrame(rows, columns=SUMMARY)


def describe_decisions(table: pd.DataFrame) -> list[str]:
    """Return a sentence for each row of `decision_table`."""
    return [
        f"{row['decision']}: {row['count']} ({row['examples']}). Parameter: {row['parameter']}."
        for row in table.to_dict("records")
    ]


def read_labels(workspace: Workspace) -> pd.DataFrame:
    """Return data/raw/labels.csv: image_id, diagnosis and, if it has them, dataset, group, split or fold."""
    return _read(
        workspace.raw / "labels.csv", LABELS, {"dataset": ANY_TEXT, "group": ANY_TEXT} | GIVEN_SPLIT, unique="image_id"
    )


def write_decisions(path: Path, decisions: Iterable[Decision]) -> None:
    """Write a row for each image or file that a decision concerns: decision, item, parameter."""
    rows = [(text, item, parameter) for text, items, parameter in decisions for item in sorted(items)]
    write_csv(path, pd.DataFrame(rows, columns=list(DECISIONS)))


def read_decisions(workspace: Workspace) -> list[Decision]:
    """Return the decisions in data/raw/decisions.csv."""
    groups = _read(workspace.reading_decisions, DECISIONS).groupby(["decision", "parameter"], sort=False).item
    return [Decision(str(text), items.tolist(), str(parameter)) for (text, parameter), items in groups]


def read_image_table(workspace: Workspace) -> pd.DataFrame:
    """Return data/prepared/lesions.csv, see `preprocessing.prepare`."""
    return _read(workspace.image_table, IMAGES, GIVEN_SPLIT, unique="image_id")


def read_near_duplicates(workspace: Workspace) -> pd.DataFrame:
    """Return data/checks/near_duplicates.csv: first, second, correlation."""
    return _read(workspace.near_duplicates, NEAR_DUPLICATES)


def read_vanished(workspace: Workspace) -> pd.DataFrame:
    """Return data/checks/vanished.csv: image_id, class, pixels, pixels_at_size."""
    return _read(workspace.vanished, VANISHED)


def read_split(workspace: Workspace, image_table: pd.DataFrame) -> pd.DataFrame:
    """Return data/split.csv: image_id, diagnosis, group and a column of parts for each model.

    Raises UserError if it has other images than the image table.
    """
    split = _read(workspace.split, SPLIT, unique="image_id", others=PARTS)
    if different := sorted(set(split.image_id) ^ set(image_table.image_id)):
        raise UserError(
            f"{workspace.split} and {workspace.image_table} have different images: {first_ten(different)}. "
            "Run `dvc repro` to write both again."
        )
    return split


def read_history(path: Path) -> pd.DataFrame:
    """Return a model's history.csv, a row for each epoch."""
    return _read(path, HISTORY, others=ANY_NUMBER)


def read_curves(workspace: Workspace) -> pd.DataFrame:
    """Return reports/curves.csv, the histories of all models with a column `model`."""
    return _read(workspace.curves, HISTORY | {"model": ANY_TEXT}, others=ANY_NUMBER)


def read_per_image(path: Path) -> pd.DataFrame:
    """Return a per_image.csv, a row for each image, fold and class."""
    return _read(path, PER_IMAGE, unique=["image_id", "fold", "class"])


def read_thresholds(workspace: Workspace) -> pd.DataFrame:
    """Return reports/thresholds.csv."""
    return _read(workspace.thresholds, THRESHOLDS)


def read_reliability(workspace: Workspace) -> pd.DataFrame:
    """Return reports/reliability.csv."""
    return _read(workspace.reliability, RELIABILITY)


def read_risk_coverage(workspace: Workspace) -> pd.DataFrame:
    """Return reports/risk_coverage.csv."""
    return _read(workspace.risk_coverage, RISK_COVERAGE)


def _read(
    path: Path,
    rules: Mapping[str, Rule],
    optional: Mapping[str, Rule] | None = None,
    *,
    unique: str | list[str] | None = None,
    others: Rule | None = None,
) -> pd.DataFrame:
    """Return a table after checking it. `optional` columns may be absent; all columns beside these follow `others`.

    Raises UserError if the table can't be read, lacks a column, or has values that break a rule or repeat.
    """
    remedy = "Restore the file with `dvc checkout` or `git restore`, or write it again with `dvc repro --force`."
    try:
        table = read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read as a table ({error}). {remedy}") from error
    if missing := [name for name in rules if name not in table]:
        raise UserError(f"{path} has no column {first_ten(missing)}. {remedy}")
    if unique and (repeated := table.duplicated(unique)).any():
        raise UserError(f"{path} has more than one row for {first_ten(table.image_id[repeated])}. {remedy}")
    checked = dict(rules) | {name: rule for name, rule in (optional or {}).items() if name in table}
    if others is not None:
        checked |= {str(name): others for name in table if name not in checked}
    for name, rule in checked.items():
        wrong = table[name][~_follows(table[name], rule)]
        if len(wrong):
            values = first_ten(repr(value)[:100] for value in wrong.unique())
            raise UserError(f"{path} has {values} in its column {name} (line {wrong.index[0] + 2}). {remedy}")
    return table


def _follows(column: pd.Series, rule: Rule) -> pd.Series:
    if isinstance(rule, list):
        return column.isin(rule)
    if isinstance(rule, str):
        return column.astype("string").str.fullmatch(rule).fillna(False)
    numbers = pd.to_numeric(column, errors="coerce")
    allowed = numbers.between(rule.low, rule.high)
    return allowed | column.isna() if rule.optional else allowed
