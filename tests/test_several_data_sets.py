"""Two data sets in two layouts, one of them an archive: from the files to the folds, the scores and the report.

Nothing is trained. The scores of the images are given, so that means can be worked out by hand.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from naevi.config import Config
from naevi.datasets.raw import build_raw
from naevi.datasets.synthetic import synthetic_image
from naevi.evaluation.summary import summarize_cross_validation
from naevi.preprocessing.checks import check_data
from naevi.preprocessing.prepare import prepare
from naevi.reporting.data_checks import dataset_table
from naevi.reporting.result import ReportData
from naevi.reporting.subgroups import subgroup_tables
from naevi.splitting import assign_parts
from naevi.tables import read_image_table, read_labels
from naevi.workspace import Workspace
from tests.conftest import Tiny
from tests.reporting.report_data import PIXELS, score_predictions, write_predictions

HAM = [f"HAM_ISIC_{number}" for number in range(8)]
PH2 = [f"PH2_IMD00{number}" for number in range(4)]


def write_images(folder: Path) -> None:
    """Write eight images as HAM10000 and four as PH2. IMD000 is ISIC_0, saved as a BMP."""

    def write(index: int, image: Path, mask: Path) -> None:
        synthetic = synthetic_image(index, height=64, width=96, seed=3)
        for path, pixels in ((image, synthetic.image), (mask, synthetic.mask * np.uint8(255))):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)

    ham, ph2 = folder / "both/HAM", folder / "PH2Dataset"
    for number in range(8):
        write(number, ham / f"images/ISIC_{number}.jpg", ham / f"masks/ISIC_{number}_segmentation.png")
    rows = [f"HAM_{max(number, 1)},ISIC_{number},nv\n" for number in range(8)]  # ISIC_0 and ISIC_1 show one lesion
    (ham / "HAM10000_metadata.csv").write_text("lesion_id,image_id,dx\n" + "".join(rows))
    for number, index in enumerate((0, 11, 12, 13)):
        name = f"IMD00{number}"
        parts = ph2 / "PH2 Dataset images" / name
        write(index, parts / f"{name}_Dermoscopic_Image/{name}.bmp", parts / f"{name}_lesion/{name}_lesion.bmp")
    rows = [f"|| IMD00{number} ||  ||  {number // 2} ||  0 ||\n" for number in range(4)]
    (ph2 / "PH2_dataset.txt").write_text("".join(rows))
    shutil.make_archive(str(folder / "both/PH2"), "xztar", folder, ph2.name)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, config_with: Callable[[dict[str, Any]], Config]) -> Tiny:
    """Return both data sets, prepared and split into two folds."""
    workspace = Workspace(tmp_path_factory.mktemp("several"))
    write_images(workspace.root)
    settings = {"data.source": "folder", "data.path": "both", "data.datasets": "subfolders"}
    config = config_with(settings | {"evaluate.resamples": 10_000})
    build_raw(workspace, config.data)
    prepared = prepare(workspace, config.data, config.preprocess)
    statistics = check_data(workspace, prepared, config.preprocess)
    table = prepared.image_table
    return Tiny(workspace, config, table, assign_parts(table, config.split), statistics)


@pytest.fixture(scope="module")
def result(both: Tiny, tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    """Return a result: HAM's images have a Dice of 0.5 and 0.7, in turn, and PH2's have 0.9."""
    found = score_predictions(both, write_predictions(both, tmp_path_factory.mktemp("predictions")))
    test = found.per_image.assign(dice=[0.5, 0.7] * 4 + [0.9] * 4, iou=[0.4, 0.6] * 4 + [0.8] * 4)
    metrics = summarize_cross_validation(test, PIXELS, test, both.config.evaluate)
    return replace(found, per_image=test, metrics=metrics)


def test_every_image_is_prepared_with_its_data_set_and_diagnosis(both: Tiny) -> None:
    assert read_labels(both.workspace).image_id.tolist() == HAM + PH2
    assert both.image_table[["image_id", "dataset", "diagnosis"]].to_numpy().tolist() == [
        *([name, "HAM", "nv"] for name in HAM),
        *([name, "PH2", "common"] for name in PH2[:2]),
        *([name, "PH2", "atypical"] for name in PH2[2:]),
    ]
    assert read_image_table(both.workspace).dataset.tolist() == ["HAM"] * 8 + ["PH2"] * 4


def test_near_duplicates_and_lesions_share_a_part_across_data_sets(both: Tiny) -> None:
    """ISIC_0 and ISIC_1 show one lesion, and IMD000 is a copy of ISIC_0."""
    split = both.split.set_index("image_id")

    assert split.group[[HAM[0], HAM[1], PH2[0]]].nunique() == 1
    assert split.group.nunique() == 12 - 2
    for fold in ("0", "1"):
        assert split.loc[[HAM[0], HAM[1], PH2[0]], fold].nunique() == 1


def test_each_fold_tests_half_of_each_data_set(both: Tiny) -> None:
    split = both.split.assign(dataset=both.image_table.dataset)

    for fold in ("0", "1"):
        assert split[split[fold] == "test"].dataset.value_counts().to_dict() == {"HAM": 4, "PH2": 2}
        assert set(split[split[fold] == "val"].dataset) == {"HAM", "PH2"}


def test_each_data_set_has_its_mean_with_an_interval(result: ReportData) -> None:
    """Of the eight HAM images in a resample, none (1 of 256 resamples) or one (8 of 256) has 0.7: a mean of 0.525."""
    assert result.metrics.get("by_dataset") == {
        "HAM": pytest.approx({"images": 8, "dice": 0.6, "low": 0.525, "high": 0.675, "iou": 0.5}),
        "PH2": pytest.approx({"images": 4, "dice": 0.9, "low": 0.9, "high": 0.9, "iou": 0.8}),
    }
    assert result.metrics["dice"]["mean"] == pytest.approx(0.7)  # (8 * 0.6 + 4 * 0.9) / 12


def test_the_report_has_a_table_of_data_sets(result: ReportData) -> None:
    tables = subgroup_tables(result)

    assert next(iter(tables)) == "Data set"
    assert tables["Data set"].rows == [
        ["HAM", "8", "0.600", "0.525 to 0.675", "8", "0.500"],
        ["PH2", "4", "0.900", "0.900 to 0.900", "0", "0.800"],
    ]


def test_the_data_statistics_have_each_data_set(both: Tiny) -> None:
    rows = dataset_table(both.statistics).rows

    assert [row[:2] for row in rows] == [
        ["common", "2"],
        ["atypical", "2"],
        ["nv", "8"],
        ["data set HAM", "8"],
        ["data set PH2", "4"],
        ["all", "12"],
    ]


def test_one_data_set_has_no_subgroup_of_its_own(tiny: Tiny) -> None:
    assert "by_dataset" not in tiny.statistics
    assert not [row for row in dataset_table(tiny.statistics).rows if row[0].startswith("data set")]
