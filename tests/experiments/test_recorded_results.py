"""A result is compared only if its files are those that its record lists, and only with results of its data set."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from naevi.config import load_config
from naevi.errors import UserError
from naevi.experiments.comparison import write_comparison
from naevi.experiments.named_results import load_result, other_results
from naevi.files import write_json
from tests.experiments.helpers import git, md5, per_image, write_result
from tests.helpers import HERE, write_lock


def edit(file: Path, old: str, new: str) -> None:
    """Replace a text that a file contains."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (HERE.per_image, ",0.5,", ",0.6,", "reports/per_image.csv has changed"),
        (HERE.metrics, '"mean": 0.7', '"mean": 0.8', "reports/metrics.json has changed"),
        (HERE.data_statistics, '""', '"other"', "reports/data.json has changed"),
    ],
    ids=["table", "scores", "data"],
)
def test_an_edited_file_of_the_workspace_is_refused(
    file: Path, old: str, new: str, message: str, repository: SimpleNamespace
) -> None:
    load_result(HERE, "workspace")
    edit(file, old, new)

    with pytest.raises(
        UserError, match=f"^The result in the workspace isn't .* dvc.lock records: {message}. Run `dvc r"
    ):
        load_result(HERE, "workspace")


def test_a_workspace_without_record_is_refused(repository: SimpleNamespace) -> None:
    HERE.lock.unlink()

    with pytest.raises(UserError, match=r"^There is no dvc\.lock, so the result has no record\."):
        load_result(HERE, "workspace")


@pytest.mark.parametrize("file", [HERE.per_image, HERE.metrics], ids=["table", "scores"])
def test_an_edited_file_of_a_commit_is_refused(file: Path, repository: SimpleNamespace) -> None:
    git(repository.folder, "checkout", "--quiet", "--", ".")
    edit(file, "0.2", "0.3")
    git(repository.folder, "commit", "--quiet", "--all", "--message", "Edit")

    with pytest.raises(UserError, match=rf"^{file} at \w{{7}} isn't the file that dvc\.lock lists there\. Use another"):
        load_result(HERE, "default")


def test_scores_that_contradict_the_table_are_refused_even_if_the_record_has_both(repository: SimpleNamespace) -> None:
    edit(HERE.metrics, '"mean": 0.7', '"mean": 0.8')
    write_lock(HERE, load_config(HERE))

    with pytest.raises(
        UserError, match=r"^reports/metrics\.json contradicts its per_image\.csv: dice\.mean is 0\.8, but the mean"
    ):
        load_result(HERE, "workspace")


def test_a_result_without_record_is_checked_against_its_table_and_named(
    repository: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_comparison(HERE, "default", "other")

    assert "other has no record, so its scores were checked only against each other." in capsys.readouterr().out
    edit(HERE.results / "other/metrics.json", '"mean": 0.65', '"mean": 0.75')
    with pytest.raises(
        UserError,
        match=r"^reports/results/other/metrics\.json contradicts its per_image\.csv: dice\.mean is 0\.75, but",
    ):
        load_result(HERE, "other")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("metrics.json", "reports/results/kept/metrics.json isn't the file that its record.json lists"),
        ("per_image.csv", "reports/results/kept/per_image.csv isn't the file that its record.json lists"),
        ("record.json", "reports/results/kept/record.json can't be read"),
    ],
)
def test_an_edited_file_of_a_published_result_is_refused(
    file: str, message: str, repository: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    add_record("kept", name="ph2", digest="")
    load_result(HERE, "kept")
    (HERE.results / "kept" / file).write_text("edited")

    with pytest.raises(UserError, match=f"^{message}"):
        load_result(HERE, "kept")
    assert len(list(other_results(HERE))) == 3
    assert f"kept is not counted as a result: {message}" in caplog.text


def add_record(published: str, *, name: str, digest: str, source: str = "ph2") -> None:
    """Write the record.json of a published result."""
    folder = HERE.results / published
    files = {str(path): md5(folder / path.name) for path in (HERE.metrics, HERE.per_image)}
    record = {
        "data_set": {"name": name, "digest": digest},
        "files": files,
        "parameters": {"data": {"source": source}},
    }
    write_json(folder / "record.json", record)


OWN = {"source": "folder", "path": "photos", "name": "moles"}


def test_results_of_other_data_sets_are_not_compared(repository: SimpleNamespace) -> None:
    """Two folders of own images with the same file names: only the record says that they differ."""
    write_result(HERE, per_image([0.5, 0.9], dataset="folder"), digest="a" * 64, **OWN)
    add_record("kept", name="scars", digest="b" * 64, source="folder")

    with pytest.raises(UserError) as raised:
        write_comparison(HERE, "workspace", "kept")

    assert str(raised.value) == (
        "workspace was measured on the data set moles, kept on scars. Compare results of one data set. If these are "
        "versions of one data set, set the same data.name for both and run them again."
    )


def test_equal_images_under_another_name_are_one_data_set(
    repository: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_result(HERE, per_image([0.5, 0.9]), digest="a" * 64)
    add_record("kept", name="another", digest="a" * 64)

    write_comparison(HERE, "workspace", "kept")

    assert "two versions" not in capsys.readouterr().out


def test_versions_of_a_data_set_are_compared_with_a_note(
    repository: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_result(HERE, per_image([0.5, 0.9, 0.7]), digest="a" * 64)
    add_record("kept", name="ph2", digest="b" * 64)

    write_comparison(HERE, "workspace", "kept")

    printed = capsys.readouterr().out
    assert "The results are of two versions of the data set ph2. Images or masks were added" in printed
    assert "Only images that are in both results are compared: 2. workspace has 1 more and kept has 0 more." in printed
