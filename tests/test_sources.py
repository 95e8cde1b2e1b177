"""Pictures come out of folders and archives alike, and what can't be read is refused with a way on."""

import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from naevi import sources
from naevi.refusal import Refusal

RNG = np.random.default_rng(0)
# Noise, so that no archive becomes smaller than it; written in another order than they are read.
FILES = {"b/IMD2.bmp": RNG.bytes(3000), "b/notes.txt": b"no picture", "a/IMD1.PNG": RNG.bytes(2000)}
PICTURES = [FILES["a/IMD1.PNG"], FILES["b/IMD2.bmp"]]
ARCHIVES = ["ph2.zip", "ph2.tar", "ph2.tar.gz", "ph2.tgz", "ph2.tar.bz2", "ph2.tar.xz"]


def pack(folder: Path, archive: Path) -> Path:
    """An archive of the folder's files, by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as into:
            for path in files:
                into.write(path, path.relative_to(folder))
        return archive
    compression = {".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".xz": "xz"}.get(archive.suffix, "")
    with tarfile.open(archive, f"w:{compression}") as into:
        for path in files:
            into.add(path, path.relative_to(folder))
    return archive


def contents(source: Path) -> list[bytes]:
    """The pictures' bytes."""
    return [data for _, data in sources.pictures(source)]


@pytest.fixture
def unpacked(folder: Path) -> Path:
    """A folder with two pictures and a text."""
    for name, data in FILES.items():
        (folder / "unpacked" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "unpacked" / name).write_bytes(data)
    return folder / "unpacked"


def test_pictures_of_a_folder_come_by_name(unpacked: Path) -> None:
    names = [Path(name).name for name, _ in sources.pictures(unpacked)]

    assert names == ["IMD1.PNG", "IMD2.bmp"]
    assert contents(unpacked) == PICTURES


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_gives_the_same_pictures_as_its_folder(unpacked: Path, name: str) -> None:
    archive = pack(unpacked, unpacked.parent / name)

    assert contents(archive) == PICTURES


def test_archives_in_a_folder_are_read_in_their_turn(unpacked: Path, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    (inbox / "deeper").mkdir(parents=True)
    pack(unpacked, inbox / "deeper" / "b.tar.gz")
    pack(unpacked, inbox / "a.zip")
    (inbox / "z.png").write_bytes(b"last")

    assert contents(inbox) == [*PICTURES, *PICTURES, b"last"]


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_ends_early_is_refused(unpacked: Path, name: str) -> None:
    archive = pack(unpacked, unpacked.parent / name)
    archive.write_bytes(archive.read_bytes()[:2000])

    message = rf"^{archive} can't be read to its end as a zip or tar archive \(.+\); fetch it again\.$"
    with pytest.raises(Refusal, match=message):
        contents(archive)


@pytest.mark.parametrize("content", [b"<html>Not found</html>", b""])
@pytest.mark.parametrize("name", ARCHIVES)
def test_what_is_no_archive_is_refused(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)

    with pytest.raises(Refusal, match="can't be read to its end as a zip or tar archive"):
        contents(folder / name)


def test_the_environment_names_the_source_first(unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("data/external").mkdir()
    Path("data/external/picture.bmp").touch()
    monkeypatch.setenv("NAEVI_SOURCE", str(unpacked))

    assert sources.locate() == unpacked


def test_a_source_that_does_not_exist_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAEVI_SOURCE", "PH2Dataset.rar")

    message = r"^NAEVI_SOURCE names PH2Dataset.rar, which doesn't exist; name a folder or an archive \(.zip, .tar, "
    with pytest.raises(Refusal, match=message):
        sources.locate()


def test_data_external_is_taken_when_something_lies_there(folder: Path) -> None:
    Path("data/external").mkdir()
    Path("data/external/picture.bmp").touch()

    assert sources.locate() == Path("data/external")


@pytest.mark.parametrize("empty_folder", [True, False])
def test_without_a_source_the_ways_on_are_told(folder: Path, empty_folder: bool) -> None:
    if empty_folder:
        Path("data/external").mkdir()

    with pytest.raises(Refusal) as refusal:
        sources.locate()

    assert str(refusal.value).splitlines() == [
        "the PH2 images are not here yet, and the ways on are:",
        "  NAEVI_SOURCE=<PH2 archive or folder> make repro",
        "  put the archive or folder into data/external/, then make repro",
        "  make demo   (the whole pipeline on generated images)",
        "PH2 is free for research and education: https://www.fc.up.pt/addi/ph2%20database.html",
    ]
