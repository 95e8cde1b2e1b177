"""Folders that appear whole or not at all."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from naevi.errors import UserError
from naevi.files import atomic_file, atomic_folder, parse_yaml, read_csv, read_json, read_yaml


def layout(folder: Path) -> list[str]:
    """All files, by name."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def write(path: Path, name: str) -> None:
    """One file in a whole folder."""
    with atomic_folder(path) as folder:
        (folder / name).touch()


def test_a_folder_is_replaced_and_its_parents_are_made(tmp_path: Path) -> None:
    write(tmp_path / "data" / "raw", "old")
    write(tmp_path / "data" / "raw", "new")

    assert layout(tmp_path) == ["data/raw/new"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    write(tmp_path / "raw", "old")

    def fail() -> None:
        with atomic_folder(tmp_path / "raw") as folder:
            (folder / "half").touch()
            raise error

    with pytest.raises(error):
        fail()

    assert layout(tmp_path) == ["raw/old"]
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_what_a_killed_run_left_is_no_part_of_the_next(tmp_path: Path) -> None:
    (tmp_path / "raw.partial").mkdir()
    (tmp_path / "raw.partial" / "half").touch()
    write(tmp_path / "raw", "new")

    assert layout(tmp_path) == ["raw/new"]


def test_a_file_is_there_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "one.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic_file(path) as partial:
            partial.write_bytes(b"ha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]

    with atomic_file(path) as partial:
        partial.write_bytes(b"new")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"new"]


def test_names_stay_the_text_that_they_are(tmp_path: Path) -> None:
    names = ["007", "NA", "1e3", "nan", "None", 'a "b", c', "1.0", "ü"]
    table = pd.DataFrame(dict.fromkeys(["image_id", "dataset", "diagnosis", "group", "class", "model"], names))
    table.to_csv(tmp_path / "table.csv", index=False)

    assert read_csv(tmp_path / "table.csv").equals(table)


def test_numbers_are_numbers_and_only_an_empty_cell_is_missing(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("image_id,height,dice\n1,2,0.5\n,3,\n")

    table = read_csv(tmp_path / "table.csv")

    assert table.height.tolist() == [2, 3]
    assert table.dice.isna().tolist() == [False, True]
    assert table.image_id.isna().tolist() == [False, True]
    assert table.image_id[0] == "1"


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BOMB, "its aliases stand for more than 100000 values"),
        ("a: &a [*a]", "the alias *a is inside the value that it stands for, or stands for none"),
        ("a: *b", "the alias *b is inside the value that it stands for, or stands for none"),
        ("[" * 200, "it has more than 100 nested brackets"),
        ("{a: " * 200, "it has more than 100 nested brackets"),
        ("a: [" + "1," * 100_000 + "]", "it has more than 100000 lines and values"),
        ("- a\n" * 100_001, "it has more than 100000 lines and values"),
        ("- " * 5_000, "maximum recursion depth exceeded"),
        (f"a: {'9' * 5_000}", "Exceeds the limit (4300 digits) for integer string conversion"),
        ("a: !!int ''", "string index out of range"),
        ("a: !!timestamp x", "failed to construct timestamp"),
    ],
    ids=[
        "bomb",
        "circle",
        "nothing",
        "brackets",
        "braces",
        "values",
        "lines",
        "dashes",
        "digits",
        "integer",
        "timestamp",
    ],
)
def test_hostile_yaml_is_refused_in_one_sentence(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        read_yaml(tmp_path / "a.yaml")

    assert str(error.value).startswith(f"{tmp_path}/a.yaml is not YAML: ")
    assert problem in str(error.value)


def test_a_huge_yaml_file_is_not_read(tmp_path: Path) -> None:
    """The file is sparse: it takes no disk space."""
    with (tmp_path / "a.yaml").open("wb") as file:
        file.truncate(20 * 2**30)

    with pytest.raises(UserError, match=r"a\.yaml is larger than 512 KiB\. Make it smaller\.$"):
        read_yaml(tmp_path / "a.yaml")


def test_a_row_with_more_cells_than_columns_is_refused(tmp_path: Path) -> None:
    """Pandas would take the first cell of each row for its name, and move the others."""
    (tmp_path / "a.csv").write_text("a,b\n1,2,3\n")

    with pytest.raises(ValueError, match=r"^a row has more cells than there are columns$"):
        read_csv(tmp_path / "a.csv")


@pytest.mark.parametrize("read", [read_csv, read_json])
def test_a_huge_table_or_json_file_is_not_read(read: Callable[[Path], object], tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(20 * 2**30)

    with pytest.raises(UserError, match=r"a is larger than 512 MiB\. Make it smaller or remove it\.$"):
        read(tmp_path / "a")
    with pytest.raises(UserError, match=r" is a device, a pipe or a folder, not a file\. Remove it or name a file\.$"):
        read(tmp_path)


def test_aliases_within_bounds_are_read(tmp_path: Path) -> None:
    assert parse_yaml("a: &a {x: 1}\nb: [*a, *a]\n", "text") == {"a": {"x": 1}, "b": [{"x": 1}, {"x": 1}]}
