"""PH2 is known by its pixels. Here two random pictures of 6 x 5 px play PH2; the manifest in git is the real one."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from naevi import paths, ph2, sources
from naevi.images import Pixels, read_image, read_mask
from naevi.refusal import Refusal
from tests.conftest import ROOT

Alike = dict[str, tuple[Pixels, Pixels]]


def encoded(pixels: Pixels, kind: str = "BMP", mode: str = "RGB") -> bytes:
    """The bytes of a picture file."""
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, kind)
    return content.getvalue()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A folder as raw.fill gives it."""
    for part in ("images", "masks"):
        (tmp_path / "target" / part).mkdir(parents=True)
    return tmp_path / "target"


def files(alike: Alike) -> list[tuple[str, bytes]]:
    """Names and BMPs: IMD001's image and mask, then IMD002's."""
    return [(str(number), encoded(each)) for number, each in enumerate(sum(alike.values(), ()))]


def test_pictures_are_recognized_in_any_order_and_by_no_name(ph2_alike: Alike, target: Path) -> None:
    labels = ph2.collect(reversed(files(ph2_alike)), target)

    assert labels.to_dict("list") == {"image_id": ["IMD001", "IMD002"], "diagnosis": ["common", "common"]}
    for image_id, (image, mask) in ph2_alike.items():
        assert np.array_equal(read_image(target / "images" / f"{image_id}.png"), image)
        assert np.array_equal(read_mask(target / "masks" / f"{image_id}.png"), mask[..., 0] // 255)


def test_a_png_copy_and_masks_of_one_bit_or_in_rgb_do_as_well(ph2_alike: Alike, target: Path) -> None:
    (image_1, mask_1), (image_2, mask_2) = ph2_alike.values()
    pictures = [
        ("a", encoded(image_1, "PNG")),
        ("b", encoded(mask_1, "BMP", mode="1")),
        ("c", encoded(image_2, "TIFF")),
        ("d", encoded(mask_2, "PNG", mode="RGB")),
    ]

    assert len(ph2.collect(pictures, target)) == 2
    assert np.array_equal(read_mask(target / "masks" / "IMD001.png"), mask_1[..., 0] // 255)


def test_other_pictures_and_second_copies_are_left_out(ph2_alike: Alike, target: Path) -> None:
    other = ("IMD003.bmp", encoded(np.zeros((5, 6, 3), np.uint8)))
    ph2.collect([other, *files(ph2_alike), *files(ph2_alike)], target)

    found = sorted(str(path.relative_to(target)) for path in target.rglob("*.png"))
    assert found == ["images/IMD001.png", "images/IMD002.png", "masks/IMD001.png", "masks/IMD002.png"]


@pytest.mark.parametrize("spoilt", [b"", b"no picture", "one pixel"])
def test_a_picture_that_is_spoilt_counts_as_missing(ph2_alike: Alike, target: Path, spoilt: bytes | str) -> None:
    pictures = files(ph2_alike)
    if isinstance(spoilt, str):
        mask = ph2_alike["IMD002"][1].copy()
        mask[0, 0] = 255 - mask[0, 0]
        spoilt = encoded(mask)
    pictures[3] = ("IMD002_lesion.bmp", spoilt)

    with pytest.raises(Refusal) as refusal:
        ph2.collect(pictures, target)

    assert str(refusal.value) == (
        "4 pictures were read, and 1 of the 2 PH2 images or masks are not there with the pixels that "
        "data/ph2.csv asks for (IMD002); get the official archive or a lossless copy."
    )


def test_of_many_missing_pictures_ten_are_named(folder: Path, target: Path) -> None:
    with pytest.raises(Refusal, match=r"^0 pictures .* 200 of the 200 PH2 .*\((IMD\d{3}, ){10}…\);"):
        ph2.collect([], target)


# The two tables of the official archive, as they are laid out there


def row_of_text(image_id: str, number: int) -> str:
    return f"|| {image_id} ||                        || {number:18} ||         0 |               T ||          4 ||\n"


def text(told: dict[str, int]) -> bytes:
    """PH2_dataset.txt: names and what there is to read between double bars, then what the numbers mean."""
    title = "||  Name  || Histological Diagnosis || Clinical Diagnosis || Asymmetry | Pigment Network ||   Colors ||\n"
    legend = "\nLegends:\nClinical Diagnosis:  0 - Common Nevus; 1 - Atypical Nevus; 2 - Melanoma.\n"
    return (title + "".join(row_of_text(*item) for item in told.items()) + legend).encode()


def workbook(told: dict[str, int], title: str = "Image Name") -> bytes:
    """PH2_dataset.xlsx: a legend, titles in a row further down, and an X in the column of the diagnosis."""
    rows: list[list[str]] = [["", "Asymmetry", "0", "Fully Simmetric"], [], ["", "", "Clinical Diagnosis"]]
    rows += [[title, "Histological Diagnosis", "Common Nevus", "Atypical Nevus", "Melanoma", "Asymmetry"]]
    rows += [
        [image_id, "Melanoma", *("X" if place == number else "" for place in range(3)), "0"]
        for image_id, number in told.items()
    ]
    cells = "".join(
        f'<row r="{row}">'
        + "".join(
            f'<c r="{"ABCDEF"[place]}{row}" t="inlineStr"><is><t>{value}</t></is></c>'
            for place, value in enumerate(values)
            if value
        )
        + "</row>"
        for row, values in enumerate(rows, start=3)
    )
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    package = "http://schemas.openxmlformats.org/package/2006"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as book:
        book.writestr("[Content_Types].xml", f'<Types xmlns="{package}/content-types"/>')
        book.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships">'
            f'<Relationship Id="r1" Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        book.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}/relationships">'
            f'<Relationship Id="r1" Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        )
        book.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}" xmlns:r="{office}">'
            '<sheets><sheet name="PH2" sheetId="1" r:id="r1"/></sheets></workbook>',
        )
        book.writestr(
            "xl/worksheets/sheet1.xml", f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>'
        )
    return content.getvalue()


TABLES = [("PH2Dataset/PH2_dataset.txt", text), ("PH2Dataset/PH2_dataset.xlsx", workbook)]


@pytest.mark.parametrize(("name", "table"), TABLES)
def test_a_table_tells_each_diagnosis(name: str, table: Callable[[dict[str, int]], bytes]) -> None:
    told = ph2.diagnoses(name, table({"IMD003": 0, "IMD002": 1, "IMD058": 2}))

    assert told == {"IMD003": "common", "IMD002": "atypical", "IMD058": "melanoma"}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("PH2_dataset.txt", b"Name\tClinical Diagnosis\tAsymmetry\nIMD003\t0\t0\n"),
        ("PH2_dataset.txt", b""),
        ("PH2_dataset.txt", b"\xff\xfe\0"),
        ("PH2_dataset.xlsx", workbook({"IMD003": 0}, title="Picture")),
    ],
)
def test_a_table_of_another_layout_tells_nothing(ph2_alike: Alike, target: Path, name: str, data: bytes) -> None:
    assert ph2.diagnoses(name, data) == {}
    assert len(ph2.collect([(name, data), *files(ph2_alike)], target)) == 2


@pytest.mark.parametrize("data", [b"", b"no workbook", workbook({"IMD003": 0})[:300]])
def test_a_spoilt_workbook_is_refused(data: bytes) -> None:
    with pytest.raises(
        Refusal, match=r"^a/PH2_dataset.xlsx can't be read as a table \(.+\); get the official archive.$"
    ):
        ph2.diagnoses("a/PH2_dataset.xlsx", data)


@pytest.mark.parametrize(("name", "table"), TABLES)
def test_a_table_that_agrees_with_the_manifest_lets_the_pictures_in(
    ph2_alike: Alike, target: Path, name: str, table: Callable[[dict[str, int]], bytes]
) -> None:
    assert len(ph2.collect([(name, table({"IMD002": 0, "IMD001": 0})), *files(ph2_alike)], target)) == 2


@pytest.mark.parametrize(
    ("told", "wrong"),
    [({"IMD001": 0, "IMD002": 2}, "IMD002"), ({"IMD003": 0, "IMD002": 0}, "IMD001, IMD003")],
)
@pytest.mark.parametrize(("name", "table"), TABLES)
def test_a_table_that_differs_from_the_manifest_is_refused(
    ph2_alike: Alike,
    target: Path,
    name: str,
    table: Callable[[dict[str, int]], bytes],
    told: dict[str, int],
    wrong: str,
) -> None:
    with pytest.raises(Refusal) as refusal:
        ph2.collect([*files(ph2_alike), (name, table(told))], target)

    assert str(refusal.value) == (
        f"{name} and data/ph2.csv differ in the diagnoses of {wrong}; get the official archive."
    )


# Where it comes from


@pytest.mark.parametrize(
    ("name", "is_wanted"),
    [
        ("PH2 Dataset images/IMD002/IMD002_lesion/IMD002_lesion.BMP", True),
        ("PH2Dataset/PH2_dataset.xlsx", True),
        ("ph2_dataset.txt", True),
        ("Readme.txt", False),
        ("IMD002.bmp/notes", False),
    ],
)
def test_pictures_and_tables_are_wanted(name: str, is_wanted: bool) -> None:
    assert ph2.wanted(name) == is_wanted


def test_the_ways_to_the_images_are_told() -> None:
    assert ph2.MISSING.splitlines() == [
        "the PH2 images are not here yet, and the ways on are:",
        "  NAEVI_SOURCE=<PH2 archive, folder or address> make repro",
        "  put the archive or folder into data/external/, then make repro",
        "  make demo   (the whole pipeline on generated images)",
        "PH2 is free for research and education: https://www.fc.up.pt/addi/ph2%20database.html",
    ]
    assert all(address.startswith("https://") for address in ph2.ADDRESSES)


def test_the_manifest_in_git_has_all_of_ph2(folder: Path) -> None:
    manifest = pd.read_csv(paths.MANIFEST)
    hashes = pd.concat([manifest.image_sha256, manifest.mask_sha256])

    assert list(manifest.columns) == ["image_id", "diagnosis", "image_sha256", "mask_sha256"]
    assert manifest.diagnosis.value_counts().to_dict() == {"common": 80, "atypical": 80, "melanoma": 40}
    assert manifest.image_id.is_unique
    assert manifest.image_id.str.fullmatch(r"IMD\d{3}").all()
    assert hashes.is_unique
    assert hashes.str.fullmatch("[0-9a-f]{64}").all()


@pytest.mark.skipif("NAEVI_SOURCE" not in os.environ, reason="NAEVI_SOURCE names no PH2 archive or folder")
def test_the_real_archive_holds_every_image_and_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And each lands under its own id, at its own size."""
    monkeypatch.chdir(ROOT)
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()

    source = Path(os.environ["NAEVI_SOURCE"])
    labels = ph2.collect(sources.files(source, ph2.wanted), tmp_path)

    assert len(labels) == 200
    sizes = {read_image(path).shape for path in (tmp_path / "images").glob("*.png")}
    assert len(sizes) == 24
    assert sum(1 for _ in (tmp_path / "masks").glob("IMD*.png")) == 200


@pytest.mark.skipif("NAEVI_SOURCE" not in os.environ, reason="NAEVI_SOURCE names no PH2 archive or folder")
def test_the_real_table_tells_what_the_manifest_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workbook; where a mirror has its own text in place of the official one, that tells nothing."""
    monkeypatch.chdir(ROOT)
    known = pd.read_csv(paths.MANIFEST).set_index("image_id").diagnosis.to_dict()
    source = Path(os.environ["NAEVI_SOURCE"])

    for name, data in sources.files(source, lambda name: name.lower().endswith(ph2.TABLES)):
        told = ph2.diagnoses(name, data)
        assert told == known or (told == {} and name.endswith(".txt"))
