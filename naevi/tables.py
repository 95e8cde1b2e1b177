"""Tables as CSV files: an id such as 007 or NA stays the text that it is."""

from pathlib import Path
from typing import TextIO

import pandas as pd

TEXT = dict.fromkeys(["image_id", "dataset", "diagnosis", "group", "class", "model"], str)


def read(source: Path | TextIO) -> pd.DataFrame:
    """The table; only an empty cell is missing."""
    return pd.read_csv(source, dtype=TEXT, keep_default_na=False, na_values=[""])
