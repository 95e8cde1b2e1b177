"""The stages write the same bytes with any number and kind of workers."""

import hashlib
from pathlib import Path

import pytest

from tests import pipeline
from tests.helpers import HERE

# What preprocess, evaluate and predict write.
WRITTEN = [HERE.prepared, HERE.checks, HERE.predictions, HERE.metrics, HERE.per_image, HERE.details_source, "found"]


def write_again(folder: Path, workers: str) -> dict[str, str]:
    """Run preprocess, evaluate and predict with these workers; return the SHA-256 of each file that they write."""
    for command in ("stages.preprocess", "stages.evaluate", "naevi predict data/raw/images --force --out found"):
        pipeline.run(folder, "python", "-m", *command.split(), NAEVI_WORKERS=workers)
    files = [path for place in WRITTEN for path in [folder / place, *(folder / place).rglob("*")] if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def make_large(folder: Path, number: int) -> None:
    """A repository with many small images, one fold and the model for prediction, trained for one epoch."""
    pipeline.make(folder, f"data.phantoms.number={number}", "train.epochs=1", "cv.models=[0, all]")
    pipeline.run(folder, "dvc", "repro")


def test_two_processes_write_what_threads_write(small_repository: Path, tmp_path: Path) -> None:
    folder = pipeline.copy(small_repository, tmp_path / "repository")
    threads, processes = write_again(folder, ""), write_again(folder, "2")

    assert processes == threads
    assert len(threads) > 20 * 5  # two files of each image in data/prepared and in found, and a prediction


@pytest.mark.soak
def test_one_two_and_four_processes_write_what_threads_write(tmp_path: Path) -> None:
    make_large(tmp_path / "repository", 2000)
    threads = write_again(tmp_path / "repository", "")

    for workers in ("1", "2", "4"):
        assert write_again(tmp_path / "repository", workers) == threads
