"""Results are of the same data set if the fields that are known of both agree."""

from collections.abc import Callable
from pathlib import Path

import pytest

from naevi.config import Config
from naevi.errors import UserError
from naevi.record import read_record
from naevi.results.data_sets import DataSet, are_versions, data_set_labels, is_same, recorded_data_set
from naevi.workspace import Workspace
from tests.helpers import write_lock

PH2 = DataSet("ph2", "ph2", "a")
OLD_PH2 = DataSet("ph2")  # without a record
MOLES = DataSet("folder", "moles", "b")
MORE_MOLES = DataSet("folder", "moles", "c")
SCARS = DataSet("folder", "scars", "d")
OLD_FOLDER = DataSet("folder")
UNKNOWN = DataSet()


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (PH2, OLD_PH2, True),
        (PH2, MOLES, False),
        (MOLES, SCARS, False),
        (MOLES, MORE_MOLES, False),
        (MOLES, MOLES._replace(name="nevi"), True),  # the digest decides
        (MOLES._replace(digest=""), MORE_MOLES, True),  # without two digests, the name does
        (MOLES._replace(digest=""), SCARS, False),
        (MOLES, OLD_FOLDER, True),  # without two names, the source does
        (PH2, OLD_FOLDER, False),
        (PH2, UNKNOWN, True),
    ],
)
def test_data_sets_are_the_same_by_what_is_known_of_both(a: DataSet, b: DataSet, same: bool) -> None:
    assert is_same(a, b) == is_same(b, a) == same


def test_versions_have_one_name_and_two_digests() -> None:
    assert are_versions(MOLES, MORE_MOLES)
    assert not any(are_versions(MOLES, other) for other in (MOLES, SCARS, OLD_FOLDER, UNKNOWN))


def test_labels_are_equal_for_the_same_data_set_only() -> None:
    assert data_set_labels([OLD_PH2, PH2, UNKNOWN]) == ["ph2", "ph2", "ph2"]
    assert data_set_labels([SCARS, PH2, MOLES]) == ["scars", "ph2", "moles"]
    assert data_set_labels([MOLES, MORE_MOLES]) == ["moles (b)", "moles (c)"]
    assert data_set_labels([UNKNOWN]) == ["unknown"]
    assert data_set_labels([]) == []


@pytest.mark.parametrize(
    ("overrides", "statistics", "expected"),
    [
        ({"data.source": "phantoms"}, None, DataSet("phantoms", "phantoms")),
        ({"data.source": "phantoms"}, {"digest": "a"}, DataSet("phantoms", "phantoms", "a")),
        ({"data.source": "folder", "data.path": "data/moles.zip"}, {}, DataSet("folder", "moles")),
        ({"data.source": "folder", "data.path": "x", "data.name": "scars"}, {}, DataSet("folder", "scars")),
    ],
)
def test_a_record_has_the_name_of_its_data_set(
    overrides: dict[str, str],
    statistics: dict[str, str] | None,
    expected: DataSet,
    tmp_path: Path,
    config_with: Callable[[dict[str, str]], Config],
) -> None:
    write_lock(Workspace(tmp_path), config_with(overrides))

    assert recorded_data_set(read_record(Workspace(tmp_path)), statistics) == expected


def test_own_images_of_earlier_versions_have_no_name(
    tmp_path: Path, config_with: Callable[[dict[str, str]], Config]
) -> None:
    workspace = Workspace(tmp_path)
    write_lock(workspace, config_with({"data.source": "folder", "data.path": "data/moles"}))
    workspace.lock.write_text(workspace.lock.read_text().replace('"path": "data/moles", ', ""))

    assert recorded_data_set(read_record(workspace), {}) == DataSet("folder")


def test_parameters_that_this_version_does_not_know_are_no_problem(
    tmp_path: Path, config_with: Callable[[dict[str, str]], Config]
) -> None:
    """Early records have other parameters, and lack some."""
    workspace = Workspace(tmp_path)
    write_lock(workspace, config_with({"data.source": "phantoms"}))
    lock = workspace.lock.read_text().replace('"epochs": ', '"compile": ').replace('"reading": ', '"decoding": ')
    workspace.lock.write_text(lock)
    record = read_record(workspace)

    with pytest.raises(UserError):
        _ = record.config
    assert recorded_data_set(record, {"digest": "a"}) == DataSet("phantoms", "phantoms", "a")
