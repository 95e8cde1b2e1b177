"""PH2 is known by its pixels. Here two random pictures of 6 x 5 px play PH2; the manifest in git is the real one."""

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from naevi import paths, ph2, sources
from naevi.images import Pixels, read_image, read_mask
from naevi.refusal import Refusal

ROOT = Path(__file__).parents[1]
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

    labels = ph2.collect(sources.pictures(Path(os.environ["NAEVI_SOURCE"])), tmp_path)

    assert len(labels) == 200
    sizes = {read_image(path).shape for path in (tmp_path / "images").glob("*.png")}
    assert len(sizes) == 24
    assert sum(1 for _ in (tmp_path / "masks").glob("IMD*.png")) == 200
