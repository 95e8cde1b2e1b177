"""Archives that aren't read are errors that say what they are and what to do, also among other files."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from naevi.config import Config
from naevi.datasets.raw import build_raw
from naevi.datasets.unread_archives import why_unread
from naevi.deploy.inputs import name_outputs
from naevi.errors import UserError
from naevi.tables import Decision, read_decisions
from tests.datasets.archive_files import FILES, RNG, contents, create_tar, create_zip, error_message
from tests.datasets.image_files import encode, gray
from tests.helpers import HERE

PART = "is a part of an archive. Unpack all parts together, for example with 7-Zip, and use the folder instead."
OTHER = "is an archive of a format that isn't read. Unpack it and use the folder instead."


def piece_of(whole: str) -> str:
    """Return the text about a piece of an archive."""
    return (
        f"is a piece of the archive {whole}. Join all pieces with `cat {whole}.* > {whole}`, unpack it and use the "
        "folder instead."
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x.z01", PART),
        ("x.R00", PART),
        ("deep/x.part1.rar", PART),
        ("x.part02.RAR", PART),
        ("x.zip.001", piece_of("x.zip")),
        ("deep/x.7z.001", piece_of("x.7z")),
        ("x.tar.xz.aa", piece_of("x.tar.xz")),
        ("x.tar.gz.partaa", piece_of("x.tar.gz")),
        ("x.tgz.part1", piece_of("x.tgz")),
        ("x.7z", OTHER),
        ("x.tar.zst", OTHER),
        *((name, "") for name in ("x.tar.gz", "x.zip", "x.rar", "x_part_1.zip", "x.zip.part", "scan.nii.gz", "x.001")),
    ],
)
def test_an_archive_that_is_not_read_is_recognized_by_its_name(name: str, expected: str) -> None:
    assert why_unread(name) == expected


@pytest.mark.parametrize("name", ["x.zip.001", "x.part1.rar", "x.7z"])
def test_such_a_source_is_an_error(tmp_path: Path, name: str) -> None:
    """Its first bytes may be those of an archive that is read."""
    (tmp_path / name).write_bytes(create_zip(FILES)[:2000])

    assert error_message(tmp_path / name) == f"{tmp_path / name} {why_unread(name)}"
    with pytest.raises(UserError, match=f"{name} is a"):  # of predict
        name_outputs([tmp_path / name], tmp_path / "out")


def test_the_last_part_of_a_zip_is_recognized_without_the_others(tmp_path: Path) -> None:
    """Its last record has the number of this part, at the fourth byte."""
    content = create_zip(FILES)
    end = content.rindex(b"PK\x05\x06")
    (tmp_path / "x.zip").write_bytes(content[1000 : end + 4] + b"\1\0" + content[end + 6 :])

    assert error_message(tmp_path / "x.zip") == f"{tmp_path / 'x.zip'} {PART}"


@pytest.mark.skipif(not shutil.which("zip"), reason="zip isn't installed")
def test_parts_that_zip_has_made_are_recognized(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(RNG.bytes(150_000))
    subprocess.run(["zip", "-q", "-s", "64k", "x.zip", "a.png"], cwd=tmp_path, check=True)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "x.z01", "x.z02", "x.zip"]
    for name in ("x.z01", "x.zip"):
        assert error_message(tmp_path / name) == f"{tmp_path / name} {PART}"


def test_a_tbz2_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.tbz2").write_bytes(create_tar({"a.png": b"bytes"}, "bz2"))

    assert contents(tmp_path) == [b"bytes"]


def test_among_other_files_they_are_refused_or_left_out(
    folder: Path, config_with: Callable[[dict[str, Any]], Config]
) -> None:
    """A zip in a zip is not read either. PH2's data/external/ may have anything in it."""
    (folder / "mine").mkdir()
    files = {"images/a.png": encode(gray([[1, 2]])), "masks/a.png": encode(gray([[0, 255]])), "more.zip": b"PK"}
    (folder / "mine/a.zip").write_bytes(create_zip(files))
    (folder / "mine/x.tar.xz.aa").write_bytes(b"any")
    settings = {"data.source": "folder", "data.path": "mine", "data.classes": {"skin": 0, "lesion": 255}}

    with pytest.raises(UserError) as error:
        build_raw(HERE, config_with(settings).data)
    assert str(error.value).split("\n  ") == [
        "2 archive(s) can't be read. To leave them out, set data.mismatches to leave-out.",
        "more.zip is an archive inside another one. Unpack the outer one and use the folder instead.",
        f"x.tar.xz.aa {piece_of('x.tar.xz')}",
    ]

    build_raw(HERE, config_with(settings | {"data.mismatches": "leave-out"}).data)

    text = "Files that are no images, masks or tables (.csv), not used"
    assert read_decisions(HERE) == [Decision(text, ["more.zip", "x.tar.xz.aa"], "data.path")]
