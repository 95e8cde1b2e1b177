"""Parameters that were added later: old records are completed. If params.yaml lacks them, a message has the lines."""

import copy
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from naevi.added_parameters import ADDED_PARAMETERS, complete_record, missing_parameters
from naevi.config import flatten, load_config, parse_record
from naevi.errors import UserError
from naevi.files import read_yaml
from tests.helpers import HERE, ROOT


@pytest.fixture
def old() -> dict[str, Any]:
    """Return the committed parameters without those that were added."""
    values: dict[str, Any] = read_yaml(ROOT / HERE.params)
    sections = ("patterns", "columns", "masks", "reading")
    single = (
        "path",
        "datasets",
        "name",
        "classes_by_dataset",
        "split_folders",
        "group_folders",
        "mismatches",
        "extra_rows",
        "repeated_rows",
    )
    for key in (*single, *sections):
        del values["data"][key]
    del values["preprocess"]["near_duplicates"], values["train"]["start_from"], values["train"]["freeze_encoder"]
    return values


def test_the_table_has_every_parameter_that_was_added_with_its_committed_value(old: dict[str, Any]) -> None:
    committed = flatten(read_yaml(ROOT / HERE.params))
    added = set(committed) - set(flatten(old))

    assert set(ADDED_PARAMETERS) == added - {"data.path"}
    assert {key: value.suggested for key, value in ADDED_PARAMETERS.items()} == {
        key: committed[key] for key in ADDED_PARAMETERS
    }


def test_an_old_record_gets_the_values_that_were_in_effect(old: dict[str, Any]) -> None:
    before = copy.deepcopy(old)
    config = parse_record(old)

    assert old == before
    assert config.preprocess.near_duplicates == 0.985
    assert config.data.path == "data/ph2.csv"
    assert (config.train.start_from, config.train.freeze_encoder) == ("encoder", 0)
    assert (config.data.reading.pages, config.data.split_folders, config.data.columns.group) == (
        "first",
        "ignore",
        "group",
    )
    assert parse_record(read_yaml(ROOT / HERE.params)).model_dump() == read_yaml(ROOT / HERE.params)


@pytest.mark.parametrize(
    ("source", "path"), [("ph2", "data/ph2.csv"), ("phantoms", "data/ph2.csv"), ("folder", "data/external")]
)
def test_the_path_of_an_old_record_depends_on_its_source(old: dict[str, Any], source: str, path: str) -> None:
    old["data"]["source"] = source

    assert complete_record(old)["data"]["path"] == path


def test_a_params_file_without_new_parameters_gets_the_lines_to_paste(folder: Path, old: dict[str, Any]) -> None:
    old["data"]["columns"] = {"image": "auto", "diagnosis": "dx", "group": "auto"}
    with HERE.params.open("w", encoding="utf-8") as file:
        YAML().dump(old, file)

    with pytest.raises(UserError) as error:
        load_config(HERE)

    assert str(error.value) == (
        "params.yaml lacks 24 parameter(s) of this version. Add these lines to its sections of the same names:\n"
        "data:\n  path: data/ph2.csv\n  datasets: one\n  name: auto\n  classes_by_dataset: none\n"
        "  patterns:\n    images: auto\n    masks: auto\n"
        "  split_folders: use\n  group_folders: ignore\n  mismatches: refuse\n  extra_rows: ignore\n"
        "  repeated_rows: refuse\n  masks:\n    values: refuse\n    void: []\n    sizes: resize\n    several: refuse\n"
        "    missing: mismatch\n"
        "  reading:\n    orientation: auto\n    white: auto\n    image_alpha: white\n"
        "    mask_alpha: auto\n    pages: refuse\npreprocess:\n  near_duplicates: 0.985\n"
        "train:\n  start_from: network\n  freeze_encoder: 0"
    )


def test_a_file_that_is_no_mapping_has_no_missing_parameters() -> None:
    assert missing_parameters(None) == {}
    assert missing_parameters({"data": 3}) == {}


def test_the_parameters_of_the_first_release_can_be_read() -> None:
    """e8bac36 is the last commit without any of the table's parameters."""
    command = ["git", "show", "e8bac36:params.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this clone doesn't have the commit e8bac36")

    assert parse_record(YAML(typ="safe").load(done.stdout)).train.epochs == 48
