"""Fixtures of the tests of datasets."""

from pathlib import Path

import pytest

from tests.datasets.archive_files import FILES


@pytest.fixture
def unpacked(folder: Path) -> Path:
    """Return a folder with two images and a text."""
    for name, data in FILES.items():
        (folder / "unpacked" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "unpacked" / name).write_bytes(data)
    return folder / "unpacked"
