"""Images are assigned to test, val and train, with the diagnoses of PH2: 80 common, 80 atypical, 40 melanomas."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from naevi.config import SplitConfig, load_config
from naevi.dataset import image_ids
from naevi.datasets.raw import build_raw
from naevi.errors import UserError
from naevi.files import read_csv
from naevi.splitting import assign_parts, pooled_diagnoses
from tests.helpers import HERE

SETTINGS = SplitConfig(folds=5, validation=0.1, seed=42)
FOLDS = ["0", "1", "2", "3", "4"]


def image_table(diagnoses: list[str]) -> pd.DataFrame:
    """Return a table with one image for each diagnosis, each in its own group."""
    ids = [f"image-{number:03}" for number in range(len(diagnoses))]
    return pd.DataFrame({"image_id": ids, "dataset": "ph2", "diagnosis": diagnoses, "group": ids})


@pytest.fixture
def ph2(folder: Path) -> pd.DataFrame:
    """Return an image table with the diagnoses of data/ph2.csv."""
    return image_table(pd.read_csv("data/ph2.csv").diagnosis.tolist())


def test_each_image_is_tested_once(ph2: pd.DataFrame) -> None:
    split = assign_parts(ph2, SETTINGS)

    assert list(split.columns) == ["image_id", "diagnosis", "group", *FOLDS, "all"]
    assert ((split[FOLDS] == "test").sum(axis=1) == 1).all()
    assert split[["image_id", "diagnosis", "group"]].equals(ph2.drop(columns="dataset"))


def test_folds_have_the_same_mix_of_diagnoses(ph2: pd.DataFrame) -> None:
    split = assign_parts(ph2, SETTINGS)
    tested = pd.DataFrame({fold: split[split[fold] == "test"].diagnosis.value_counts() for fold in FOLDS})

    assert (tested.max(axis=1) - tested.min(axis=1)).max() <= 1


def test_folds_have_the_same_mix_of_data_sets() -> None:
    """Of 40 images without a diagnosis, 30 are of one data set and 10 of another: 6 and 2 in each of five folds."""
    images = image_table(["unlabelled"] * 40).assign(dataset=["ph2"] * 30 + ["ham"] * 10)
    split = assign_parts(images, SETTINGS)

    assert split.diagnosis.unique().tolist() == ["unlabelled"]
    for fold in FOLDS:
        tested = images.dataset[split[fold] == "test"].value_counts().to_dict()
        assert tested == {"ph2": 6, "ham": 2}


@pytest.mark.parametrize(("validation", "number", "melanomas"), [(0.1, 16, 3.2), (0.25, 40, 8), (0.5, 80, 16)])
def test_a_stratified_part_of_the_rest_is_for_validation(
    ph2: pd.DataFrame, validation: float, number: int, melanomas: float
) -> None:
    """The rest of each of 5 folds has 160 images, 32 of them melanomas."""
    split = assign_parts(ph2, SETTINGS.model_copy(update={"validation": validation}))

    for fold in FOLDS:
        val = split[split[fold] == "val"]
        assert len(val) == pytest.approx(number, abs=1)
        assert (val.diagnosis == "melanoma").sum() == pytest.approx(melanomas, abs=1)
        assert (split[fold] == "train").sum() == 200 - 40 - len(val)


def test_all_trains_on_every_image(ph2: pd.DataFrame) -> None:
    assert (assign_parts(ph2, SETTINGS)["all"] == "train").all()


def test_groups_are_never_separated(ph2: pd.DataFrame) -> None:
    """Groups are two or three neighbors in the table, with any diagnosis."""
    ph2["group"] = [ph2.image_id[row - row % (2 + row // 100)] for row in range(200)]
    split = assign_parts(ph2, SETTINGS)

    assert ph2.group.nunique() < 100
    assert (split.groupby("group")[FOLDS].nunique() == 1).all(axis=None)


def test_the_split_depends_only_on_the_seed(ph2: pd.DataFrame) -> None:
    split = assign_parts(ph2, SETTINGS)

    assert assign_parts(ph2, SETTINGS).equals(split)
    assert not assign_parts(ph2, SETTINGS.model_copy(update={"seed": 43})).equals(split)


def test_image_ids_are_in_the_order_of_the_table(ph2: pd.DataFrame) -> None:
    split = assign_parts(ph2, SETTINGS)
    parts = {part: image_ids(split, "0", part) for part in ("train", "val", "test")}

    assert sorted(name for names in parts.values() for name in names) == ph2.image_id.tolist()
    assert all(names == sorted(names) for names in parts.values())
    assert image_ids(split, "all", "val") == []
    with pytest.raises(KeyError):
        image_ids(split, "5", "test")


def test_rare_diagnoses_are_stratified_together(caplog: pytest.LogCaptureFixture) -> None:
    """Four melanomas, two of which are near-duplicates, count as three. With two others they are five, one a fold."""
    images = image_table(["common"] * 10 + ["melanoma"] * 4 + ["Nevus, NOS"] + ["seborrheic keratosis"])
    images.loc[13, "group"] = images.loc[12, "group"]

    assert pooled_diagnoses(images, 5) == ["Nevus, NOS", "seborrheic keratosis", "melanoma"]
    split = assign_parts(images, SETTINGS)

    for fold in FOLDS:
        tested = split[split[fold] == "test"]
        assert (tested.diagnosis == "common").sum() == 2
        assert tested[tested.diagnosis != "common"].group.nunique() == 1
    assert caplog.messages == [
        "Diagnoses too rare for 5 folds count as one when folds get the same mix: 'Nevus, NOS' (1), 'seborrheic "
        "keratosis' (1), 'melanoma' (4)."
    ]


def test_a_diagnosis_with_enough_images_is_in_each_fold_whatever_is_rare() -> None:
    images = image_table(["common"] * 20 + ["atypical"] * 10 + ["melanoma"])

    assert pooled_diagnoses(images, 5) == ["melanoma"]
    split = assign_parts(images, SETTINGS)
    assert [((split[fold] == "test") & (split.diagnosis == "atypical")).sum() for fold in FOLDS] == [2] * 5
    assert pooled_diagnoses(image_table(["common"] * 20 + ["atypical"] * 10), 5) == []


def test_fewer_images_than_folds_are_an_error() -> None:
    images = image_table(["common"] * 4)

    assert error_message(images, SETTINGS) == (
        "split.folds is 5, but there are 4 image(s), if near-duplicates and other groups count once. Add images, or "
        "set split.folds to 4 or less, data.columns.group to none, or preprocess.near_duplicates to off."
    )
    assert error_message(images[:1], SETTINGS) == (
        "split.folds is 5, but there are 1 image(s), if near-duplicates and other groups count once. Add images, or "
        "set data.columns.group to none, or preprocess.near_duplicates to off."
    )


@pytest.mark.parametrize(
    ("common", "melanomas", "folds", "group"),
    [
        (5, 5, 5, 1),  # 4 of each are outside a fold, and a tenth of them is less than one
        (40, 12, 5, 1),
        (2, 2, 2, 1),  # 1 of each
        (30, 6, 2, 3),  # many images, but only 6 groups
        (30, 30, 2, 5),
    ],
)
def test_few_images_are_split_or_an_error(common: int, melanomas: int, folds: int, group: int) -> None:
    """No error of scikit-learn is raised, and every fold has images for validation."""
    images = image_table(["common"] * common + ["melanoma"] * melanomas)
    images["group"] = [images.image_id[row - row % group] for row in range(len(images))]
    settings = SETTINGS.model_copy(update={"folds": folds})
    with suppress(UserError):
        split = assign_parts(images, settings)
        for fold in range(folds):
            assert image_ids(split, str(fold), "val")
            assert len(image_ids(split, str(fold), "train")) >= 2


def test_twenty_synthetic_images_are_split_into_two_folds(tiny: Any) -> None:
    """The data set of other tests has 8 common, 8 atypical, 4 melanomas. Half of the rest is for validation."""
    tested = tiny.split[tiny.split["0"] == "test"].diagnosis

    assert tested.value_counts().to_dict() == {"common": 4, "atypical": 4, "melanoma": 2}
    assert tiny.split["1"].value_counts().to_dict() == {"test": 10, "train": 5, "val": 5}


def folds(number: int) -> SplitConfig:
    """Return the settings with another number of folds."""
    return SETTINGS.model_copy(update={"folds": number})


def error_message(images: pd.DataFrame, settings: SplitConfig) -> str:
    """Return the message of the error that splitting raises."""
    with pytest.raises(UserError) as error:
        assign_parts(images, settings)
    return str(error.value)


def test_one_fold_requires_a_given_split(ph2: pd.DataFrame) -> None:
    assert error_message(ph2, folds(1)) == (
        "split.folds is 1, which requires a predefined split: a table with a column split, or folders train and test "
        "with data.split_folders=use. Set split.folds to 2 or more to split at random."
    )


def test_a_given_split_is_used_unchanged() -> None:
    parts = ["test", "train", "val", "train", "test"]
    split = assign_parts(image_table(["common"] * 5).assign(split=parts), folds(1))

    assert list(split.columns) == ["image_id", "diagnosis", "group", "0", "all"]
    assert split["0"].tolist() == parts
    assert (split["all"] == "train").all()


def test_without_val_in_a_given_split_it_is_drawn_from_train(ph2: pd.DataFrame) -> None:
    """A stratified tenth of 160 images is moved, as in the fold with the same test part."""
    drawn = assign_parts(ph2, SETTINGS)
    given = ph2.assign(split=drawn["3"].replace("val", "train"))

    assert assign_parts(given, folds(1))["0"].equals(drawn["3"].rename("0"))


def test_given_folds_are_the_test_parts(ph2: pd.DataFrame) -> None:
    drawn = assign_parts(ph2, SETTINGS)
    given = ph2.assign(fold=(drawn[FOLDS] == "test").idxmax(axis=1).astype(int))

    assert assign_parts(given, SETTINGS).equals(drawn)


def test_a_diagnosis_may_have_fewer_images_than_there_are_given_folds() -> None:
    images = image_table(["common"] * 8 + ["melanoma"]).assign(fold=[0, 1, 2] * 3)

    split = assign_parts(images, folds(3))

    assert image_ids(split, "1", "test") == ["image-001", "image-004", "image-007"]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "split",
            ["train", "test", "val"],
            "a column split or folders train and test give 1 fold(s). Set split.folds=1 and cv.models=[0,all], or "
            "data.split_folders=ignore to pool the images of folders.",
        ),
        ("fold", [0, 1, 2], "a column fold gives 3 fold(s). Set split.folds=3 and cv.models=[0,1,2,all]."),
    ],
)
def test_another_number_of_folds_than_given_is_an_error(column: str, values: list[Any], message: str) -> None:
    images = image_table(["common"] * 3).assign(**{column: values})

    assert error_message(images, SETTINGS) == f"split.folds is 5, but {message}"


@pytest.mark.parametrize(
    ("column", "values", "missing"),
    [
        ("split", ["train", "val", "train"], "test"),
        ("split", ["test", "val", "test"], "train"),
        ("fold", [0, 0, 0], "train"),
    ],
)
def test_a_split_without_test_or_train_is_an_error(column: str, values: list[Any], missing: str) -> None:
    assert error_message(image_table(["common"] * 3).assign(**{column: values}), folds(1)) == (
        f"The column {column} of your table assigns no image to {missing}, and each model needs images for training "
        "and for testing. Correct the column, or rename it to have the images split at random."
    )


@pytest.mark.parametrize(
    ("values", "pairs"),
    [
        (["train", "train", "val", "train"], "image-001 (train) and image-002 (val)"),
        (["train", "test", "test", "test"], "image-000 (train) and image-003 (test)"),
        (
            ["test", "val", "train", "train"],
            "image-000 (test) and image-003 (train), image-001 (val) and image-002 (train)",
        ),
    ],
)
def test_a_split_that_separates_a_group_is_an_error(values: list[str], pairs: str) -> None:
    """Of the first four images, the outer two belong together, and so do the inner two."""
    images = image_table(["common"] * 6).assign(split=[*values, "train", "test"])
    images.loc[2, "group"], images.loc[3, "group"] = "image-001", "image-000"

    assert error_message(images, folds(1)) == (
        "The predefined split separates images that belong together, because they have the same group or are listed in "
        f"data/checks/near_duplicates.csv: {pairs}. Give them the same split, keep one of them, or set "
        "preprocess.near_duplicates higher or to off, or data.columns.group=none, or data.split_folders=ignore to pool "
        "the images of folders."
    )


def test_up_to_ten_separated_groups_are_listed() -> None:
    """Each of 12 groups has one image in each of three folds."""
    images = image_table(["common"] * 36).assign(fold=[0, 1, 2] * 12)
    images["group"] = [images.image_id[row - row % 3] for row in range(36)]

    message = error_message(images, folds(3))

    assert "csv: image-000 (0) and image-001 (1) and image-002 (2), image-003 (0) and " in message
    assert " image-029 (2), …. Give them the same fold, keep" in message
    assert message.endswith(" or data.columns.group=none.")


def test_a_given_split_with_one_training_image_is_an_error() -> None:
    images = image_table(["common"] * 3).assign(split=["test", "test", "train"])

    assert error_message(images, folds(1)) == (
        "Outside the test part of fold 0, no diagnosis has two images to divide into training and validation. "
        "Add images."
    )


def labels_of(files: list[str], table: str = "") -> pd.DataFrame:
    """Return the labels and groups of generated images in data/external. `{}` in a file is for images or masks."""
    rng = np.random.default_rng(0)
    external = HERE.external_data
    for file in files:
        mask = rng.integers(0, 2, (8, 8), np.uint8) * np.uint8(255)
        for role, pixels in (("images", rng.integers(0, 256, (8, 8, 3), np.uint8)), ("masks", mask)):
            path = external / file.format(role)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    if table:
        (external / "HAM10000_metadata.csv").write_text(table)
    build_raw(HERE, load_config(HERE).data.model_copy(update={"source": "folder", "path": str(external)}))
    labels = read_csv(HERE.raw / "labels.csv")
    return labels.assign(dataset="folder", group=labels.get("group", labels.image_id))


def test_pictures_of_one_lesion_in_a_metadata_table_share_a_part(folder: Path) -> None:
    """As in HAM10000, whose table has its own name and names of columns. Each of 10 lesions has two pictures."""
    lesion = {f"ISIC_{number:02}": f"HAM_{number // 2}" for number in range(20)}
    rows = [f"{lesion_id},{image_id},nv,histo,80.0" for image_id, lesion_id in lesion.items()]
    table = "\n".join(["lesion_id,image_id,dx,dx_type,age", *rows])

    split = assign_parts(labels_of([f"{{}}/{image_id}.png" for image_id in lesion], table), SETTINGS)

    separated = split.groupby(split.image_id.map(lesion))[FOLDS].nunique().max(axis=1)
    assert separated[separated > 1].index.tolist() == []


@pytest.mark.parametrize("layout", ["{part}/{{}}/{name}.png", "{{}}/{part}/{name}.png"])
def test_images_in_folders_train_and_test_stay_there(folder: Path, layout: str) -> None:
    parts = {"a": "train", "b": "Train", "c": "validation", "d": "test", "e": "test"}

    labels = labels_of([layout.format(part=part, name=name) for name, part in parts.items()])

    assert labels.get("split", pd.Series("pooled", labels.index)).tolist() == ["train", "train", "val", "test", "test"]
    assert assign_parts(labels, folds(1))["0"].tolist() == ["train", "train", "val", "test", "test"]


def test_equal_names_in_folders_train_and_test_are_different_images(folder: Path) -> None:
    labels = labels_of(["train/{}/1.png", "train/{}/2.png", "test/{}/1.png"])

    assert labels.drop(columns="dataset").to_dict("list") == {
        "image_id": ["2", "test_1", "train_1"],
        "diagnosis": ["unlabelled"] * 3,
        "split": ["train", "test", "train"],
        "group": ["2", "test_1", "train_1"],
    }
