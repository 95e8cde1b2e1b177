"""The table of lesions by hand, what is refused, and which images belong together."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from naevi import lesions
from naevi.images import Pixels, pixel_sha256, read_image, read_mask, write_image, write_mask
from naevi.refusal import Refusal

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (4, 8, 3), dtype=np.uint8)
LEFT = np.repeat(np.array([[1, 1, 0, 0, 0, 0, 0, 0]], np.uint8), 4, axis=0)  # a quarter of 4 x 8


def write_raw(folder: Path, pairs: dict[str, tuple[Pixels, Pixels]]) -> Path:
    """data/raw with these images and masks, all of them common nevi."""
    for part in ("images", "masks"):
        (folder / "raw" / part).mkdir(parents=True)
    for image_id, (image, mask) in pairs.items():
        write_image(folder / "raw" / "images" / f"{image_id}.png", image)
        write_mask(folder / "raw" / "masks" / f"{image_id}.png", mask)
    labels = pd.DataFrame({"image_id": list(pairs), "diagnosis": "common"})
    labels.to_csv(folder / "raw" / "labels.csv", index=False)
    return folder / "raw"


def prepare(raw: Path, size: int = 4) -> pd.DataFrame:
    """The table; pictures go beside the raw ones."""
    return lesions.prepare(raw, raw.parent / "prepared", dataset="ph2", size=size)


def test_the_table_tells_of_the_native_images_in_the_order_of_the_labels(tmp_path: Path) -> None:
    raw = write_raw(tmp_path, {"b": (NOISE, LEFT), "a": (NOISE[:2, ::-1], 1 - LEFT[:2])})

    table = prepare(raw)

    assert table.drop(columns="sha256").to_dict("records") == [
        {
            "image_id": "b",
            "dataset": "ph2",
            "diagnosis": "common",
            "group": "b",
            "height": 4,
            "width": 8,
            "lesion_fraction": 0.25,
        },
        {
            "image_id": "a",
            "dataset": "ph2",
            "diagnosis": "common",
            "group": "a",
            "height": 2,
            "width": 8,
            "lesion_fraction": 0.75,
        },
    ]


def test_the_prepared_pictures_are_squares_that_the_table_has_the_hash_of(tmp_path: Path) -> None:
    table = prepare(write_raw(tmp_path, {"a": (NOISE, LEFT)}))
    image = read_image(tmp_path / "prepared" / "images" / "a.png")
    mask = read_mask(tmp_path / "prepared" / "masks" / "a.png")

    assert image.shape == (4, 4, 3)
    assert mask.tolist() == [[1, 0, 0, 0]] * 4
    assert table.sha256.tolist() == [hashlib.sha256((pixel_sha256(image) + pixel_sha256(mask)).encode()).hexdigest()]


def test_preparing_twice_gives_equal_tables(tmp_path: Path) -> None:
    raw = write_raw(tmp_path, {name: (RNG.integers(0, 256, (4, 8, 3), dtype=np.uint8), LEFT) for name in "abcdefgh"})

    assert prepare(raw).equals(prepare(raw))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (LEFT[:, :6], r"^An image and its mask have one size; a is 8x4 px, its mask 6x4 px\.$"),
        (LEFT * 0, r"^A mask shows a lesion; that of a is empty\.$"),
        (LEFT * 100, r"A mask holds 0 .* only; .*masks/a.png holds 0, 156\.$"),  # 255 * 100 in a byte
    ],
)
def test_a_mask_that_does_not_fit_is_refused(tmp_path: Path, mask: Pixels, message: str) -> None:
    raw = write_raw(tmp_path, {"a": (NOISE, mask)})

    with pytest.raises(Refusal, match=message):
        prepare(raw)


@pytest.mark.parametrize("part", ["images", "masks"])
def test_a_missing_file_is_refused(tmp_path: Path, part: str) -> None:
    raw = write_raw(tmp_path, {"a": (NOISE, LEFT)})
    (raw / part / "a.png").unlink()

    with pytest.raises(Refusal, match=f"{part}/a.png can't be read as an image: .*No such file"):
        prepare(raw)


def test_a_chain_of_near_duplicates_is_one_group_named_after_its_first(tmp_path: Path) -> None:
    """Patterns at 0, 8 and 16 degrees correlate by cos 8 = .990 with the next, by cos 16 = .961 end to end."""
    across, along, other = RNG.choice([-1, 1], (3, 32, 32, 1))
    mask = np.ones((32, 32), np.uint8)

    def turned(degrees: int) -> Pixels:
        angle = np.radians(degrees)
        grey = 128 + 80 * (np.cos(angle) * across + np.sin(angle) * along)
        return np.repeat(grey.round().astype(np.uint8), 3, axis=2)

    other = np.repeat((128 + 80 * other).astype(np.uint8), 3, axis=2)
    pictures = {"far": turned(16), "other": other, "start": turned(0), "between": turned(8)}

    table = prepare(write_raw(tmp_path, {name: (image, mask) for name, image in pictures.items()}), size=32)
    without = prepare(write_raw(tmp_path / "2", {name: (pictures[name], mask) for name in ("far", "start")}), size=32)

    assert table.group.tolist() == ["far", "other", "far", "far"]
    assert without.group.tolist() == ["far", "start"]
