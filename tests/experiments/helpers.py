"""What the tests of experiments share: git, small tables of scores, and the shape of Markdown tables."""

import hashlib
import re
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd

from naevi.config import parse_config
from naevi.files import read_yaml, write_json
from naevi.workspace import Workspace
from tests.helpers import HERE, ROOT, write_lock

IDENTITY = ("-c", "user.name=naevi", "-c", "user.email=naevi@localhost", "-c", "commit.gpgsign=false")


def git(folder: Path, *command: str) -> str:
    """Run git in a folder and return its output."""
    done = subprocess.run(["git", *IDENTITY, *command], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def per_image(dice: list[float], **columns: object) -> pd.DataFrame:
    """Return an early per_image.csv: images i0, i1, … with these Dice scores; `columns` are added or replaced."""
    ids = [f"i{index}" for index in range(len(dice))]
    iou = [score / (2 - score) for score in dice]
    return pd.DataFrame(
        {"image_id": ids, "dataset": "ph2", "diagnosis": "common", "fold": 0, "dice": dice, "iou": iou} | columns
    )


def write_scores(folder: Path, table: pd.DataFrame) -> None:
    """Write per_image.csv and the metrics.json that belongs to it."""
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / HERE.per_image.name, index=False)
    images = table.groupby(["image_id", "fold"])[["dice", "iou"]].mean()
    means = {name: float(images[name].mean()) for name in images}
    scores = {name: {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "p05": 0.25} for name, mean in means.items()}
    write_json(folder / HERE.metrics.name, scores | {"val": {"dice": 0.5}, "images": len(images)})


def write_result(workspace: Workspace, table: pd.DataFrame, *, digest: str = "", **data: Any) -> None:
    """Write a result into a workspace: its table, its scores, its data.json with this digest, and its dvc.lock.

    `data` are parameters of the section data.
    """
    write_scores(workspace.per_image.parent, table)
    write_json(workspace.data_statistics, {"digest": digest})
    values = read_yaml(ROOT / HERE.params)
    values["data"] |= data
    write_lock(workspace, parse_config(values))


def md5(file: Path) -> str:
    """Return the MD5 of a file."""
    return hashlib.md5(file.read_bytes()).hexdigest()


def count_bars(line: str) -> int:
    """Return the number of bars that separate cells in a line of a Markdown table."""
    return len(re.findall(r"(?<!\\)\|", line))
