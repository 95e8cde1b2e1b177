"""Read PH2: 200 dermoscopic images of naevi with lesion masks.

Mendonça, Ferreira, Marques, Marçal, Rozeira: "PH2 - A dermoscopic image database for research and benchmarking",
EMBC 2013, https://www.fc.up.pt/addi/ph2%20database.html. For research and education only.

80 common nevi, 80 atypical nevi, 40 melanomas in 24 sizes, 761 to 769 px wide and 553 to 577 px high (the paper states
768x560). 199 masks are 1-bit BMP, IMD002's is 24-bit. The archive also has masks of color regions, which aren't used.

data/ph2.csv lists a SHA-256 pixel hash for each image and mask. Files are recognized by it, so names don't matter.
"""

import io
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from naevi.config import ReadingConfig
from naevi.datasets.decoding import read_image
from naevi.datasets.depth import FULL
from naevi.errors import UserError, describe_error, first_ten
from naevi.images.files import IMAGE_SUFFIXES, Pixels, pixel_sha256, write_image, write_mask
from naevi.workspace import Workspace

# The archive of the authors, and a public copy. Neither could be tested during development.
PH2_ADDRESSES = (
    "https://www.dropbox.com/s/k88qukc20ljnbuo/PH2Dataset.rar?dl=1",
    "https://github.com/chelseaparlett/SkinCancerVariation/archive/e06866b70a49acfba5762f289ca169f056e97997.zip",
)
# Hashes decide which files are from PH2, so every readable file is accepted.
READING = ReadingConfig(orientation="apply", white=FULL, image_alpha="white", mask_alpha="ignore", pages="first")

# {folder} is data/external.
NO_PH2 = (
    "PH2 images not found. Either:\n"
    "  NAEVI_SOURCE=<PH2 archive, folder or address> make repro\n"
    "  put the archive or folder into {folder}/, then run make repro\n"
    "  make demo   (the whole pipeline on synthetic images)\n"
    "PH2 is free for research and education: https://www.fc.up.pt/addi/ph2%20database.html"
)

TABLE_NAMES = ("ph2_dataset.xlsx", "ph2_dataset.txt")
DIAGNOSES = {"Common Nevus": "common", "Atypical Nevus": "atypical", "Melanoma": "melanoma"}
# "|| IMD003 ||   ||  0 || 0 | T | ...": name, histological diagnosis, clinical one as an index into DIAGNOSES, criteria
TABLE_ROW = re.compile(r"^\|\|\s*(IMD\d{3})\s*\|\|[^|]*\|\|\s*([012])\s*\|\|", re.MULTILINE)


def read_manifest(workspace: Workspace) -> pd.DataFrame:
    """Return data/ph2.csv, a row for each PH2 image: image_id, diagnosis, image_sha256, mask_sha256."""
    return pd.read_csv(workspace.ph2_manifest)


def is_ph2_file(name: str) -> bool:
    """Return whether a file is an image or one of PH2's tables, by its name."""
    return name.lower().endswith((*IMAGE_SUFFIXES, *TABLE_NAMES))


def is_ph2_table(name: str) -> bool:
    """Return whether a file is one of PH2's tables, by its name."""
    return name.lower().endswith(TABLE_NAMES)


def ph2_labels(name: str, data: bytes) -> bytes:
    """Return one of PH2's tables as CSV with the columns image_id and diagnosis, see `read_diagnoses`."""
    rows = sorted(read_diagnoses(name, data).items())
    return pd.DataFrame(rows, columns=["image_id", "diagnosis"]).to_csv(index=False).encode()


def import_ph2(workspace: Workspace, files: Iterable[tuple[str, bytes]], folder: Path) -> pd.DataFrame:
    """Write the PH2 images among the files to folder/images and folder/masks (0 skin, 1 lesion).

    A file is its name and content. Returns the labels: image_id, diagnosis.

    Raises UserError if any of the 200 images and masks is missing, and if a table among the files gives other diagnoses
    than data/ph2.csv.
    """
    manifest = read_manifest(workspace)
    targets: dict[str, Path] = {}
    for image_id, image_sha256, mask_sha256 in zip(
        manifest.image_id, manifest.image_sha256, manifest.mask_sha256, strict=True
    ):
        targets[image_sha256] = folder / "images" / f"{image_id}.png"
        targets[mask_sha256] = folder / "masks" / f"{image_id}.png"
    digests: set[str] = set()
    image_files = 0
    for name, data in files:
        if is_ph2_table(name):
            _check_diagnoses(workspace, name, read_diagnoses(name, data), manifest)
            continue
        image_files += 1
        pixels = _try_read(data, name)
        digest = pixel_sha256(pixels) if pixels is not None else ""
        if pixels is not None and digest in targets and digest not in digests:
            _write(targets[digest], pixels)
            digests.add(digest)
    missing = manifest[~(manifest.image_sha256.isin(digests) & manifest.mask_sha256.isin(digests))].image_id
    if len(missing):
        raise UserError(
            f"{len(missing)} of the {len(manifest)} PH2 images or their masks are missing among {image_files} image "
            f"files, or their pixels differ from {workspace.ph2_manifest}: {first_ten(missing)}. "
            "Use the official archive or a lossless copy."
        )
    return manifest[["image_id", "diagnosis"]]


def _write(target: Path, pixels: Pixels) -> None:
    if target.parent.name == "masks":
        write_mask(target, (pixels[..., 0] > 0).astype(np.uint8))
    else:
        write_image(target, pixels)


def read_diagnoses(name: str, data: bytes) -> dict[str, str]:
    """Return the clinical diagnosis of each image id in PH2_dataset.xlsx or PH2_dataset.txt.

    A table with another layout gives an empty result. Raises UserError if an xlsx file is corrupt.
    """
    if name.lower().endswith(".txt"):
        diagnoses = list(DIAGNOSES.values())
        return {image_id: diagnoses[int(number)] for image_id, number in TABLE_ROW.findall(data.decode("latin-1"))}
    try:
        table = pd.read_excel(io.BytesIO(data), header=None, dtype=str, engine="calamine")
    except Exception as error:  # calamine raises its own errors, a corrupt zip others
        raise UserError(
            f"{name} can't be read as a table ({describe_error(error)}). Use the official archive."
        ) from error
    titles = next((row for row in table.itertuples(index=False) if {"Image Name", *DIAGNOSES} <= set(row)), None)
    if titles is None:
        return {}
    table = table.set_axis(list(titles), axis=1)
    return {
        image_id: diagnosis
        for title, diagnosis in DIAGNOSES.items()
        for image_id in table["Image Name"][table[title] == "X"]
    }


def _check_diagnoses(workspace: Workspace, name: str, diagnoses: dict[str, str], manifest: pd.DataFrame) -> None:
    expected = dict(zip(manifest.image_id, manifest.diagnosis, strict=True))
    different = sorted({image_id for image_id, _ in diagnoses.items() ^ expected.items()}) if diagnoses else []
    if different:
        raise UserError(
            f"{name} and {workspace.ph2_manifest} have different diagnoses for {first_ten(different)}. "
            "Use the official archive."
        )


def _try_read(data: bytes, name: str) -> Pixels | None:
    """Return the image, or None for a file that isn't one. It then counts as missing."""
    try:
        return read_image(data, name, READING).pixels
    except UserError:
        return None
