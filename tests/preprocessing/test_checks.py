"""What preprocessing noticed is printed and in data/checks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from naevi.files import read_json
from naevi.preprocessing.checks import check_data, write_checks
from naevi.tables import Decision, read_near_duplicates, read_vanished, write_decisions
from naevi.workspace import Workspace
from tests.preprocessing.raw_data import prepare_all, settings_with, write_raw

SUSPICIONS = pd.DataFrame({"image_id": ["a"]})
RNG = np.random.default_rng(1)


def textured() -> np.ndarray:
    """Return an image of 64 x 64 px in coarse blocks, so that thumbnails keep its pattern."""
    return np.repeat(np.repeat(RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8), 4, axis=0), 4, axis=1)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return four images. b is a copy of a, c has a lesion of 5 x 5 px, and d has an empty mask."""
    mask, small = np.zeros((2, 64, 64), np.uint8)
    mask[16:48, 16:48], small[20:25, 20:25] = 1, 1
    first = textured()
    pairs = {"a": (first, mask), "b": (first, mask), "c": (textured(), small), "d": (textured(), mask * 0)}
    return write_raw(tmp_path, pairs)


def test_each_finding_is_a_decision_with_its_parameter(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    """25 px of 64 x 64 become 6.25 px at 32. sqrt(10 * 4096 / 25) is 40.5, so 64 px keep 10."""
    write_decisions(workspace.reading_decisions, [Decision("Turned", ["c"], "data.reading.orientation")])
    settings = settings_with(32, empty_masks="keep")
    prepared = prepare_all(workspace, settings)
    statistics = check_data(workspace, prepared, settings)

    assert [tuple(row.values()) for row in statistics["decisions"]] == [
        ("Turned", 1, "c", "data.reading.orientation"),
        ("Lesions with fewer than 10 pixels at 32 px; 64 px would keep them", 1, "c", "preprocess.size"),
        ("Near-duplicates, kept in one part of the split", 2, "a, b", "preprocess.near_duplicates"),
        ("Empty masks, kept", 1, "d", "preprocess.empty_masks"),
    ]
    assert (statistics["images"], statistics["near_duplicates"]) == (4, 1)
    assert len(statistics["warnings"]) == 1
    assert statistics["warnings"][0].startswith("near-duplicates: 2 of 4 images look nearly the same as another image.")
    printed = "\n".join(caplog.messages)
    for parameter in ("preprocess.size", "preprocess.near_duplicates", "preprocess.empty_masks"):
        assert f"Parameter: {parameter}." in printed
    assert statistics["warnings"][0] in printed


def test_the_tables_are_apart_from_what_training_reads(workspace: Workspace) -> None:
    prepared = prepare_all(workspace, settings_with(32, empty_masks="keep"))
    write_checks(workspace, prepared, {"images": 4}, SUSPICIONS)

    assert sorted(path.name for path in workspace.prepared.iterdir()) == ["images", "lesions.csv", "masks"]
    assert sorted(path.name for path in workspace.checks.iterdir()) == [
        "data.json",
        "near_duplicates.csv",
        "suspicions.csv",
        "vanished.csv",
    ]
    assert read_near_duplicates(workspace).to_dict("records") == [{"first": "a", "second": "b", "correlation": 1.0}]
    assert read_vanished(workspace).image_id.tolist() == ["c"]
    assert read_json(workspace.statistics_source) == {"images": 4}


def test_the_search_for_near_duplicates_can_be_turned_off(workspace: Workspace) -> None:
    settings = settings_with(32, empty_masks="keep", near_duplicates="off")
    prepared = prepare_all(workspace, settings)
    statistics = check_data(workspace, prepared, settings)

    assert prepared.image_table.group.tolist() == ["a", "b", "c", "d"]
    assert (statistics["near_duplicate_correlation"], statistics["near_duplicates"]) == ("off", 0)


def test_a_threshold_that_changes_no_group_changes_no_byte_of_what_training_reads(workspace: Workspace) -> None:
    written = []
    for threshold in (0.985, 0.9):
        prepare_all(workspace, settings_with(32, empty_masks="keep", near_duplicates=threshold))
        files = sorted(path for path in workspace.prepared.rglob("*") if path.is_file())
        written.append([(path.name, path.read_bytes()) for path in files])

    assert written[0] == written[1]


@pytest.mark.parametrize("part", ["image", "mask", "diagnosis"])
def test_the_digest_of_the_data_set_depends_on_images_masks_and_labels(tmp_path: Path, part: str) -> None:
    image, mask = textured(), np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 1
    settings = settings_with(32)
    before = prepare_all(write_raw(tmp_path / "before", {"a": (image, mask)}), settings).digest
    assert prepare_all(write_raw(tmp_path / "same", {"a": (image, mask)}), settings_with(40)).digest == before

    diagnosis = ["melanoma"] if part == "diagnosis" else ["common"]
    if part == "image":
        image[0, 0, 0] ^= 1
    if part == "mask":
        mask[16, 16] = 0
    after = prepare_all(write_raw(tmp_path / "after", {"a": (image, mask)}, diagnosis=diagnosis), settings).digest

    assert after != before


def test_lesions_that_no_size_keeps_are_listed_without_advice(tmp_path: Path) -> None:
    """16 px of 3000 x 3000 need sqrt(10 * 9,000,000 / 16) = 2,372 px, but 2048 is the largest size."""
    mask = np.zeros((3000, 3000), np.uint8)
    mask[100:104, 100:104] = 1
    workspace = write_raw(tmp_path, {"a": (np.zeros((3000, 3000, 3), np.uint8), mask)})
    settings = settings_with(32)

    decisions = check_data(workspace, prepare_all(workspace, settings), settings)["decisions"]

    assert [row["decision"] for row in decisions] == [
        "Lesions with fewer than 10 pixels at 32 px; not even 2048 px would keep all of them"
    ]
