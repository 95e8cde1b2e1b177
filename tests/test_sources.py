"""Files come out of folders, archives and addresses alike; what can't be read or trusted is refused with a way on."""

import io
import os
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from naevi import sources
from naevi.refusal import Refusal

RNG = np.random.default_rng(0)
# Noise, so that no archive becomes smaller than it; written in another order than they are read.
FILES = {"b/IMD2.bmp": RNG.bytes(3000), "b/notes.txt": b"no picture", "a/IMD1.PNG": RNG.bytes(2000)}
PICTURES = [FILES["a/IMD1.PNG"], FILES["b/IMD2.bmp"]]
ARCHIVES = ["ph2.zip", "ph2.tar", "ph2.tar.gz", "ph2.tgz", "ph2.tar.bz2", "ph2.tar.xz", "ph2.rar"]
RAR = b"Rar!\x1a\x07\x00"
STORED, PACKED = 0x30, 0x33
TRUST = "unpack it and name the folder, if you trust it"


def zipped(files: dict[str, bytes], mode: int = 0) -> bytes:
    """A zip, with the mode of a Unix file."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def tarred(files: dict[str, bytes], compression: str = "gz", kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar of members of one kind."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=f"w:{compression}") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "target.bmp", len(data) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


def rared(files: dict[str, bytes], archive: int = 0, file: int = 0, mode: int = 0o100644, packed: str = "") -> bytes:
    """A rar of version 4; `archive` and `file` are flags of its headers, `packed` the one file that isn't stored."""

    def block(kind: int, flags: int, body: bytes) -> bytes:
        head = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
        return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head

    made = RAR + block(0x73, archive, bytes(6))
    for name, data in files.items():
        title, size, method = name.replace("/", "\\").encode(), len(data), PACKED if name == packed else STORED
        numbers = struct.pack("<IIBIIBBHI", size, size, 3, zlib.crc32(data), 0, 20, method, len(title), mode)
        made += block(0x74, 0x8000 | file, numbers + title) + data
    return made + block(0x7B, 0x4000, b"")


COMPRESSIONS = {".tar": "", ".tar.gz": "gz", ".tgz": "gz", ".tar.bz2": "bz2", ".tar.xz": "xz"}
MAKERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {".zip": zipped, ".rar": rared} | {
    suffix: partial(tarred, compression=compression) for suffix, compression in COMPRESSIONS.items()
}


def pack(files: dict[str, bytes], archive: Path) -> Path:
    """An archive of the files, by name."""
    suffix = archive.name.removeprefix(archive.name.partition(".")[0])
    archive.write_bytes(MAKERS[suffix](dict(sorted(files.items()))))
    return archive


def is_picture(name: str) -> bool:
    return name.lower().endswith((".bmp", ".png"))


def names(source: Path) -> list[str]:
    return [name for name, _ in sources.files(source, is_picture)]


def contents(source: Path) -> list[bytes]:
    return [data for _, data in sources.files(source, is_picture)]


def refused(source: Path) -> str:
    """The sentence that says why the source isn't read to its end."""
    with pytest.raises(Refusal) as refusal:
        contents(source)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.fixture
def unpacked(folder: Path) -> Path:
    """A folder with two pictures and a text."""
    for name, data in FILES.items():
        (folder / "unpacked" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "unpacked" / name).write_bytes(data)
    return folder / "unpacked"


# What is read


def test_files_of_a_folder_come_by_name(unpacked: Path) -> None:
    assert names(unpacked) == [str(unpacked / "a/IMD1.PNG"), str(unpacked / "b/IMD2.bmp")]
    assert contents(unpacked) == PICTURES


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_gives_the_same_files_as_its_folder(tmp_path: Path, name: str) -> None:
    archive = pack(FILES, tmp_path / name)

    assert names(archive) == ["a/IMD1.PNG", "b/IMD2.bmp"]
    assert contents(archive) == PICTURES
    assert [name for name, _ in sources.files(archive, lambda name: name.endswith(".txt"))] == ["b/notes.txt"]


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_is_known_by_its_first_bytes_and_not_by_its_name(tmp_path: Path, name: str) -> None:
    assert contents(pack(FILES, tmp_path / name).rename(tmp_path / "download")) == PICTURES


def test_archives_in_a_folder_are_read_in_their_turn(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    pack(FILES, tmp_path / "deeper" / "b.tar.gz")
    pack(FILES, tmp_path / "a.zip")
    pack(FILES, tmp_path / "deeper" / "c.RAR".lower())
    (tmp_path / "z.png").write_bytes(b"last")

    assert contents(tmp_path) == [*PICTURES, *PICTURES, *PICTURES, b"last"]


HIDDEN = {"._IMD1.png": b"", "a/.IMD1.png": b"", ".a/IMD1.png": b"", "__MACOSX/a.png": b"", "a/__MACOSX/b/c.png": b""}


@pytest.mark.parametrize("name", ARCHIVES)
def test_hidden_files_are_passed_over(tmp_path: Path, name: str) -> None:
    archive = pack(HIDDEN | {"./a/IMD1..png": b"seen", "__MACOSX.png": b"seen"}, tmp_path / name)

    assert contents(archive) == [b"seen", b"seen"]


def test_hidden_files_of_a_folder_are_passed_over_wherever_the_folder_is(tmp_path: Path) -> None:
    source = tmp_path / ".cache" / "__MACOSX"
    for name in [*HIDDEN, ".hidden.zip", "a/seen.png"]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(name.encode())

    assert contents(source) == [b"a/seen.png"]


def test_links_in_a_folder_lead_on_at_its_top_only(unpacked: Path, tmp_path: Path) -> None:
    (tmp_path / "inbox" / "deep").mkdir(parents=True)
    (tmp_path / "inbox" / "ph2").symlink_to(unpacked)
    (tmp_path / "inbox" / "z.png").symlink_to(unpacked / "a/IMD1.PNG")
    (tmp_path / "inbox" / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "inbox" / "deep" / "circle").symlink_to(tmp_path / "inbox")

    assert contents(tmp_path / "inbox") == [*PICTURES, PICTURES[0]]


def test_what_lies_before_a_spoilt_place_is_read(tmp_path: Path) -> None:
    large = RNG.bytes(3 * 2**20)
    archive = pack({"a.png": large, "b.png": large}, tmp_path / "ph2.tar.gz")
    archive.write_bytes(archive.read_bytes()[: 5 * 2**20])

    assert next(sources.files(archive, is_picture)) == ("a.png", large)


# What is refused


@pytest.mark.parametrize("length", [600, 4000])
@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_ends_early_is_refused(tmp_path: Path, name: str, length: int) -> None:
    archive = pack(FILES, tmp_path / name)
    archive.write_bytes(archive.read_bytes()[:length])

    said = rf"{archive} can't be read to its end as an archive \(.+\); delete it, then fetch it again\."
    assert re.fullmatch(said, refused(archive))


@pytest.mark.parametrize("place", [-4, 0.5])
@pytest.mark.parametrize("name", [name for name in ARCHIVES if name != "ph2.tar"])
def test_an_archive_with_a_spoilt_byte_is_refused(tmp_path: Path, name: str, place: float) -> None:
    archive = pack({"a.png": FILES["b/IMD2.bmp"]}, tmp_path / name)
    data = bytearray(archive.read_bytes())
    data[int(place * len(data)) if place > 0 else int(place)] ^= 1
    archive.write_bytes(data)

    assert "can't be read to its end as an archive (" in refused(archive)


def test_a_tar_with_a_spoilt_header_does_not_end_there(tmp_path: Path) -> None:
    archive = pack(FILES, tmp_path / "ph2.tar")
    archive.write_bytes(archive.read_bytes().replace(b"b/IMD2.bmp", b"b/IMD3.bmp"))

    assert "can't be read to its end as an archive (bad checksum); " in refused(archive)


def test_a_tar_with_a_vast_header_is_refused_before_it_is_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2**30
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + 600 * b"x")

    assert "can't be read to its end as an archive (a header of 1073741824 bytes); " in refused(tmp_path / "a.tar")


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7", b"7z\xbc\xaf\x27\x1c", 600 * b"x"])
@pytest.mark.parametrize("name", ["ph2.zip", "ph2.rar", "ph2"])
def test_what_is_no_archive_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    assert refused(tmp_path / name) == (
        f"{tmp_path / name} is none of the archives that are known here "
        "(.zip, .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz, .txz, .rar); name a folder."
    )


@pytest.mark.parametrize(
    "content", [b"<!doctype html><title>", b" \r\n\t<!DOCTYPE HTML PUBLIC", b"<HTML lang=en>", b"\xef\xbb\xbf<html>"]
)
def test_a_web_page_is_told_from_an_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ph2.zip").write_bytes(content)

    assert refused(tmp_path / "ph2.zip") == (
        f"{tmp_path}/ph2.zip is a web page (a login, a list of links), not an archive; "
        "delete it, then fetch the archive."
    )


@pytest.mark.parametrize(
    "outside", ["../a.png", "a/../../b.png", "..", "/tmp/a.png", "C:/a.png", "c:a.png", "..\\a.png"]
)
@pytest.mark.parametrize("kind", [".zip", ".tar.gz", ".rar"])
def test_a_name_that_leads_out_of_the_archive_is_refused(tmp_path: Path, kind: str, outside: str) -> None:
    archive = tmp_path / f"a{kind}"
    archive.write_bytes(MAKERS[kind]({outside: b"bytes"}))

    shown = outside.replace("\\", "/") if kind == ".rar" else outside
    assert refused(archive) == f"{archive} holds {shown!r}, a name that leads out of the archive; {TRUST}."


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.zip", zipped({"link.png": b"target"}, mode=stat.S_IFLNK | 0o777)),
        ("a.zip", zipped({"link.png": b""}, mode=stat.S_IFIFO | 0o644)),
        ("a.rar", rared({"link.png": b"target"}, mode=stat.S_IFLNK | 0o777)),
        *(
            ("a.tar.xz", tarred({"link.png": b""}, "xz", kind))
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE)
        ),
    ],
)
def test_links_and_devices_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    assert refused(tmp_path / name) == f"{tmp_path / name} holds 'link.png', a link or a device; {TRUST}."


LOCKED = zipped({"a.png": b"bytes"})
LOCKED = LOCKED[:6] + b"\1" + LOCKED[7:].replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1")


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.zip", LOCKED, "a.png"),
        ("a.rar", rared({"a.png": b"bytes"}, file=0x04), "a.png"),
        ("a.rar", rared({"a.png": b"bytes"}, archive=0x80), "the list of its files"),
    ],
)
def test_an_archive_with_a_password_is_refused(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    (tmp_path / name).write_bytes(content)

    assert refused(tmp_path / name) == (
        f"{tmp_path / name} holds {what!r}, which is locked; unpack it with its password and name the folder."
    )


@pytest.mark.parametrize("kind", MAKERS)
def test_a_picture_too_large_for_memory_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_OF_A_MEMBER", 2**20)
    archive = pack({"a.txt": bytes(2**20 + 1), "b.png": bytes(2**20)}, tmp_path / f"a{kind}")
    assert contents(archive) == [bytes(2**20)]

    pack({"a.png": bytes(2**20 + 1)}, archive)
    assert refused(archive) == f"{archive} holds 'a.png', more than 1 MiB unpacked; {TRUST}."


@pytest.mark.parametrize("kind", [".zip", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_a_bomb_is_refused_even_if_it_is_not_wanted(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_IN_ALL", 2 * 2**20)
    archive = pack({"a.txt": bytes(2**20), "b.txt": bytes(2**20)}, tmp_path / f"a{kind}")
    assert contents(archive) == []

    pack({"a.txt": bytes(2**20), "b.txt": bytes(2**20 + 1)}, archive)
    assert refused(archive) == (
        f"{archive} holds 'b.txt', with which it unpacks to 2 MiB, far more than archives of images do; {TRUST}."
    )


def test_a_large_archive_that_is_no_bomb_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_IN_ALL", 1000)

    assert contents(pack(FILES, tmp_path / "a.zip")) == PICTURES


def test_a_zip_that_lies_about_a_size_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    true, claimed = struct.pack("<I", 2**25), struct.pack("<I", 10)
    (tmp_path / "a.zip").write_bytes(zipped({"a.png": bytes(2**25)}).replace(true, claimed))

    tracemalloc.start()
    said = refused(tmp_path / "a.zip")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert "can't be read to its end as an archive (Bad CRC-32 for file 'a.png'); " in said
    assert most < 2**23


def test_a_zip_that_is_not_packed_by_deflate_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.png", b"bytes")

    assert refused(tmp_path / "a.zip") == f"{tmp_path}/a.zip holds 'a.png', which isn't packed by deflate; {TRUST}."


# rar archives whose files are packed, for which a program is asked


def programs(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """A PATH of these shell scripts only: not every machine has the programs that they stand for."""
    folder.mkdir(exist_ok=True)
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\nPATH={os.environ['PATH']}\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A rar archive of files that only programs unpack; what is temporary lies in the folder `temporary`."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    # An empty file that counts as packed is all that a program is needed for: nobody but rar's author can pack.
    (tmp_path / "a b.rar").write_bytes(rared(FILES | {"empty.png": b""}, packed="empty.png"))
    return tmp_path / "a b.rar"


def test_without_a_program_it_is_said_what_to_install(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path / "bin", monkeypatch)

    assert refused(packed) == (
        f"{packed} is a rar archive, which takes one of bsdtar, unar, unrar, 7z to unpack; install one "
        "(apt install libarchive-tools, brew install libarchive), or unpack it and name the folder."
    )


def test_each_program_that_is_here_unpacks(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = [shutil.which(tool) for tool in sources.UNPACKERS]
    for path in filter(None, here):
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / Path(path).name).symlink_to(path)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))

        assert names(packed) == ["a/IMD1.PNG", "b/IMD2.bmp", "empty.png"]
        assert contents(packed) == [*PICTURES, b""]
        shutil.rmtree(tmp_path / "bin")


def test_the_first_program_that_can_unpacks_for_as_long_as_it_is_read(
    packed: Path, unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (unpacked / ".hidden.png").touch()
    able = f'cp -r {unpacked}/. "$5" && test "$6" = "{packed}"'
    programs(tmp_path / "bin", monkeypatch, bsdtar=': > "$5/half.png"; exit 1', unar=able, unrar="exit 1")

    files = sources.files(packed, is_picture)
    assert next(files) == ("a/IMD1.PNG", PICTURES[0])
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    assert list(files) == [("b/IMD2.bmp", PICTURES[1])]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_nothing_temporary_stays_when_reading_stops(
    packed: Path, unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path / "bin", monkeypatch, unar=f'cp -r {unpacked}/. "$5"')

    files = sources.files(packed, is_picture)
    next(files)
    del files
    assert list((tmp_path / "temporary").iterdir()) == []


def test_what_no_program_can_unpack_is_refused(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch, bsdtar="exit 1", unar="echo no; echo such archive >&2; exit 2")

    assert refused(packed) == (
        f"{packed} can't be unpacked by bsdtar or unar (no such archive); "
        "unpack it and name the folder, or delete it and fetch it again."
    )
    assert list((tmp_path / "temporary").iterdir()) == []


def test_what_a_program_unpacked_is_judged_again(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch, unar='ln -s /etc/passwd "$5/a.png"')

    assert refused(packed) == f"{packed} holds 'a.png', a link or a device; {TRUST}."


def test_a_rar_is_judged_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch, unar=f"touch {tmp_path}/unpacked")
    (tmp_path / "a.rar").write_bytes(rared({"a.png": b"bytes", "../b.png": b""}, packed="a.png"))

    assert refused(tmp_path / "a.rar") == (
        f"{tmp_path}/a.rar holds '../b.png', a name that leads out of the archive; {TRUST}."
    )
    assert not (tmp_path / "unpacked").exists()


# Where it is read from


@pytest.fixture
def site(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server with ph2.zip, page.zip (a web page) and, of course, no gone.zip."""
    (folder / "site").mkdir()
    pack(FILES, folder / "site" / "ph2.zip")
    (folder / "site" / "page.zip").write_bytes(b"<!DOCTYPE html><title>Sign in</title>")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder / "site"))) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_environment_names_the_source_first(unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("data/external").mkdir()
    Path("data/external/picture.bmp").touch()
    monkeypatch.setenv("NAEVI_SOURCE", str(unpacked))

    assert sources.locate((), "nothing is here") == unpacked


def test_a_source_that_does_not_exist_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAEVI_SOURCE", "PH2Dataset.rar")

    message = r"^NAEVI_SOURCE names PH2Dataset.rar, which doesn't exist; name a folder or an archive \(.zip, .tar, "
    with pytest.raises(Refusal, match=message):
        sources.locate((), "nothing is here")


def test_an_address_in_the_environment_is_fetched(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAEVI_SOURCE", f"{site}/ph2.zip")

    source = sources.locate((), "nothing is here")

    assert re.fullmatch(r"data/external/ph2-[0-9a-f]{8}\.zip", str(source))
    assert contents(source) == PICTURES


def test_an_address_in_the_environment_that_gives_no_archive_is_refused(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAEVI_SOURCE", f"{site}/page.zip")

    with pytest.raises(Refusal) as refusal:
        sources.locate([f"{site}/ph2.zip"], "nothing is here")

    assert str(refusal.value) == (
        f"{site}/page.zip gives a web page (a login, a list of links), not an archive; "
        "fetch it in another way and name the file by NAEVI_SOURCE."
    )
    assert list(Path("data/external").iterdir()) == []


def test_data_external_is_taken_when_something_lies_there(folder: Path) -> None:
    Path("data/external").mkdir()
    Path("data/external/picture.bmp").touch()

    assert sources.locate(["http://127.0.0.1:1/ph2.zip"], "nothing is here") == Path("data/external")


@pytest.mark.parametrize("left", [[], [".gitignore", "ph2-12345678.zip.part", "ph2-12345678.zip.etag.part"]])
def test_the_first_address_that_gives_an_archive_is_taken(
    site: str, left: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("data/external").mkdir()
    for name in left:
        Path("data/external", name).touch()

    source = sources.locate([f"{site}/{name}.zip" for name in ("gone", "page", "ph2", "never")], "nothing is here")

    assert contents(source) == PICTURES
    assert capsys.readouterr().err == (
        f"{site}/gone.zip can't be fetched (404 File not found); "
        "fetch it in another way and name the file by NAEVI_SOURCE.\n"
        f"{site}/page.zip gives a web page (a login, a list of links), not an archive; "
        "fetch it in another way and name the file by NAEVI_SOURCE.\n"
    )
    assert sources.locate((), "nothing is here") == Path("data/external")


@pytest.mark.parametrize("empty_folder", [True, False])
@pytest.mark.parametrize("addresses", [[], ["http://127.0.0.1:1/ph2.zip"]])
def test_without_a_source_the_ways_on_are_told(
    folder: Path, empty_folder: bool, addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    if empty_folder:
        Path("data/external").mkdir()

    with pytest.raises(Refusal, match=r"^nothing is here\nbut this may help$"):
        sources.locate(addresses, "nothing is here\nbut this may help")
