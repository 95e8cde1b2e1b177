"""Validation outside a repository, with nothing but a predictor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from naevi.config import Config
from naevi.datasets.synthetic import synthetic_image
from naevi.deploy.external_validation import validate_model
from naevi.errors import UserError
from naevi.files import read_json
from naevi.images import write_image
from naevi.workspace import Workspace
from tests.deploy.predictors import write_predictor

pytestmark = pytest.mark.slow


@pytest.fixture
def clinic(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config_with: Callable[[dict[str, Any]], Config],
    torch_threads: None,
) -> Path:
    """A folder with a predictor and four labeled images, the last one without lesion. It is the current folder."""
    write_predictor(tmp_path / "predictor", config_with({}))
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for index in range(4):
        synthetic = synthetic_image(index, height=64, width=96, seed=3)
        mask = synthetic.mask * np.uint8(255 if index < 3 else 0)
        write_image(tmp_path / "images" / f"{index}.png", synthetic.image)
        write_image(tmp_path / "masks" / f"{index}.png", mask)
    pd.DataFrame({"image_id": ["0", "1", "2", "3"], "diagnosis": ["nevus", "nevus", "melanoma", "none"]}).to_csv(
        tmp_path / "labels.csv", index=False
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def validate(clinic: Path, out: str, *, force: bool = False, keep_empty_masks: bool = True) -> None:
    folders = (clinic / "predictor", clinic / "images", clinic / "masks", clinic / "labels.csv")
    validate_model(Workspace(Path()), *folders, Path(out), force=force, keep_empty_masks=keep_empty_masks)


def test_scores_and_report_need_no_repository(clinic: Path) -> None:
    validate(clinic, "new/out")

    out = Workspace(clinic / "new/out")
    scores = read_json(out.metrics)
    assert (scores["images"], scores["empty_masks"]) == (4, 1)
    assert pd.read_csv(out.per_image).diagnosis.tolist() == ["nevus", "nevus", "melanoma", "none"]
    assert read_json(out.data_statistics)["images"] == 4
    assert len(list(out.predictions.iterdir())) == 4
    report = out.report_md.read_text(encoding="utf-8")
    assert "evaluate.resamples` | `10000`" in report
    assert str(clinic) not in report
    assert {path.name for path in (clinic / "new").iterdir()} == {"out"}


def test_the_same_images_give_the_same_bytes_with_force(clinic: Path) -> None:
    validate(clinic, "out")
    out = Workspace(clinic / "out")
    before = [path.read_bytes() for path in (out.metrics, out.per_image, out.report_md)]
    out.metrics.write_text("{}", encoding="utf-8")

    with pytest.raises(UserError, match=r"^--out out already exists\. Choose a new name, or overwrite it with --for"):
        validate(clinic, "out")
    validate(clinic, "out", force=True)

    assert [path.read_bytes() for path in (out.metrics, out.per_image, out.report_md)] == before


def test_force_never_removes_other_files(clinic: Path) -> None:
    before = sorted(clinic.rglob("*"))

    with pytest.raises(UserError, match=r"^--out \. contains other files too \(images, labels\.csv, masks\)\. Choose"):
        validate(clinic, ".", force=True)

    assert sorted(clinic.rglob("*")) == before


def test_empty_masks_are_an_error_unless_kept(clinic: Path) -> None:
    with pytest.raises(UserError, match="1 mask"):
        validate(clinic, "out", keep_empty_masks=False)

    assert not list(clinic.glob("out*"))


def test_missing_folders_are_named(clinic: Path) -> None:
    with pytest.raises(UserError, match=r"^There is no nowhere\. Check the spelling"):
        validate_model(
            Workspace(Path()), Path("predictor"), Path("nowhere"), Path("masks"), None, Path("out"), force=False
        )
