"""PH2: 200 dermoscopic images of naevi with lesion masks, and what is odd about them.

Mendonça, Ferreira, Marques, Marçal, Rozeira: "PH2 - A dermoscopic image database for research and benchmarking",
EMBC 2013, https://www.fc.up.pt/addi/ph2%20database.html. For research and education only.

80 common nevi, 80 atypical nevi, 40 melanomas in 24 sizes, 761 to 769 px wide and 553 to 577 px high (the paper states
768x560). 199 masks are 1-bit BMP, IMD002's is 24-bit. The archive also holds masks of color regions, which aren't used.

A picture is recognized by the SHA-256 of its pixels in data/ph2.csv, whatever a mirror calls it.
"""

import io
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from naevi import paths
from naevi.images import SUFFIXES, Pixels, pixel_sha256, read_image, write_image, write_mask
from naevi.refusal import Refusal, reason, some

# Of the authors, and a public copy. Neither could be tried where this was written.
ADDRESSES = (
    "https://www.dropbox.com/s/k88qukc20ljnbuo/PH2Dataset.rar?dl=1",
    "https://github.com/chelseaparlett/SkinCancerVariation/archive/e06866b70a49acfba5762f289ca169f056e97997.zip",
)
MISSING = (
    "the PH2 images are not here yet, and the ways on are:\n"
    "  NAEVI_SOURCE=<PH2 archive, folder or address> make repro\n"
    f"  put the archive or folder into {paths.EXTERNAL}/, then make repro\n"
    "  make demo   (the whole pipeline on generated images)\n"
    "PH2 is free for research and education: https://www.fc.up.pt/addi/ph2%20database.html"
)

TABLES = ("ph2_dataset.xlsx", "ph2_dataset.txt")
DIAGNOSES = {"Common Nevus": "common", "Atypical Nevus": "atypical", "Melanoma": "melanoma"}
# "|| IMD003 ||   ||  0 || 0 | T | ...": name, histological diagnosis, clinical one as a place in DIAGNOSES, criteria
ROW = re.compile(r"^\|\|\s*(IMD\d{3})\s*\|\|[^|]*\|\|\s*([012])\s*\|\|", re.MULTILINE)


def manifest() -> pd.DataFrame:
    """One row per PH2 image: image_id, diagnosis, image_sha256, mask_sha256."""
    return pd.read_csv(paths.MANIFEST)


def wanted(name: str) -> bool:
    """Whether a file by its name is a picture or one of PH2's tables."""
    return name.lower().endswith((*SUFFIXES, *TABLES))


def collect(files: Iterable[tuple[str, bytes]], folder: Path) -> pd.DataFrame:
    """Write the pictures that are PH2 to folder/images and folder/masks (0 skin, 1 lesion).

    Returns labels (image_id, diagnosis). Raises Refusal when not all 200 images and masks are among the files, saying
    which, and when a table among them gives other diagnoses than data/ph2.csv.
    """
    known = manifest()
    targets = {
        digest: Path("images", f"{name}.png") for name, digest in zip(known.image_id, known.image_sha256, strict=True)
    }
    targets |= {
        digest: Path("masks", f"{name}.png") for name, digest in zip(known.image_id, known.mask_sha256, strict=True)
    }
    found: set[str] = set()
    seen = 0
    for name, data in files:
        if name.lower().endswith(TABLES):
            _compare(name, diagnoses(name, data), dict(zip(known.image_id, known.diagnosis, strict=True)))
            continue
        seen += 1
        picture = _readable(data, name)
        digest = pixel_sha256(picture) if picture is not None else ""
        if picture is not None and digest in targets and digest not in found:
            target = folder / targets[digest]
            if target.parent.name == "masks":
                write_mask(target, (picture[..., 0] > 0).astype(np.uint8))
            else:
                write_image(target, picture)
            found.add(digest)
    lacking = known[~(known.image_sha256.isin(found) & known.mask_sha256.isin(found))].image_id
    if len(lacking):
        raise Refusal(
            f"{seen} pictures were read, and {len(lacking)} of the {len(known)} PH2 images or masks are not there "
            f"with the pixels that {paths.MANIFEST} asks for ({some(lacking)}); "
            "get the official archive or a lossless copy."
        )
    return known[["image_id", "diagnosis"]]


def diagnoses(name: str, data: bytes) -> dict[str, str]:
    """The clinical diagnosis by image id in PH2_dataset.xlsx or PH2_dataset.txt; empty for tables of another layout.

    Raises Refusal for a spoilt xlsx.
    """
    if name.lower().endswith(".txt"):
        classes = list(DIAGNOSES.values())
        return {image_id: classes[int(number)] for image_id, number in ROW.findall(data.decode("latin-1"))}
    try:
        table = pd.read_excel(io.BytesIO(data), header=None, dtype=str, engine="calamine")
    except Exception as error:  # calamine has errors of its own, a spoilt zip others
        raise Refusal(f"{name} can't be read as a table ({reason(error)}); get the official archive.") from error
    titles = next((row for row in table.itertuples(index=False) if {"Image Name", *DIAGNOSES} <= set(row)), None)
    if titles is None:
        return {}
    table = table.set_axis(list(titles), axis=1)
    return {
        image_id: diagnosis
        for title, diagnosis in DIAGNOSES.items()
        for image_id in table["Image Name"][table[title] == "X"]
    }


def _compare(name: str, told: dict[str, str], known: dict[str, str]) -> None:
    other = sorted({image_id for image_id, _ in told.items() ^ known.items()}) if told else []
    if other:
        raise Refusal(
            f"{name} and {paths.MANIFEST} differ in the diagnoses of {some(other)}; get the official archive."
        )


def _readable(data: bytes, name: str) -> Pixels | None:
    """The picture, or None for a file that is none: it then counts as missing, by name."""
    try:
        return read_image(data, name)
    except Refusal:
        return None
