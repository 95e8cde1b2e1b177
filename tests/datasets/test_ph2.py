"""PH2's images are recognized by their pixels. In most tests, two random images of 6 x 5 px replace PH2."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from naevi.datasets import raw
from naevi.datasets.archives import read_files
from naevi.datasets.ph2 import PH2_ADDRESSES, TABLE_NAMES, import_ph2, is_ph2_file, read_diagnoses
from naevi.errors import UserError
from naevi.images.files import Pixels, read_image, read_mask
from tests.helpers import HERE, ROOT

Alike = dict[str, tuple[Pixels, Pixels]]


def encode(pixels: Pixels, file_format: str = "BMP", mode: str = "RGB") -> bytes:
    """Return the content of an image file."""
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, file_format)
    return content.getvalue()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return a folder as fill_raw creates it."""
    for subfolder in ("images", "masks"):
        (tmp_path / "target" / subfolder).mkdir(parents=True)
    return tmp_path / "target"


def files(alike: Alike) -> list[tuple[str, bytes]]:
    """Return the names and contents of BMP files: IMD001's image and mask, then IMD002's."""
    return [(str(number), encode(pixels)) for number, pixels in enumerate(sum(alike.values(), ()))]


def test_images_are_recognized_in_any_order_and_without_their_names(ph2_alike: Alike, target: Path) -> None:
    labels = import_ph2(HERE, reversed(files(ph2_alike)), target)

    assert labels.to_dict("list") == {"image_id": ["IMD001", "IMD002"], "diagnosis": ["common", "common"]}
    for image_id, (image, mask) in ph2_alike.items():
        assert np.array_equal(read_image(target / "images" / f"{image_id}.png"), image)
        assert np.array_equal(read_mask(target / "masks" / f"{image_id}.png"), mask[..., 0] // 255)


def test_other_lossless_formats_are_recognized_too(ph2_alike: Alike, target: Path) -> None:
    (image_1, mask_1), (image_2, mask_2) = ph2_alike.values()
    images = [
        ("a", encode(image_1, "PNG")),
        ("b", encode(mask_1, "BMP", mode="1")),
        ("c", encode(image_2, "TIFF")),
        ("d", encode(mask_2, "PNG", mode="RGB")),
    ]

    assert len(import_ph2(HERE, images, target)) == 2
    assert np.array_equal(read_mask(target / "masks" / "IMD001.png"), mask_1[..., 0] // 255)


def test_other_images_and_duplicates_are_ignored(ph2_alike: Alike, target: Path) -> None:
    other = ("IMD003.bmp", encode(np.zeros((5, 6, 3), np.uint8)))
    import_ph2(HERE, [other, *files(ph2_alike), *files(ph2_alike)], target)

    written = sorted(str(path.relative_to(target)) for path in target.rglob("*.png"))
    assert written == ["images/IMD001.png", "images/IMD002.png", "masks/IMD001.png", "masks/IMD002.png"]


@pytest.mark.parametrize("content", [b"", b"not an image", "one pixel"])
def test_a_corrupt_image_counts_as_missing(ph2_alike: Alike, target: Path, content: bytes | str) -> None:
    images = files(ph2_alike)
    if isinstance(content, str):
        mask = ph2_alike["IMD002"][1].copy()
        mask[0, 0] = 255 - mask[0, 0]
        content = encode(mask)
    images[3] = ("IMD002_lesion.bmp", content)

    with pytest.raises(UserError) as error:
        import_ph2(HERE, images, target)

    assert str(error.value) == (
        "1 of the 2 PH2 images or their masks are missing among 4 image files, or their pixels differ from "
        "data/ph2.csv: IMD002. Use the official archive or a lossless copy."
    )


def test_up_to_ten_missing_images_are_listed(folder: Path, target: Path) -> None:
    with pytest.raises(UserError, match=r"^200 of the 200 PH2 .* among 0 image .*: (IMD\d{3}, ){10}…\. Use"):
        import_ph2(HERE, [], target)


# The two tables of the official archive, in their layout


def text_row(image_id: str, number: int) -> str:
    """Return a row of PH2_dataset.txt."""
    return f"|| {image_id} ||                        || {number:18} ||         0 |               T ||          4 ||\n"


def text(diagnoses: dict[str, int]) -> bytes:
    """Return PH2_dataset.txt: cells between double bars, then a legend of the numbers."""
    title = "||  Name  || Histological Diagnosis || Clinical Diagnosis || Asymmetry | Pigment Network ||   Colors ||\n"
    legend = "\nLegends:\nClinical Diagnosis:  0 - Common Nevus; 1 - Atypical Nevus; 2 - Melanoma.\n"
    return (title + "".join(text_row(*item) for item in diagnoses.items()) + legend).encode()


def workbook(diagnoses: dict[str, int], title: str = "Image Name") -> bytes:
    """Return PH2_dataset.xlsx: a legend, titles in a row below it, and an X in the column of the diagnosis."""
    rows: list[list[str]] = [["", "Asymmetry", "0", "Fully Simmetric"], [], ["", "", "Clinical Diagnosis"]]
    rows += [[title, "Histological Diagnosis", "Common Nevus", "Atypical Nevus", "Melanoma", "Asymmetry"]]
    rows += [
        [image_id, "Melanoma", *("X" if column == number else "" for column in range(3)), "0"]
        for image_id, number in diagnoses.items()
    ]
    cells = "".join(
        f'<row r="{row}">'
        + "".join(
            f'<c r="{"ABCDEF"[column]}{row}" t="inlineStr"><is><t>{value}</t></is></c>'
            for column, value in enumerate(values)
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
def test_a_table_gives_each_diagnosis(name: str, table: Callable[[dict[str, int]], bytes]) -> None:
    diagnoses = read_diagnoses(name, table({"IMD003": 0, "IMD002": 1, "IMD058": 2}))

    assert diagnoses == {"IMD003": "common", "IMD002": "atypical", "IMD058": "melanoma"}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("PH2_dataset.txt", b"Name\tClinical Diagnosis\tAsymmetry\nIMD003\t0\t0\n"),
        ("PH2_dataset.txt", b""),
        ("PH2_dataset.txt", b"\xff\xfe\0"),
        ("PH2_dataset.xlsx", workbook({"IMD003": 0}, title="Picture")),
    ],
)
def test_a_table_with_another_layout_gives_nothing(ph2_alike: Alike, target: Path, name: str, data: bytes) -> None:
    assert read_diagnoses(name, data) == {}
    assert len(import_ph2(HERE, [(name, data), *files(ph2_alike)], target)) == 2


@pytest.mark.parametrize("data", [b"", b"not a workbook", workbook({"IMD003": 0})[:300]])
def test_a_corrupt_workbook_is_an_error(data: bytes) -> None:
    with pytest.raises(
        UserError, match=r"^a/PH2_dataset.xlsx can't be read as a table \(.+\)\. Use the official archive\.$"
    ):
        read_diagnoses("a/PH2_dataset.xlsx", data)


@pytest.mark.parametrize(("name", "table"), TABLES)
def test_a_table_may_agree_with_the_manifest(
    ph2_alike: Alike, target: Path, name: str, table: Callable[[dict[str, int]], bytes]
) -> None:
    assert len(import_ph2(HERE, [(name, table({"IMD002": 0, "IMD001": 0})), *files(ph2_alike)], target)) == 2


@pytest.mark.parametrize(
    ("diagnoses", "different"),
    [({"IMD001": 0, "IMD002": 2}, "IMD002"), ({"IMD003": 0, "IMD002": 0}, "IMD001, IMD003")],
)
@pytest.mark.parametrize(("name", "table"), TABLES)
def test_a_table_that_differs_from_the_manifest_is_an_error(
    ph2_alike: Alike,
    target: Path,
    name: str,
    table: Callable[[dict[str, int]], bytes],
    diagnoses: dict[str, int],
    different: str,
) -> None:
    with pytest.raises(UserError) as error:
        import_ph2(HERE, [*files(ph2_alike), (name, table(diagnoses))], target)

    assert str(error.value) == (
        f"{name} and data/ph2.csv have different diagnoses for {different}. Use the official archive."
    )


# Sources


@pytest.mark.parametrize(
    ("name", "is_selected"),
    [
        ("PH2 Dataset images/IMD002/IMD002_lesion/IMD002_lesion.BMP", True),
        ("PH2Dataset/PH2_dataset.xlsx", True),
        ("ph2_dataset.txt", True),
        ("Readme.txt", False),
        ("IMD002.bmp/notes", False),
    ],
)
def test_images_and_tables_are_selected(name: str, is_selected: bool) -> None:
    assert is_ph2_file(name) == is_selected


def test_without_ph2_the_error_says_how_to_get_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "PH2_ADDRESSES", ())
    with pytest.raises(UserError) as error:
        raw.write_ph2(HERE, folder)

    assert str(error.value).splitlines() == [
        "PH2 images not found. Either:",
        "  NAEVI_SOURCE=<PH2 archive, folder or address> make repro",
        "  put the archive or folder into data/external/, then run make repro",
        "  make demo   (the whole pipeline on synthetic images)",
        "PH2 is free for research and education: https://www.fc.up.pt/addi/ph2%20database.html",
    ]


def test_ph2_is_downloaded_over_https() -> None:
    assert PH2_ADDRESSES
    assert all(address.startswith("https://") for address in PH2_ADDRESSES)


def test_the_manifest_in_git_lists_all_of_ph2(folder: Path) -> None:
    manifest = pd.read_csv(HERE.ph2_manifest)
    hashes = pd.concat([manifest.image_sha256, manifest.mask_sha256])

    assert list(manifest.columns) == ["image_id", "diagnosis", "image_sha256", "mask_sha256"]
    assert manifest.diagnosis.value_counts().to_dict() == {"common": 80, "atypical": 80, "melanoma": 40}
    assert manifest.image_id.is_unique
    assert manifest.image_id.str.fullmatch(r"IMD\d{3}").all()
    assert hashes.is_unique
    assert hashes.str.fullmatch("[0-9a-f]{64}").all()


@pytest.mark.slow
@pytest.mark.skipif("NAEVI_SOURCE" not in os.environ, reason="NAEVI_SOURCE must name a PH2 archive or folder")
def test_the_real_archive_has_every_image_and_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is written with its id and size."""
    monkeypatch.chdir(ROOT)
    for subfolder in ("images", "masks"):
        (tmp_path / subfolder).mkdir()

    source = Path(os.environ["NAEVI_SOURCE"])
    labels = import_ph2(HERE, read_files(source, is_ph2_file), tmp_path)

    assert len(labels) == 200
    sizes = {read_image(path).shape for path in (tmp_path / "images").glob("*.png")}
    assert len(sizes) == 24
    assert sum(1 for _ in (tmp_path / "masks").glob("IMD*.png")) == 200


@pytest.mark.skipif("NAEVI_SOURCE" not in os.environ, reason="NAEVI_SOURCE must name a PH2 archive or folder")
def test_the_real_table_agrees_with_the_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror may have replaced the official text by its own, which gives no diagnoses. The workbook must agree."""
    monkeypatch.chdir(ROOT)
    expected = pd.read_csv(HERE.ph2_manifest).set_index("image_id").diagnosis.to_dict()
    source = Path(os.environ["NAEVI_SOURCE"])

    for name, data in read_files(source, lambda name: name.lower().endswith(TABLE_NAMES)):
        diagnoses = read_diagnoses(name, data)
        assert diagnoses == expected or (diagnoses == {} and name.endswith(".txt"))
