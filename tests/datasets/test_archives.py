"""Folders and archives give the same files. What can't be read or trusted is an error that says what to do."""

import os
import re
import stat
import struct
import subprocess
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from naevi.datasets import members
from naevi.datasets.archives import read_files
from tests.datasets.archive_files import (
    ARCHIVES,
    CREATORS,
    FILES,
    IMAGES,
    RNG,
    TRUST,
    contents,
    create_rar,
    create_tar,
    create_zip,
    error_message,
    is_image,
    names,
    pack,
)


def test_the_files_of_a_folder_are_sorted_by_name(unpacked: Path) -> None:
    assert names(unpacked) == [str(unpacked / "a/IMD1.PNG"), str(unpacked / "b/IMD2.bmp")]
    assert contents(unpacked) == IMAGES


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_gives_the_same_files_as_its_folder(tmp_path: Path, name: str) -> None:
    archive = pack(FILES, tmp_path / name)

    assert names(archive) == ["a/IMD1.PNG", "b/IMD2.bmp"]
    assert contents(archive) == IMAGES
    assert [name for name, _ in read_files(archive, lambda name: name.endswith(".txt"))] == ["b/notes.txt"]


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_is_recognized_by_its_first_bytes_and_not_by_its_name(tmp_path: Path, name: str) -> None:
    assert contents(pack(FILES, tmp_path / name).rename(tmp_path / "download")) == IMAGES


def test_archives_in_a_folder_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    pack(FILES, tmp_path / "deeper" / "b.tar.gz")
    pack(FILES, tmp_path / "a.zip")
    pack(FILES, tmp_path / "deeper" / "c.RAR".lower())
    (tmp_path / "z.png").write_bytes(b"last")

    assert contents(tmp_path) == [*IMAGES, *IMAGES, *IMAGES, b"last"]


HIDDEN = {"._IMD1.png": b"", "a/.IMD1.png": b"", ".a/IMD1.png": b"", "__MACOSX/a.png": b"", "a/__MACOSX/b/c.png": b""}


@pytest.mark.parametrize("name", ARCHIVES)
def test_hidden_files_are_skipped(tmp_path: Path, name: str) -> None:
    archive = pack(HIDDEN | {"./a/IMD1..png": b"visible", "__MACOSX.png": b"visible"}, tmp_path / name)

    assert contents(archive) == [b"visible", b"visible"]


def test_hidden_files_in_a_folder_are_skipped_wherever_the_folder_is(tmp_path: Path) -> None:
    source = tmp_path / ".cache" / "__MACOSX"
    for name in [*HIDDEN, ".hidden.zip", "a/visible.png"]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(name.encode())

    assert contents(source) == [b"a/visible.png"]


def test_links_are_followed_only_at_the_top_of_a_folder(
    unpacked: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "inbox" / "deep").mkdir(parents=True)
    (tmp_path / "inbox" / "ph2").symlink_to(unpacked)
    (tmp_path / "inbox" / "z.png").symlink_to(unpacked / "a/IMD1.PNG")
    (tmp_path / "inbox" / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "inbox" / "deep" / "circle").symlink_to(tmp_path / "inbox")

    assert contents(tmp_path / "inbox") == [*IMAGES, IMAGES[0]]
    text = "is a link to a folder or to nothing, and isn't followed."
    assert caplog.messages == [f"{tmp_path}/inbox/deep/circle {text}", f"{tmp_path}/inbox/gone.png {text}"]


def test_an_archive_in_a_folder_is_like_its_content(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    pack({"b.txt": b"b", "left/a.png": b"a"}, tmp_path / "images" / "more.zip")
    asked: list[str] = []

    files = list(read_files(tmp_path, lambda name: bool(asked.append(name)) or name.endswith(".png")))

    assert files == [(f"{tmp_path}/images/left/a.png", b"a")]
    assert asked == [f"{tmp_path}/images/b.txt", f"{tmp_path}/images/left/a.png"]


def test_files_before_a_corrupt_byte_are_read(tmp_path: Path) -> None:
    large = RNG.bytes(3 * 2**20)
    archive = pack({"a.png": large, "b.png": large}, tmp_path / "ph2.tar.gz")
    archive.write_bytes(archive.read_bytes()[: 5 * 2**20])

    assert next(read_files(archive, is_image)) == ("a.png", large)


@pytest.mark.parametrize("length", [600, 4000])
@pytest.mark.parametrize("name", ARCHIVES)
def test_a_truncated_archive_is_an_error(tmp_path: Path, name: str, length: int) -> None:
    archive = pack(FILES, tmp_path / name)
    archive.write_bytes(archive.read_bytes()[:length])

    message = rf"{archive} can't be read completely as an archive \(.+\)\. Delete it and download it again\."
    assert re.fullmatch(message, error_message(archive))


@pytest.mark.parametrize("position", [-4, 0.5])
@pytest.mark.parametrize("name", [name for name in ARCHIVES if name != "ph2.tar"])
def test_an_archive_with_a_corrupt_byte_is_an_error(tmp_path: Path, name: str, position: float) -> None:
    archive = pack({"a.png": FILES["b/IMD2.bmp"]}, tmp_path / name)
    data = bytearray(archive.read_bytes())
    data[int(position * len(data)) if position > 0 else int(position)] ^= 1
    archive.write_bytes(data)

    assert "can't be read completely as an archive (" in error_message(archive)


def test_a_tar_does_not_end_at_a_corrupt_header(tmp_path: Path) -> None:
    archive = pack(FILES, tmp_path / "ph2.tar")
    archive.write_bytes(archive.read_bytes().replace(b"b/IMD2.bmp", b"b/IMD3.bmp"))

    assert "can't be read completely as an archive (bad checksum). " in error_message(archive)


def test_a_tar_with_a_huge_header_is_an_error_before_it_is_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2**30
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + 600 * b"x")

    assert "can't be read completely as an archive (a header of 1073741824 bytes). " in error_message(
        tmp_path / "a.tar"
    )


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7", b"7z\xbc\xaf\x27\x1c", 600 * b"x"])
@pytest.mark.parametrize("name", ["ph2.zip", "ph2.rar", "ph2"])
def test_a_file_that_is_not_an_archive_is_an_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    assert error_message(tmp_path / name) == (
        f"{tmp_path / name} is not a supported archive "
        "(.zip, .tar, .tar.gz, .tgz, .tar.bz2, .tbz2, .tar.xz, .txz, .rar). Use one of these or a folder."
    )


@pytest.mark.parametrize(
    "content", [b"<!doctype html><title>", b" \r\n\t<!DOCTYPE HTML PUBLIC", b"<HTML lang=en>", b"\xef\xbb\xbf<html>"]
)
def test_a_web_page_is_not_an_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ph2.zip").write_bytes(content)

    assert error_message(tmp_path / "ph2.zip") == (
        f"{tmp_path}/ph2.zip is a web page (a login or a list of links), not an archive. "
        "Delete it and download the archive."
    )


def test_a_zip_of_windows_powershell_is_read(tmp_path: Path) -> None:
    """PowerShell 5.1 separates folders with backslashes, and writes folders as members that end with one."""
    (tmp_path / "a.zip").write_bytes(create_zip({"mine\\images\\": b"", "mine\\images\\a.png": b"bytes"}))

    assert list(read_files(tmp_path / "a.zip", lambda name: True)) == [("mine/images/a.png", b"bytes")]


@pytest.mark.parametrize("name", ["../a.png", "a/../../b.png", "..", "/tmp/a.png", "C:/a.png", "c:a.png", "..\\a.png"])
@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".rar"])
def test_a_path_outside_the_archive_is_an_error(tmp_path: Path, suffix: str, name: str) -> None:
    archive = tmp_path / f"a{suffix}"
    archive.write_bytes(CREATORS[suffix]({name: b"bytes"}))

    shown = name.replace("\\", "/") if suffix in (".rar", ".zip") else name
    assert error_message(archive) == f"{archive} contains {shown!r}, which has a path outside the archive. {TRUST}"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.zip", create_zip({"link.png": b"target"}, mode=stat.S_IFLNK | 0o777)),
        ("a.zip", create_zip({"link.png": b""}, mode=stat.S_IFIFO | 0o644)),
        ("a.rar", create_rar({"link.png": b"target"}, mode=stat.S_IFLNK | 0o777)),
        *(
            ("a.tar.xz", create_tar({"link.png": b""}, "xz", kind))
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE)
        ),
    ],
)
def test_links_and_devices_are_an_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    assert (
        error_message(tmp_path / name) == f"{tmp_path / name} contains 'link.png', which is a link or a device. {TRUST}"
    )


ENCRYPTED = create_zip({"a.png": b"bytes"})
ENCRYPTED = ENCRYPTED[:6] + b"\1" + ENCRYPTED[7:].replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1")


@pytest.mark.parametrize(
    ("name", "content", "member"),
    [
        ("a.zip", ENCRYPTED, "a.png"),
        ("a.rar", create_rar({"a.png": b"bytes"}, file_flags=0x04), "a.png"),
        ("a.rar", create_rar({"a.png": b"bytes"}, archive_flags=0x80), "the list of files"),
    ],
)
def test_an_encrypted_archive_is_an_error(tmp_path: Path, name: str, content: bytes, member: str) -> None:
    (tmp_path / name).write_bytes(content)

    assert error_message(tmp_path / name) == (
        f"{tmp_path / name} contains {member!r}, which is encrypted. "
        "Unpack it with its password and use the folder instead."
    )


@pytest.mark.parametrize("suffix", CREATORS)
def test_a_file_too_large_for_memory_is_an_error(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_FILE_BYTES", 2**20)
    archive = pack({"a.txt": bytes(2**20 + 1), "b.png": bytes(2**20)}, tmp_path / f"a{suffix}")
    assert contents(archive) == [bytes(2**20)]

    pack({"a.png": bytes(2**20 + 1)}, archive)
    assert error_message(archive) == f"{archive} contains 'a.png', which is larger than 1 MiB. {TRUST}"


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_a_decompression_bomb_is_an_error_even_if_it_is_not_selected(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "MIN_TOTAL_LIMIT_BYTES", 2 * 2**20)
    archive = pack({"a.txt": bytes(2**20), "b.txt": bytes(2**20)}, tmp_path / f"a{suffix}")
    assert contents(archive) == []

    pack({"a.txt": bytes(2**20), "b.txt": bytes(2**20 + 1)}, archive)
    assert error_message(archive) == (
        f"{archive} contains 'b.txt', which brings the unpacked size to 2 MiB, far more than archives of images have. "
        f"{TRUST}"
    )


def test_a_large_archive_that_is_not_a_bomb_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MIN_TOTAL_LIMIT_BYTES", 1000)

    assert contents(pack(FILES, tmp_path / "a.zip")) == IMAGES


def test_a_zip_with_a_false_size_is_an_error_before_it_fills_the_memory(tmp_path: Path) -> None:
    true, claimed = struct.pack("<I", 2**25), struct.pack("<I", 10)
    (tmp_path / "a.zip").write_bytes(create_zip({"a.png": bytes(2**25)}).replace(true, claimed))

    tracemalloc.start()
    message = error_message(tmp_path / "a.zip")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert "can't be read completely as an archive (Bad CRC-32 for file 'a.png'). " in message
    assert peak < 2**23


def test_a_zip_that_is_not_compressed_with_deflate_is_an_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.png", b"bytes")

    assert error_message(tmp_path / "a.zip") == (
        f"{tmp_path}/a.zip contains 'a.png', which isn't compressed with deflate. {TRUST}"
    )


def test_a_huge_file_in_a_folder_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """The file is sparse: it takes no disk space."""
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(20 * 2**30)

    assert error_message(tmp_path) == f"{tmp_path}/a.png is larger than 512 MiB. Make it smaller or remove it."


def test_a_pipe_with_the_name_of_an_archive_is_not_read(tmp_path: Path) -> None:
    """Reading it would wait for ever."""
    os.mkfifo(tmp_path / "a.zip")

    assert error_message(tmp_path / "a.zip") == (
        f"{tmp_path}/a.zip is a device, a pipe or a folder, not a file. Remove it or name a file."
    )


def test_folders_in_folders_of_any_depth_are_read_by_name(tmp_path: Path) -> None:
    """1,500 of them are more than Python's limit for functions that call themselves."""
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(1500):
            os.mkdir("d")
            Path("d.png").write_bytes(b"deep")
            os.chdir("d")
    finally:
        os.chdir(here)

    found = [name for name, _ in read_files(tmp_path, lambda _: True)]

    assert len(found) == 1500
    assert found == sorted(found, key=lambda name: Path(name).parts)
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # pytest can't


def test_a_pipe_in_a_folder_is_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Reading it would wait for ever."""
    (tmp_path / "inner").mkdir()
    os.mkfifo(tmp_path / "inner" / "a.png")

    assert contents(tmp_path) == []
    assert caplog.messages == [f"{tmp_path}/inner/a.png is a device or a pipe, and isn't read."]
