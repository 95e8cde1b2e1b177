"""What tables keep as it was written."""

from pathlib import Path

import pandas as pd

from naevi import tables


def test_names_stay_the_text_that_they_are(tmp_path: Path) -> None:
    names = ["007", "NA", "1e3", "nan", "None", 'a "b", c', "1.0", "ü"]
    table = pd.DataFrame(dict.fromkeys(["image_id", "dataset", "diagnosis", "group", "class", "model"], names))
    table.to_csv(tmp_path / "table.csv", index=False)

    assert tables.read(tmp_path / "table.csv").equals(table)


def test_numbers_are_numbers_and_only_an_empty_cell_is_missing(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("image_id,height,dice\n1,2,0.5\n,3,\n")

    table = tables.read(tmp_path / "table.csv")

    assert table.height.tolist() == [2, 3]
    assert table.dice.isna().tolist() == [False, True]
    assert table.image_id.isna().tolist() == [False, True]
    assert table.image_id[0] == "1"
