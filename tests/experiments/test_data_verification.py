"""Files that a damaged disk or an edit has changed are found, even if DVC considers them unchanged."""

import os
import shutil
from pathlib import Path

import pytest

from naevi.errors import UserError
from naevi.experiments.data_verification import verify_data
from naevi.workspace import Workspace
from tests import pipeline
from tests.experiments.helpers import git, md5

pytestmark = pytest.mark.slow  # DVC runs a pipeline

PIPELINE = """
stages:
  download:
    cmd: mkdir -p data/raw/images && for name in a b c; do echo $name > data/raw/images/$name.txt; done
    deps: [source.txt]
    outs: [data/raw]
  prepare:
    cmd: echo prepared > data/prepared
    deps: [data/raw, naevi/code.py]
    outs: [data/prepared]
  count:
    cmd: ls data/raw/images > count.txt
    deps: [data]
    metrics: [{count.txt: {cache: false}}]
"""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository in which a pipeline of three stages has run. The cache holds copies, not links."""
    folder = tmp_path_factory.mktemp("data_verification")
    git(folder, "init", "--quiet")
    pipeline.run(folder, "dvc", "init", "--quiet")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "source.txt").write_text("source")
    (folder / "naevi").mkdir()
    (folder / "naevi/code.py").write_text("code")
    pipeline.run(folder, "dvc", "repro")
    git(folder, "add", "--all")
    return folder


@pytest.fixture
def repository(first: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(first, tmp_path / "repository", symlinks=True))


def problems(folder: Path) -> list[str]:
    return verify_data(Workspace(folder)).problems


def flip(file: Path) -> None:
    """Flip one bit and keep time and permissions of the file, as a damaged disk does."""
    status = file.stat()
    file.chmod(0o644)
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    file.chmod(status.st_mode)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def cached(folder: Path, md5: str) -> Path:
    return folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def test_an_undamaged_workspace_has_no_problems(repository: Path) -> None:
    """Three images and two files are in the workspace and in the cache, and two dependencies only in the workspace."""
    check = verify_data(Workspace(repository))

    assert (check.problems, check.absent) == ([], [])
    assert check.files == 2 * (3 + 2) + 2


def test_a_bit_that_flipped_in_the_cache_is_found_after_a_checkout(repository: Path) -> None:
    damaged = cached(repository, md5(repository / "data/raw/images/a.txt"))
    flip(damaged)
    shutil.rmtree(repository / "data")
    pipeline.run(repository, "dvc", "checkout", "data/raw", "data/prepared")
    assert "up to date" in pipeline.run(repository, "dvc", "status", "download", "prepare")

    assert problems(repository) == [
        "data/raw (written by download). Changed: data/raw/images/a.txt. Damaged in DVC's cache: "
        f"{damaged.relative_to(repository).as_posix()}. Delete these files, then run `dvc pull data/raw`, or without a "
        "remote `dvc repro --force --single-item download`."
    ]


def test_the_advice_for_a_damaged_cache_repairs_it(repository: Path) -> None:
    damaged = cached(repository, md5(repository / "data/raw/images/a.txt"))
    flip(damaged)
    flip(repository / "data/raw/images/b.txt")
    assert len(problems(repository)) == 1
    damaged.unlink()
    (repository / "data/raw/images/b.txt").unlink()

    pipeline.run(repository, "dvc", "repro", "--force", "--single-item", "download")

    assert problems(repository) == []


def test_a_bit_that_flipped_in_the_workspace_is_found_and_the_advice_repairs_it(repository: Path) -> None:
    flip(repository / "data/raw/images/b.txt")

    assert problems(repository) == [
        "data/raw (written by download). Changed: data/raw/images/b.txt. Delete these files, then run "
        "`dvc checkout data/raw`."
    ]
    (repository / "data/raw/images/b.txt").unlink()
    pipeline.run(repository, "dvc", "checkout", "data/raw")
    assert problems(repository) == []


def test_missing_and_added_files_are_named(repository: Path) -> None:
    (repository / "data/raw/images/b.txt").unlink()
    (repository / "data/raw/images/d.txt").write_text("new")
    (repository / "data/raw/images/.DS_Store").write_text("ignored")
    (repository / ".dvcignore").write_text(".DS_Store\n")

    (problem,) = problems(repository)

    assert problem.startswith(
        "data/raw (written by download). Missing: data/raw/images/b.txt. Not in dvc.lock: data/raw/images/d.txt. "
    )


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            "count.txt",
            "count.txt (written by count). Changed: count.txt. Run `git restore count.txt` or `dvc repro --force --",
        ),
        (
            "source.txt",
            "source.txt (read by download). Changed: source.txt. Restore it with `git restore`, or run `dvc repro`.",
        ),
        ("naevi/code.py", "Code. Changed: naevi/code.py. Run `dvc repro`, or undo the change with `git restore`."),
    ],
)
def test_files_outside_the_cache_are_checked(file: str, message: str, repository: Path) -> None:
    flip(repository / file)

    (problem,) = problems(repository)

    assert problem.startswith(message)


def test_a_damaged_listing_of_a_folder_is_found(repository: Path) -> None:
    (listing,) = (repository / ".dvc/cache/files/md5").rglob("*.dir")
    flip(listing)

    (problem,) = problems(repository)

    assert problem.startswith("data/raw (written by download). Damaged in DVC's cache: .dvc/cache/files/md5/")


def test_outputs_that_are_not_checked_out_are_checked_in_the_cache_or_counted(repository: Path) -> None:
    content = cached(repository, md5(repository / "data/raw/images/a.txt"))
    cached(repository, md5(repository / "data/prepared")).unlink()
    shutil.rmtree(repository / "data")

    check = verify_data(Workspace(repository))
    assert (check.problems, check.absent) == ([], ["data/prepared"])

    flip(content)
    assert problems(repository)[0].startswith("data/raw (written by download). Damaged in DVC's cache: ")


def test_links_are_followed(repository: Path) -> None:
    content = cached(repository, md5(repository / "data/raw/images/a.txt"))
    link = repository / "data/raw/images/a.txt"
    link.unlink()
    link.symlink_to(content)

    assert problems(repository) == []
    flip(content)
    assert "Changed: data/raw/images/a.txt. Damaged" in problems(repository)[0]


def test_without_a_lock_or_dvc_there_is_nothing_to_check(repository: Path, tmp_path: Path) -> None:
    (repository / "dvc.lock").unlink()

    with pytest.raises(UserError, match=r"^There is no dvc\.lock, so no file can be checked\. Run `dvc repro`\.$"):
        verify_data(Workspace(repository))
    with pytest.raises(UserError, match="is not a DVC repository, so it has no cache"):
        verify_data(Workspace(tmp_path))


def test_a_deleted_file_that_git_tracks_is_missing(repository: Path) -> None:
    """DVC doesn't keep it, so `dvc pull` wouldn't bring it back."""
    (repository / "count.txt").unlink()

    check = verify_data(Workspace(repository))

    assert check.absent == []
    assert check.problems == [
        "count.txt (written by count). Missing: count.txt. Run `git restore count.txt` or `dvc repro --force "
        "--single-item count`."
    ]
