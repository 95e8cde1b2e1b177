"""Who tests, validates and trains: on PH2's own diagnoses, 80 common, 80 atypical, 40 melanomas."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from naevi import splitting
from naevi.config import SplitConfig
from naevi.refusal import Refusal

SETTINGS = SplitConfig(folds=5, validation=0.1, seed=42)
FOLDS = ["0", "1", "2", "3", "4"]


def table(diagnoses: list[str]) -> pd.DataFrame:
    """One image each, and each a group of its own."""
    ids = [f"image-{number:03}" for number in range(len(diagnoses))]
    return pd.DataFrame({"image_id": ids, "diagnosis": diagnoses, "group": ids})


@pytest.fixture
def ph2(folder: Path) -> pd.DataFrame:
    """The committed manifest's images."""
    return table(pd.read_csv("data/ph2.csv").diagnosis.tolist())


def test_each_image_is_tested_once(ph2: pd.DataFrame) -> None:
    split = splitting.assign(ph2, SETTINGS)

    assert list(split.columns) == ["image_id", "diagnosis", "group", *FOLDS, "all"]
    assert ((split[FOLDS] == "test").sum(axis=1) == 1).all()
    assert split[["image_id", "diagnosis", "group"]].equals(ph2)


def test_folds_have_the_same_mix_of_diagnoses(ph2: pd.DataFrame) -> None:
    split = splitting.assign(ph2, SETTINGS)
    tested = pd.DataFrame({fold: split[split[fold] == "test"].diagnosis.value_counts() for fold in FOLDS})

    assert (tested.max(axis=1) - tested.min(axis=1)).max() <= 1


@pytest.mark.parametrize(("validation", "number", "melanomas"), [(0.1, 16, 3.2), (0.25, 40, 8), (0.5, 80, 16)])
def test_a_stratified_part_of_the_rest_validates(
    ph2: pd.DataFrame, validation: float, number: int, melanomas: float
) -> None:
    """The rest of each of 5 folds has 160 images, 32 of them melanomas."""
    split = splitting.assign(ph2, SETTINGS.model_copy(update={"validation": validation}))

    for fold in FOLDS:
        held = split[split[fold] == "val"]
        assert len(held) == pytest.approx(number, abs=1)
        assert (held.diagnosis == "melanoma").sum() == pytest.approx(melanomas, abs=1)
        assert (split[fold] == "train").sum() == 200 - 40 - len(held)


def test_all_trains_on_every_image(ph2: pd.DataFrame) -> None:
    assert (splitting.assign(ph2, SETTINGS)["all"] == "train").all()


def test_groups_are_never_parted(ph2: pd.DataFrame) -> None:
    """Twos and threes of neighbors, whatever their diagnoses."""
    ph2["group"] = [ph2.image_id[row - row % (2 + row // 100)] for row in range(200)]
    split = splitting.assign(ph2, SETTINGS)

    assert ph2.group.nunique() < 100
    assert (split.groupby("group")[FOLDS].nunique() == 1).all(axis=None)


def test_the_seed_alone_decides(ph2: pd.DataFrame) -> None:
    split = splitting.assign(ph2, SETTINGS)

    assert splitting.assign(ph2, SETTINGS).equals(split)
    assert not splitting.assign(ph2, SETTINGS.model_copy(update={"seed": 43})).equals(split)


def test_ids_come_in_the_order_of_the_table(ph2: pd.DataFrame) -> None:
    split = splitting.assign(ph2, SETTINGS)
    parts = {part: splitting.ids(split, "0", part) for part in ("train", "val", "test")}

    assert sorted(name for names in parts.values() for name in names) == ph2.image_id.tolist()
    assert all(names == sorted(names) for names in parts.values())
    assert splitting.ids(split, "all", "val") == []
    with pytest.raises(KeyError):
        splitting.ids(split, "5", "test")


def test_fewer_images_of_a_diagnosis_than_folds_are_refused() -> None:
    """Four melanomas of which two are near-duplicates count as three."""
    lesions = table(["common"] * 10 + ["melanoma"] * 4)
    lesions.loc[13, "group"] = lesions.loc[12, "group"]

    with pytest.raises(Refusal) as refusal:
        splitting.assign(lesions, SETTINGS)

    assert str(refusal.value) == (
        "split.folds is 5, but melanoma has 3 images, duplicates as one; set split.folds to 3 or less, or add images."
    )


def test_a_diagnosis_with_one_image_is_not_answered_with_an_impossible_number() -> None:
    """It takes two folds to draw any."""
    with pytest.raises(Refusal, match="melanoma has 1 images") as refusal:
        splitting.assign(table(["common"] * 10 + ["melanoma"]), SETTINGS)

    assert "to 1 or less" not in str(refusal.value)


@pytest.mark.parametrize(
    ("common", "melanomas", "folds", "group"),
    [
        (5, 5, 5, 1),  # outside a fold are 4 of each, of which a tenth is less than one
        (40, 12, 5, 1),
        (2, 2, 2, 1),  # 1 of each
        (30, 6, 2, 3),  # many images, but only 6 groups
        (30, 30, 2, 5),
    ],
)
def test_few_images_are_shared_out_or_refused(common: int, melanomas: int, folds: int, group: int) -> None:
    """Never answered with scikit-learn's words, and no fold is left without images to validate on."""
    lesions = table(["common"] * common + ["melanoma"] * melanomas)
    lesions["group"] = [lesions.image_id[row - row % group] for row in range(len(lesions))]
    settings = SETTINGS.model_copy(update={"folds": folds})
    with suppress(Refusal):
        split = splitting.assign(lesions, settings)
        for fold in range(folds):
            assert splitting.ids(split, str(fold), "val")
            assert len(splitting.ids(split, str(fold), "train")) >= 2


def test_twenty_phantoms_are_split_in_two(tiny: Any) -> None:
    """The data set of other tests: 8 common, 8 atypical, 4 melanomas, of which half of the rest validates."""
    tested = tiny.split[tiny.split["0"] == "test"].diagnosis

    assert tested.value_counts().to_dict() == {"common": 4, "atypical": 4, "melanoma": 2}
    assert tiny.split["1"].value_counts().to_dict() == {"test": 10, "train": 5, "val": 5}


def folds(number: int) -> SplitConfig:
    """The settings with another number of folds."""
    return SETTINGS.model_copy(update={"folds": number})


def refused(lesions: pd.DataFrame, settings: SplitConfig) -> str:
    """The words of the refusal."""
    with pytest.raises(Refusal) as refusal:
        splitting.assign(lesions, settings)
    return str(refusal.value)


def test_one_fold_is_for_images_that_come_with_their_split(ph2: pd.DataFrame) -> None:
    assert refused(ph2, folds(1)) == (
        "split.folds is 1, which is for a labels.csv with a column split; set it to 2 or more."
    )


def test_a_split_that_is_given_is_taken_as_it_is() -> None:
    parts = ["test", "train", "val", "train", "test"]
    split = splitting.assign(table(["common"] * 5).assign(split=parts), folds(1))

    assert list(split.columns) == ["image_id", "diagnosis", "group", "0", "all"]
    assert split["0"].tolist() == parts
    assert (split["all"] == "train").all()


def test_a_given_split_without_val_has_it_drawn_from_train(ph2: pd.DataFrame) -> None:
    """Of 160 images a tenth validates, stratified; as in the fold of the same test part."""
    drawn = splitting.assign(ph2, SETTINGS)
    given = ph2.assign(split=drawn["3"].replace("val", "train"))

    assert splitting.assign(given, folds(1))["0"].equals(drawn["3"].rename("0"))


def test_folds_that_are_given_are_the_test_parts(ph2: pd.DataFrame) -> None:
    drawn = splitting.assign(ph2, SETTINGS)
    given = ph2.assign(fold=(drawn[FOLDS] == "test").idxmax(axis=1).astype(int))

    assert splitting.assign(given, SETTINGS).equals(drawn)


def test_a_diagnosis_may_be_rarer_than_the_folds_that_are_given() -> None:
    lesions = table(["common"] * 8 + ["melanoma"]).assign(fold=[0, 1, 2] * 3)

    split = splitting.assign(lesions, folds(3))

    assert splitting.ids(split, "1", "test") == ["image-001", "image-004", "image-007"]


@pytest.mark.parametrize(
    ("column", "values", "number", "models"),
    [("split", ["train", "test", "val"], 1, "[0,all]"), ("fold", [0, 1, 2], 3, "[0,1,2,all]")],
)
def test_another_number_of_folds_than_is_given_is_refused(
    column: str, values: list[Any], number: int, models: str
) -> None:
    assert refused(table(["common"] * 3).assign(**{column: values}), SETTINGS) == (
        f"split.folds is 5, but labels.csv has {number} by its column {column}; "
        f"set split.folds={number} and cv.models={models}."
    )


@pytest.mark.parametrize(
    ("column", "values", "lacking"),
    [
        ("split", ["train", "val", "train"], "test"),
        ("split", ["test", "val", "test"], "train"),
        ("fold", [0, 0, 0], "train"),
    ],
)
def test_a_split_without_test_or_train_is_refused(column: str, values: list[Any], lacking: str) -> None:
    assert refused(table(["common"] * 3).assign(**{column: values}), folds(1)) == (
        f"labels.csv leaves no image for {lacking} in its column {column}; each model needs some."
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
def test_a_split_that_parts_a_group_is_refused(values: list[str], pairs: str) -> None:
    """Of the first four images, the outer two belong together, and so do the inner two."""
    lesions = table(["common"] * 6).assign(split=[*values, "train", "test"])
    lesions.loc[2, "group"], lesions.loc[3, "group"] = "image-001", "image-000"

    assert refused(lesions, folds(1)) == (
        "labels.csv parts images that belong together, by their group or as near-duplicates "
        f"(data/prepared/near_duplicates.csv): {pairs}; give them one split, or take all but one out."
    )


def test_ten_parted_groups_at_most_are_named() -> None:
    """Each of 12 groups has one image in each of three folds."""
    lesions = table(["common"] * 36).assign(fold=[0, 1, 2] * 12)
    lesions["group"] = [lesions.image_id[row - row % 3] for row in range(36)]

    message = refused(lesions, folds(3))

    assert "): image-000 (0) and image-001 (1) and image-002 (2), image-003 (0) and " in message
    assert " image-029 (2), …; give them one fold, or" in message


def test_a_given_split_that_leaves_one_to_train_on_is_refused() -> None:
    lesions = table(["common"] * 3).assign(split=["test", "test", "train"])

    assert "no diagnosis has two images to share" in refused(lesions, folds(1))
