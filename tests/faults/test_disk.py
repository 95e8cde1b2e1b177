"""Disks that are full, read-only or gone: one sentence, nothing half-made, and the next run comes to the same bytes."""

import re
import subprocess
from pathlib import Path

import pytest

from naevi.experiments.demo import commit
from tests import pipeline
from tests.helpers import HERE

NAMESPACE = ("unshare", "--map-root-user", "--mount", "sh", "-ec")  # there anyone may mount
try:
    subprocess.run([*NAMESPACE, "mount -t tmpfs none /mnt"], check=True, capture_output=True)
    REFUSED = ""
except (OSError, subprocess.CalledProcessError) as error:
    REFUSED = f"no disk of their own for tests: {error}"
has_disks = pytest.mark.skipif(bool(REFUSED), reason=REFUSED)

# The repository on a disk of its own.
MOUNT = """
mount -t tmpfs -o size=256m none "$PWD/disk"
cp -a "{repository}/." disk
cd disk
"""
# Each stage as DVC runs it, its outputs removed before, on a disk that has so much room and no more.
FULL = """
on_full() {{
    room=$1 item=$2; shift 2
    rm -rf "$@"
    head -c 1G /dev/zero > ballast 2> /dev/null || true
    truncate --size=-$room ballast
    echo "$item:"
    python -m stages.$item && echo "it was written" || true
    rm ballast
    find "$@" -name '*.partial' 2> /dev/null || true
}}
on_full 100K report reports/report.md reports/report.html reports/figures
on_full 40K evaluate data/predictions reports/metrics.json reports/per_image.csv data/details.json
on_full 1M "train 0" data/models/0
on_full 100K preprocess data/prepared
dvc repro --force --single-item preprocess train@0 evaluate report > ../repro 2>&1
cp -a data reports dvc.lock ..
"""
NO_ROOM = (
    "naevi: can't read or write a file: No space left on device. Please free some disk space and run the command "
    "again. No partial output was kept.\n"
)


def on_a_disk(repository: Path, folder: Path, script: str) -> str:
    """What a script prints in the repository on its own disk, but for progress; what it leaves in the folder stays."""
    (folder / "disk").mkdir()
    store = f"sqlite:///{folder / 'mlflow.db'}"
    command = (MOUNT + script).format(repository=repository)
    printed = pipeline.run(folder, *NAMESPACE, command, MLFLOW_TRACKING_URI=store)
    return re.sub(r"^\w+: \d+ of \d+ \w+\n", "", printed, flags=re.MULTILINE)


def content(folder: Path) -> dict[str, bytes]:
    """What counts."""
    files = [file for part in ("data", "reports") for file in (folder / part).rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in [*files, folder / HERE.lock]}


@has_disks
def test_a_full_disk_leaves_nothing_half_made_and_with_room_the_bytes_are_the_same(
    small_repository: Path, tmp_path: Path
) -> None:
    printed = on_a_disk(small_repository, tmp_path, FULL)

    assert printed == "".join(f"{stage}:\n{NO_ROOM}" for stage in ("report", "evaluate", "train 0", "preprocess"))
    again = (tmp_path / "repro").read_text(encoding="utf-8")
    assert again.count("> python -m stages.") == 4, again
    assert content(tmp_path) == content(small_repository)


READ_ONLY = """
for folder in data reports; do
    mount --bind $folder $folder
    mount -o remount,bind,ro $folder
done
for stage in preprocess report; do python -m stages.$stage && echo "it was written" || true; done
"""


@has_disks
def test_a_read_only_folder_is_told_in_a_sentence(small_repository: Path, tmp_path: Path) -> None:
    printed = on_a_disk(small_repository, tmp_path, READ_ONLY)

    assert re.sub(r"\.\d+\.partial", ".partial", printed) == "".join(
        f"naevi: can't read or write {path}.partial: Read-only file system. Please work in a writable folder and "
        "run the command again. No partial output was kept.\n"
        for path in (HERE.prepared, HERE.data_statistics)
    )


# What Python runs first, where it is found: it takes the folder away when the tenth mask is written.
VANISHES = """
import shutil, sys
masks = []
def note(event, arguments):
    if event == "open" and "prepared.partial/masks" in str(arguments[0]):
        masks.append(arguments[0])
        if len(masks) == 10:
            shutil.rmtree("data")
sys.addaudithook(note)
"""


def test_a_vanished_folder_is_told_in_a_sentence_and_comes_back(small_repository: Path, tmp_path: Path) -> None:
    repository = pipeline.copy(small_repository, tmp_path / "repository")
    commit(repository, "Run")
    (tmp_path / "sitecustomize.py").write_text(VANISHES, encoding="utf-8")

    printed = pipeline.run(repository, "python", "-m", "stages.preprocess", check=False, PYTHONPATH=str(tmp_path))

    # One thread writes while others read.
    assert re.fullmatch(
        r"naevi: can't read or write data/(prepared\.partial|raw)/\w+/phantom-\d+\.png: No such file or directory\. "
        r"Please restore what has disappeared and run the command again\.( No partial output was kept\.)?\n",
        printed,
    ), printed
    pipeline.run(repository, "git", "restore", "data")
    pipeline.run(repository, "dvc", "checkout")
    assert content(repository) == content(small_repository)


# Where no file may grow beyond 4 KiB, `evaluate` ends in the middle of its tables.
SMALL = """
import resource, sys
if "stages.evaluate" in sys.orig_argv:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
"""


def test_committed_reports_come_back_from_git_after_a_failed_run(small_repository: Path, tmp_path: Path) -> None:
    """DVC removes a stage's own outputs before it runs; all others stay, and nothing half-made stands beside them."""
    repository = pipeline.copy(small_repository, tmp_path / "repository")
    commit(repository, "Run")
    before = content(repository)
    with (repository / "naevi/evaluation/summary.py").open("a", encoding="utf-8") as code:
        code.write("# an edit\n")
    (tmp_path / "sitecustomize.py").write_text(SMALL, encoding="utf-8")

    printed = pipeline.run(repository, "dvc", "repro", "evaluate", check=False, PYTHONPATH=str(tmp_path))

    told = [line for line in printed.splitlines() if line.startswith("naevi: ")]
    assert told == [
        "naevi: can't read or write a file: File too large. Please allow larger files and run the command again. "
        "No partial output was kept."
    ]
    changed = pipeline.run(repository, "git", "status", "--porcelain", "reports")
    missing = ("curves.csv", "metrics.json", "risk_coverage.csv", "thresholds.csv")
    assert changed == "".join(f" D reports/{name}\n" for name in missing)
    assert not list((repository / "reports").glob("*.partial"))
    pipeline.run(repository, "git", "restore", "reports")
    left = content(repository)
    assert {file: left[file] for file in before if file.startswith("reports")} == {
        file: found for file, found in before.items() if file.startswith("reports")
    }

    pipeline.run(repository, "dvc", "repro", "evaluate")

    after = content(repository)
    del before[str(HERE.lock)], after[str(HERE.lock)]  # it names the edited module
    assert after == before
