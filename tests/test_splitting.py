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
    """split.folds is at least 2."""
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
