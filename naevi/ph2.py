"""PH2: 200 dermoscopic images of naevi with lesion masks, and what is odd about them.

Mendonça, Ferreira, Marques, Marçal, Rozeira: "PH2 - A dermoscopic image database for research and benchmarking",
EMBC 2013, https://www.fc.up.pt/addi/ph2%20database.html. For research and education only.

80 common nevi, 80 atypical nevi, 40 melanomas in 24 sizes, 761 to 769 px wide and 553 to 577 px high (the paper states
768x560). 199 masks are 1-bit BMP, IMD002's is 24-bit. The archive also holds masks of color regions, which aren't used.

A picture is recognized by the SHA-256 of its pixels in data/ph2.csv, whatever a mirror calls it.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from naevi import paths
from naevi.images import Pixels, pixel_sha256, read_image, write_image
from naevi.refusal import Refusal


def manifest() -> pd.DataFrame:
    """One row per PH2 image: image_id, diagnosis, image_sha256, mask_sha256."""
    return pd.read_csv(paths.MANIFEST)


def collect(pictures: Iterable[tuple[str, bytes]], folder: Path) -> pd.DataFrame:
    """Write the pictures that are PH2 to folder/images and folder/masks; return labels (image_id, diagnosis).

    Raises Refusal when not all 200 images and masks are among them, saying which.
    """
    known = manifest()
    wanted = {
        digest: Path("images", f"{name}.png") for name, digest in zip(known.image_id, known.image_sha256, strict=True)
    }
    wanted |= {
        digest: Path("masks", f"{name}.png") for name, digest in zip(known.image_id, known.mask_sha256, strict=True)
    }
    found: set[str] = set()
    seen = 0
    for _, data in pictures:
        seen += 1
        picture = _readable(data)
        digest = pixel_sha256(picture) if picture is not None else ""
        if picture is not None and digest in wanted and digest not in found:
            target = wanted[digest]
            write_image(folder / target, picture[..., 0] if target.parent.name == "masks" else picture)
            found.add(digest)
    lacking = known[~(known.image_sha256.isin(found) & known.mask_sha256.isin(found))].image_id
    if len(lacking):
        shown = ", ".join(lacking[:10]) + ", …" * (len(lacking) > 10)
        raise Refusal(
            f"{seen} pictures were read, and {len(lacking)} of the {len(known)} PH2 images or masks are not there "
            f"with the pixels that {paths.MANIFEST} asks for ({shown}); get the official archive or a lossless copy."
        )
    return known[["image_id", "diagnosis"]]


def _readable(data: bytes) -> Pixels | None:
    """The picture, or None for a file that is none: it then counts as missing, by name."""
    try:
        return read_image(data)
    except Refusal:
        return None
