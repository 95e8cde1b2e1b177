"""What the tests of experiments share: git, small tables of scores, and the shape of Markdown tables."""

import re
import subprocess
from pathlib import Path

import pandas as pd

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


def count_bars(line: str) -> int:
    """Return the number of bars that separate cells in a line of a Markdown table."""
    return len(re.findall(r"(?<!\\)\|", line))
