"""Planted mistakes come first, and the scores don't depend on threads."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from naevi.preprocessing.prepare import REVIEWED_SIDES
from naevi.review import expectation, reasons
from naevi.review.suspicion import NOT_COMPARED, image_checks, not_compared
from tests.review.data import NO_PAIRS, NOTHING_VANISHED, Images, make_images, reviewed, write_prepared

MOVED = 12  # px of 64


@pytest.fixture(scope="module")
def images() -> Images:
    return make_images(40)


def checks_of(folder: Path, images: Images, side: int = 64, **tables: pd.DataFrame) -> pd.DataFrame:
    table = write_prepared(folder, images)
    pairs, vanished = tables.get("pairs", NO_PAIRS), tables.get("vanished", NOTHING_VANISHED)
    return image_checks(reviewed(images, side), table, pairs, vanished)


def first(checks: pd.DataFrame, number: int) -> set[str]:
    return set(checks.sort_values("suspicion", ascending=False).image_id[:number])


@pytest.fixture(scope="module")
def oblique(images: Images) -> list[str]:
    """Return the images whose masks change most if they are turned by 180 degrees, but don't reach the border."""
    differences = {
        name: np.mean(mask != mask[::-1, ::-1]) for name, (_, mask) in images.items() if not mask[[0, -1]].any()
    }
    return sorted(differences, key=lambda name: -differences[name])


def test_a_turned_picture_comes_first(images: Images, oblique: list[str], tmp_path: Path) -> None:
    name = oblique[0]
    image, mask = images[name]
    checks = checks_of(tmp_path, images | {name: (image[::-1, ::-1], mask)})

    assert first(checks, 1) == {name}
    row = checks.set_index("image_id").loc[name]
    assert row.reasons == reasons.FRAME.name
    assert row.details == "The mask fits better if turned by 180 degrees."


@pytest.mark.parametrize("side", REVIEWED_SIDES)
def test_a_shifted_mask_comes_first(images: Images, oblique: list[str], side: int, tmp_path: Path) -> None:
    name = oblique[1]
    image, mask = images[name]
    checks = checks_of(tmp_path, images | {name: (image, np.roll(mask, MOVED, axis=1))}, side)

    assert first(checks, 1) == {name}
    details = checks.set_index("image_id").details[name]
    assert details == f"The mask fits better {MOVED / 64:.0%} of the width further left."


@pytest.mark.parametrize("side", REVIEWED_SIDES)
def test_swapped_masks_come_first_and_name_each_other(
    images: Images, oblique: list[str], side: int, tmp_path: Path
) -> None:
    one, other = oblique[0], oblique[2]
    swapped = {one: (images[one][0], images[other][1]), other: (images[other][0], images[one][1])}
    checks = checks_of(tmp_path, images | swapped, side).set_index("image_id", drop=False)

    assert first(checks, 2) == {one, other}


def test_a_copy_and_a_vanished_lesion_come_first(images: Images, tmp_path: Path) -> None:
    pairs = pd.DataFrame([("phantom-00003", "copy", 1.0)], columns=NO_PAIRS.columns)
    vanished = pd.DataFrame([("phantom-00005", "lesion", 9, 2)], columns=NOTHING_VANISHED.columns)
    checks = checks_of(tmp_path, images | {"copy": images["phantom-00003"]}, pairs=pairs, vanished=vanished).set_index(
        "image_id", drop=False
    )

    assert first(checks, 3) == {"phantom-00003", "phantom-00005", "copy"}
    assert checks.reasons["copy"] == reasons.DUPLICATE.name
    assert checks.details["copy"] == "Nearly the same as phantom-00003, correlation 1.0000."
    assert checks.details["phantom-00005"] == "lesion: 9 px at native size, 2 px at the training size."


def test_the_least_similar_pair_counts_less_than_a_copy(tmp_path: Path) -> None:
    rows = [("phantom-00000", "phantom-00001", 0.99), ("phantom-00002", "phantom-00003", 1.0)]
    checks = checks_of(tmp_path, make_images(6), pairs=pd.DataFrame(rows, columns=NO_PAIRS.columns))

    assert checks[reasons.DUPLICATE.name].tolist() == [0.6, 0.6, 0.97, 0.97, 0, 0]


@pytest.mark.parametrize("groups", [["one"] * 14, ["large"] * 8 + list("abcdef")])
def test_images_of_one_group_are_not_compared_with_each_other(tmp_path: Path, groups: list[str]) -> None:
    images = make_images(14)
    table = write_prepared(tmp_path, images).assign(group=groups)
    checks = image_checks(reviewed(images), table, NO_PAIRS, NOTHING_VANISHED)

    assert not_compared(checks) == NOT_COMPARED


def test_two_groups_are_compared_with_each_other(tmp_path: Path) -> None:
    images = make_images(14)
    table = write_prepared(tmp_path, images).assign(group=["one", "two"] * 7)
    checks = image_checks(reviewed(images), table, NO_PAIRS, NOTHING_VANISHED)

    assert checks.mistake.notna().all()


def test_few_images_are_checked_by_their_tables_only(tmp_path: Path) -> None:
    images = make_images(6)
    empty = np.zeros_like(images["phantom-00002"][1])
    checks = checks_of(tmp_path, images | {"phantom-00002": (images["phantom-00002"][0], empty)})

    assert checks.mistake.isna().all()
    assert checks.image_id[checks[reasons.EMPTY.name] > 0].tolist() == ["phantom-00002"]
    assert first(checks, 1) == {"phantom-00002"}


def test_the_number_of_masks_that_are_not_compared_is_told(images: Images, tmp_path: Path) -> None:
    """At 32 px, a lesion of one pixel of 64 x 64 has disappeared."""
    few = dict(list(images.items())[:14])
    name = next(iter(few))
    point = np.zeros_like(few[name][1])
    point[32, 32] = 1
    checks = checks_of(tmp_path, few | {name: (few[name][0], point)}, min(REVIEWED_SIDES))

    assert checks.image_id[checks.mistake.isna()].tolist() == [name]
    assert not_compared(checks) == (
        "1 mask(s) weren't compared with the images, because they contain only background or only foreground at the "
        "size of the comparison."
    )
    assert not_compared(checks[1:]) == ""


@pytest.mark.parametrize("value", [0, 1])
def test_masks_without_an_outline_are_no_error(images: Images, tmp_path: Path, value: int) -> None:
    """All empty, or all foreground."""
    same = {name: (image, np.full_like(mask, value)) for name, (image, mask) in list(images.items())[:14]}
    checks = checks_of(tmp_path, same)

    assert len(checks) == 14
    assert checks.mistake.isna().all()
    assert set(checks.reasons) == {""}  # a property of all images isn't a reason


def test_flat_images_are_no_error(tmp_path: Path) -> None:
    flat = {name: (np.full_like(image, 90), mask) for name, (image, mask) in make_images(14).items()}

    assert checks_of(tmp_path, flat).mistake.notna().all()


def test_odd_sizes_and_areas_are_hints(tmp_path: Path) -> None:
    images = make_images(10)
    table = write_prepared(tmp_path, images).assign(
        height=[96] * 8 + [400, 128], width=[128] * 8 + [400, 128], lesion_fraction=[0.2] * 6 + [0.5, 0.5, 0.005, 0.98]
    )
    table["touches_frame"] = [True] + 9 * [False]
    checks = image_checks(reviewed(images), table, NO_PAIRS, NOTHING_VANISHED)

    assert checks.reasons.tolist()[0] == reasons.BORDER.name
    assert checks.reasons.tolist()[8:] == [reasons.TINY.name, reasons.HUGE.name]  # two odd sizes of ten are common


def test_a_finding_about_an_exif_tag_is_shown(tmp_path: Path) -> None:
    finding = pd.DataFrame([("phantom-00001", "The image has an EXIF tag.")], columns=["image_id", "text"])
    images = make_images(4)
    table = write_prepared(tmp_path, images)
    checks = image_checks(reviewed(images), table, NO_PAIRS, NOTHING_VANISHED, finding)

    assert checks.suspicion.idxmax() == 1
    assert checks.details[1] == "The image has an EXIF tag."
    assert checks.reasons[1] == reasons.ORIENTATION.name


def test_the_models_of_a_large_data_set_are_fitted_to_a_sample(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand pixels of each image in the other three of four folds, so each image is used three times."""
    fit, used = expectation.fit_logistic, []

    def count(features: expectation.Values, labels: NDArray[np.bool_], ridge: float) -> expectation.Values:
        used.append(len(labels))
        return fit(features, labels, ridge)

    monkeypatch.setattr(expectation, "MANY", 30)
    monkeypatch.setattr(expectation, "fit_logistic", count)
    checks = checks_of(tmp_path, images)

    assert sum(used) == 3 * 30 * 1000
    assert checks.mistake.notna().all()


@pytest.mark.slow
def test_the_number_of_threads_changes_no_byte(images: Images, tmp_path: Path) -> None:
    write_prepared(tmp_path, images).to_csv(tmp_path / "lesions.csv", index=False)
    np.save(tmp_path / "reviewed.npy", reviewed(images))
    script = (
        "import os, numpy as np, pandas as pd; from pathlib import Path;"
        "cores = sorted(os.sched_getaffinity(0))[: int(os.environ['OMP_NUM_THREADS'])];"
        "os.sched_setaffinity(0, cores);"
        "from naevi.review.suspicion import image_checks;"
        "from tests.review.data import NO_PAIRS, NOTHING_VANISHED;"
        f"folder = Path({str(tmp_path)!r}); table = pd.read_csv(folder / 'lesions.csv');"
        "pixels = np.load(folder / 'reviewed.npy');"
        "print(image_checks(pixels, table, NO_PAIRS, NOTHING_VANISHED).to_csv())"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "PYTHONPATH": "."},
            capture_output=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0].strip().splitlines()) == 1 + 40


def test_an_outline_that_nothing_explains_has_its_fit_as_detail(
    images: Images, oblique: list[str], tmp_path: Path
) -> None:
    """The mask is the border of the image, which no shift, turn or swap makes better by half."""
    name = oblique[0]
    image, mask = images[name]
    frame = np.ones_like(mask)
    frame[4:-4, 4:-4] = 0
    row = checks_of(tmp_path, images | {name: (image, frame)}).set_index("image_id").loc[name]

    assert reasons.OUTLINE.name in row.reasons
    assert row.details == f"The Dice of the mask and the lesion guessed from the colors is {row.fit:.2f}."
