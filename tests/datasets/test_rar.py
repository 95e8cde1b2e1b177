"""Compressed rar archives are unpacked by an external program and checked before and after."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from naevi.datasets.archives import read_files
from naevi.datasets.rar import UNPACKERS
from tests.datasets.archive_files import FILES, IMAGES, TRUST, contents, create_rar, error_message, is_image, names


def set_programs(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Set PATH to only these shell scripts, because not every machine has the programs that they replace."""
    folder.mkdir(exist_ok=True)
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\nPATH={os.environ['PATH']}\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.fixture
def compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a rar archive that only programs can unpack. Temporary files are in the folder `temporary`."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    # Only an empty file counts as compressed, because no free program can compress rar archives.
    (tmp_path / "a b.rar").write_bytes(create_rar(FILES | {"empty.png": b""}, compressed="empty.png"))
    return tmp_path / "a b.rar"


def test_without_a_program_the_error_says_what_to_install(
    compressed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_programs(tmp_path / "bin", monkeypatch)

    assert error_message(compressed) == (
        f"{compressed} is a rar archive, and none of bsdtar, unar, unrar, 7z is installed to unpack it. Install one "
        "(apt install libarchive-tools, brew install libarchive), or unpack it and use the folder instead."
    )


def test_each_installed_program_unpacks(compressed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = [shutil.which(program) for program in UNPACKERS]
    for path in filter(None, installed):
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / Path(path).name).symlink_to(path)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))

        assert names(compressed) == ["a/IMD1.PNG", "b/IMD2.bmp", "empty.png"]
        assert contents(compressed) == [*IMAGES, b""]
        shutil.rmtree(tmp_path / "bin")


def test_the_first_program_that_succeeds_is_used_and_its_files_are_removed_after_reading(
    compressed: Path, unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (unpacked / ".hidden.png").touch()
    succeeds = f'cp -r {unpacked}/. "$5" && test "$6" = "{compressed}"'
    set_programs(tmp_path / "bin", monkeypatch, bsdtar=': > "$5/half.png"; exit 1', unar=succeeds, unrar="exit 1")

    files = read_files(compressed, is_image)
    assert next(files) == ("a/IMD1.PNG", IMAGES[0])
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    assert list(files) == [("b/IMD2.bmp", IMAGES[1])]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_temporary_files_are_removed_if_reading_stops(
    compressed: Path, unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_programs(tmp_path / "bin", monkeypatch, unar=f'cp -r {unpacked}/. "$5"')

    files = read_files(compressed, is_image)
    next(files)
    del files
    assert list((tmp_path / "temporary").iterdir()) == []


def test_an_archive_that_no_program_can_unpack_is_an_error(
    compressed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_programs(tmp_path / "bin", monkeypatch, bsdtar="exit 1", unar="echo no; echo such archive >&2; exit 2")

    assert error_message(compressed) == (
        f"{compressed} can't be unpacked by bsdtar or unar (no such archive). "
        "Unpack it and use the folder instead, or delete it and download it again."
    )
    assert list((tmp_path / "temporary").iterdir()) == []


def test_unpacked_files_are_checked_again(compressed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_programs(tmp_path / "bin", monkeypatch, unar='ln -s /etc/passwd "$5/a.png"')

    assert error_message(compressed) == f"{compressed} contains 'a.png', which is a link or a device. {TRUST}"


def test_an_archive_is_checked_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_programs(tmp_path / "bin", monkeypatch, unar=f"touch {tmp_path}/unpacked")
    (tmp_path / "a.rar").write_bytes(create_rar({"a.png": b"bytes", "../b.png": b""}, compressed="a.png"))

    assert error_message(tmp_path / "a.rar") == (
        f"{tmp_path}/a.rar contains '../b.png', which has a path outside the archive. {TRUST}"
    )
    assert not (tmp_path / "unpacked").exists()
