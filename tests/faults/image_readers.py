"""Readers of a user's images, masks, archives and tables, with inputs to try."""

import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from naevi.config import ReadingConfig, parse_config
from naevi.datasets.decoding import read_image
from naevi.datasets.folder import import_folder
from naevi.datasets.legend import Legend
from naevi.datasets.mask_values import read_mask_values
from naevi.datasets.raw import write_folder
from naevi.files import read_yaml
from naevi.images.files import read_mask, write_mask
from naevi.workspace import Workspace
from tests.datasets.archive_files import create_rar, create_tar, create_zip
from tests.faults.damaged_bytes import spoilt
from tests.faults.reader import Reader
from tests.helpers import ROOT

VALUES = [0, 255]
LEGENDS = [Legend(VALUES, []), Legend(VALUES, [128], are_colors=True), Legend(VALUES, [], one_class=True)]
PARAMS = read_yaml(ROOT / "params.yaml")
DATA = parse_config(
    PARAMS | {"data": PARAMS["data"] | {"source": "folder", "path": "archive", "classes": {"a": 0, "b": 255}}}
).data
READING = ReadingConfig(orientation="auto", white="auto", image_alpha="white", mask_alpha="auto", pages="first")
RNG = np.random.default_rng(0)


def a_picture(mode: str = "RGB") -> Image.Image:
    rgb = Image.fromarray(RNG.integers(0, 256, (8, 6, 3), dtype=np.uint8))
    return Image.fromarray(RNG.integers(0, 2**16, (8, 6), dtype=np.uint16)) if mode == "I;16" else rgb.convert(mode)


def a_mask(level: int = 255) -> Image.Image:
    return Image.fromarray(np.eye(8, 6, dtype=np.uint8) * np.uint8(level))


def saved(picture: Image.Image, kind: str, **settings: Any) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **settings)
    return content.getvalue()


def archive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """An archive of a user's images, through all of data/raw."""
    files = {"images/a.png": saved(a_picture(), "PNG"), "masks/a.png": saved(a_mask(), "PNG"), "labels.csv": LABELS[0]}
    tar, packed = create_tar(files, ""), create_rar(files)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as stored:
        for name, data in files.items():
            stored.writestr(name, data)
    pax = io.BytesIO()
    with tarfile.open(fileobj=pax, mode="w", format=tarfile.PAX_FORMAT) as long:
        for name, data in files.items():
            info = tarfile.TarInfo(f"{'x' * 120}/{name}")
            info.size, info.pax_headers = len(data), {"comment": "é"}
            long.addfile(info, io.BytesIO(data))
    valid = [create_zip(files), content.getvalue(), packed, tar, pax.getvalue()]
    wrapped = [gzip.compress, lzma.compress]
    workspace = Workspace(folder)

    def read(data: bytes) -> None:
        (folder / "archive").write_bytes(data)
        write_folder(workspace, folder / "raw", DATA)

    inner = st.tuples(spoilt([tar, pax.getvalue()]), st.sampled_from(wrapped)).map(lambda pair: pair[1](pair[0]))
    outer = [*valid, *(create_tar(files, kind) for kind in ("gz", "bz2", "xz"))]
    return Reader(read, outer, spoilt(outer) | spoilt(outer) | inner)


def pictures() -> list[bytes]:
    rgb = a_picture()
    turned = Image.Exif()
    turned[0x0112] = 6
    return [
        *(saved(a_picture(mode), "PNG") for mode in ("RGB", "RGBA", "P", "L", "LA", "1", "I;16")),
        saved(rgb, "BMP"),
        saved(rgb, "JPEG", exif=turned),
        saved(rgb.convert("CMYK"), "JPEG", progressive=True),
        *(saved(rgb, "TIFF", compression=kind) for kind in ("raw", "tiff_lzw", "tiff_deflate", "jpeg")),
        saved(a_picture("I;16"), "TIFF"),
        saved(rgb, "WEBP"),
        saved(rgb, "WEBP", lossless=True),
        saved(rgb, "GIF", save_all=True, append_images=[a_picture()]),
        saved(rgb, "JPEG2000"),
        saved(rgb, "PPM"),
        saved(a_picture("L"), "PPM"),
    ]


def image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A picture of any format."""
    valid = pictures()
    return Reader(lambda data: read_image(data, "a.png", READING), valid, spoilt(valid))


def mask(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A mask from elsewhere, to its classes."""
    grey = a_mask()
    valid = [saved(grey, kind) for kind in ("PNG", "BMP", "TIFF", "GIF", "PPM", "JPEG2000")]
    valid += [saved(grey.convert(mode), "PNG") for mode in ("1", "P", "RGB", "RGBA")]
    deep = [saved(Image.fromarray(np.eye(8, 6, dtype=np.uint16) * 255), kind) for kind in ("PNG", "TIFF")]

    def read(given: tuple[bytes, Legend]) -> None:
        data, legend = given
        levels = read_mask_values(data, "a.png", legend, READING).values
        legend.undeclared(levels)
        legend.to_classes(legend.nearest(levels))

    read_by_all = [(data, legend) for data in valid for legend in LEGENDS]
    with_gray_levels = [(data, legend) for data in deep for legend in LEGENDS if not legend.are_colors]
    return Reader(read, read_by_all + with_gray_levels, st.tuples(spoilt(valid + deep), st.sampled_from(LEGENDS)))


def own_mask(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A mask of data/raw."""
    write_mask(folder / "a.png", np.eye(8, 6, dtype=np.uint8))
    valid = [(folder / "a.png").read_bytes()]

    def read(data: bytes) -> None:
        (folder / "b.png").write_bytes(data)
        read_mask(folder / "b.png")

    return Reader(read, valid, spoilt(valid))


LABELS = [
    b"image_id,diagnosis,group,split\na,common,1,train\n",
    b'\xef\xbb\xbfimage_id, label ,note\n\n a.png , common nevus, "x,\n y"\n',
    "image_id,class,fold\r\na,Nävus,0\r\n".encode(),
]


def labels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A labels.csv beside one image and its mask."""
    pair = [("images", "images/a.png", saved(a_picture(), "PNG")), ("masks", "masks/a.png", saved(a_mask(), "PNG"))]

    def read(data: bytes) -> None:
        import_folder([*pair, ("labels", "labels.csv", data)], folder, DATA)

    return Reader(read, LABELS, spoilt(LABELS))


def file_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Names of an image and its mask, as archives may have them."""
    picture, grey = saved(a_picture(), "PNG"), saved(a_mask(), "PNG")

    def read(names: tuple[str, str]) -> None:
        import_folder([("images", names[0], picture), ("masks", names[1], grey)], folder / "names", DATA)

    text = st.text(max_size=300) | st.text("aä/.\\\0 _-" + "\u0130\udcff", max_size=300)
    text = text | st.integers(100, 300).map("ä".__mul__)
    name = st.builds("{}{}".format, text, st.sampled_from([".png", ".PNG", "_mask.jpg", ""])).filter(len)
    return Reader(read, [("a.png", "a_mask.png")], st.tuples(name, name) | name.map(lambda each: (each, each)))
