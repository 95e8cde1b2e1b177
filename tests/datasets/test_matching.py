"""Images and masks are told apart by their names, in the layouts in which data sets are published.

`listings.csv` has file names and sizes of public data sets, as repositories that mirror them list them: every tenth
image or so, with all files that belong to it. There are no files behind the names.
"""

from pathlib import Path

import pandas as pd
import pytest

from naevi.datasets.folder import is_picture
from naevi.datasets.matching import LAYOUTS, match_pictures

LISTINGS = pd.read_csv(Path(__file__).with_name("listings.csv")).groupby("data_set").path.agg(list)
# The layout that is chosen; the numbers of images, of those with a mask, of masks, and of other pictures.
READ_AS = {
    "busi": ("masks beside their images", 22, 22, 24, 0),
    "camvid": ("a folder beside that of the images", 20, 20, 20, 0),
    "chase_db1": ("CHASE's names", 20, 20, 20, 20),
    "cityscapes": ("Cityscapes' folders", 20, 20, 20, 40),
    "cvc_clinicdb": ("images/ and masks/", 20, 20, 20, 0),
    "drive": ("DRIVE's folders", 20, 20, 20, 32),
    "dsb2018_stage1_train": ("a folder for each image, with several masks", 4, 4, 84, 0),
    "etis": ("images/ and masks/", 20, 20, 20, 0),
    "glas": ("masks beside their images", 20, 20, 20, 0),
    "human_segmentation": ("two folders", 20, 20, 20, 0),
    "isic2018_task1": ("ISIC's folders", 20, 20, 20, 0),
    "kvasir_seg": ("images/ and masks/", 20, 20, 20, 0),
    "lgg_kaggle_3m": ("masks beside their images", 20, 20, 20, 0),
    "magnetic_tile": ("masks beside their images, as PNG files", 20, 20, 20, 0),
    "oxford_pets": ("two folders", 20, 20, 25, 0),
    "ph2": ("PH2's folders", 20, 20, 20, 31),
    "voc2012_aug": ("two folders", 20, 17, 17, 0),
    "wbc": ("masks beside their images, as PNG files", 20, 20, 22, 0),
}


@pytest.mark.parametrize("data_set", LISTINGS.index)
def test_public_data_sets_are_recognized(data_set: str) -> None:
    pictures = [path for path in LISTINGS[data_set] if is_picture(path)]

    found = match_pictures(pictures)

    with_mask = {image for image in found.owners.values() if image}
    others = len(pictures) - len(found.images) - len(found.masks)
    assert (found.layout, len(found.images), len(with_mask), len(found.masks), others) == READ_AS[data_set]
    assert len(set(found.images.values())) == len(found.images)


def test_every_layout_but_the_default_is_that_of_a_public_data_set() -> None:
    assert {layout for layout, *_ in READ_AS.values()} == {layout.name for layout in LAYOUTS} - {
        "two folders, whatever the folders in them"
    }


def owners(*paths: str) -> dict[str, str]:
    """Return the image of each mask."""
    return match_pictures(paths).owners


def test_of_several_masks_the_right_one_is_chosen() -> None:
    """DRIVE's folder mask has the field of view. PH2's folder roi has parts of lesions."""
    assert owners(
        "training/images/21_training.tif", "training/1st_manual/21_manual1.gif", "training/mask/21_training_mask.gif"
    ) == {"training/1st_manual/21_manual1.gif": "training/images/21_training.tif"}
    assert owners(
        "IMD002/IMD002_Dermoscopic_Image/IMD002.bmp",
        "IMD002/IMD002_lesion/IMD002_lesion.bmp",
        "IMD002/IMD002_roi/IMD002_R1_Label4.bmp",
    ) == {"IMD002/IMD002_lesion/IMD002_lesion.bmp": "IMD002/IMD002_Dermoscopic_Image/IMD002.bmp"}
    assert owners("images/a.png", "masks/a.png", "labels/a.png") == {"masks/a.png": "images/a.png"}


def test_equal_names_come_before_names_with_an_ending() -> None:
    assert owners("images/left.png", "images/left_lesion.png", "masks/left_lesion.png", "masks/left_mask.png") == {
        "masks/left_lesion.png": "images/left_lesion.png",
        "masks/left_mask.png": "images/left.png",
    }


def test_patients_may_have_a_folder_each() -> None:
    found = match_pictures(
        ["p1/images/overview.png", "p1/masks/overview.png", "p2/images/overview.png", "p2/images/near.png"]
    )

    assert found.owners == {"p1/masks/overview.png": "p1/images/overview.png"}
    assert found.images == {
        "p1/images/overview.png": "p1_images_overview",
        "p2/images/overview.png": "p2_images_overview",
        "p2/images/near.png": "near",
    }


def test_masks_of_another_part_are_not_those_of_an_image() -> None:
    assert owners("train/images/a.png", "test/masks/a.png") == {"test/masks/a.png": ""}
    assert owners("train/images/a.png", "masks/a.png") == {"masks/a.png": "train/images/a.png"}


@pytest.mark.parametrize("suffix", ["JPG", "jpe", "jfif", "webp", "tif", "heic"])
def test_images_beside_masks_may_have_any_usual_format_but_png(suffix: str) -> None:
    assert match_pictures([f"a.{suffix}", "a.png"]).owners == {"a.png": f"a.{suffix}"}


def test_several_masks_have_the_same_image() -> None:
    assert owners("benign (4).png", "benign (4)_mask.png", "benign (4)_mask_1.png", "benign (5).png") == {
        "benign (4)_mask.png": "benign (4).png",
        "benign (4)_mask_1.png": "benign (4).png",
    }


def test_without_any_pair_images_and_masks_have_their_folders() -> None:
    found = match_pictures(["mine/Images/a.png", "mine/Masks/b.png", "masks/images/c.png", "other/d.png"])

    assert (found.images, found.owners) == (
        {"mine/Images/a.png": "a", "masks/images/c.png": "c"},
        {"mine/Masks/b.png": ""},
    )
    assert match_pictures([]).images == {}


def test_names_are_matched_in_linear_time() -> None:
    """As many as HAM10000 has. A name with many separators must not make an expression try each of them."""
    paths = [f"images/ISIC_{number:07}.jpg" for number in range(10_000)]
    paths += [f"masks/ISIC_{number:07}_segmentation.png" for number in range(10_000)]
    assert len(set(owners(*paths, "a/_mask" * 500 + ".png", "_mask_mask/" * 500 + "x.png").values())) == 10_000
