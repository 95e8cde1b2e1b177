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
from naevi.files import read_json, write_json
from naevi.images.files import write_image
from naevi.provenance import digest
from naevi.record import read_scores
from naevi.workspace import Workspace
from tests.datasets.image_files import encode, gray
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


KEEP_EMPTY = "preprocess.empty_masks=keep"


def validate(clinic: Path, out: str, *assignments: str, force: bool = False) -> None:
    folders = (clinic / "predictor", clinic / "images", clinic / "masks", clinic / "labels.csv")
    validate_model(Workspace(Path()), *folders, Path(out), force=force, assignments=assignments)


def problem(clinic: Path, *assignments: str) -> str:
    """Return why these images can't be validated."""
    with pytest.raises(UserError) as error:
        validate(clinic, "out", *assignments)
    assert not list(clinic.glob("out*"))
    return str(error.value)


def test_scores_and_report_need_no_repository(clinic: Path) -> None:
    validate(clinic, "new/out", KEEP_EMPTY)

    out = Workspace(clinic / "new/out")
    scores = read_scores(out.metrics, out.details)
    assert (scores["images"], scores["empty_masks"]) == (4, 1)
    assert pd.read_csv(out.per_image).diagnosis.tolist() == ["nevus", "nevus", "melanoma", "none"]
    assert read_json(out.data_statistics)["images"] == 4
    assert len(list(out.predictions.iterdir())) == 4
    report = out.report_md.read_text(encoding="utf-8")
    assert "evaluate.resamples` | `10000`" in report
    assert str(clinic) not in report
    assert {path.name for path in (clinic / "new").iterdir()} == {"out"}


def test_a_predictor_of_an_earlier_version_is_read(clinic: Path) -> None:
    """Its model.json lacks the parameters of training that were added later."""
    file = clinic / "predictor/model.json"
    values = {key: value for key, value in read_json(file).items() if key not in ("fingerprint", "sha256")}
    for key in ("start_from", "freeze_encoder"):
        del values["train"][key]
    write_json(file, {"fingerprint": digest(values)} | values | {"sha256": read_json(file)["sha256"]})

    validate(clinic, "out", KEEP_EMPTY)

    report = Workspace(clinic / "out").report_md.read_text(encoding="utf-8")
    assert "| `train.start_from` | `encoder` |" in report
    assert "| `train.freeze_encoder` | `0` |" in report


def test_the_same_images_give_the_same_bytes_with_force(clinic: Path) -> None:
    validate(clinic, "out", KEEP_EMPTY)
    out = Workspace(clinic / "out")
    before = [path.read_bytes() for path in (out.metrics, out.per_image, out.report_md)]
    out.metrics.write_text("{}", encoding="utf-8")

    with pytest.raises(UserError, match=r"^--out out already exists\. Choose a new name, or overwrite it with --for"):
        validate(clinic, "out")
    validate(clinic, "out", KEEP_EMPTY, force=True)

    assert [path.read_bytes() for path in (out.metrics, out.per_image, out.report_md)] == before


def test_force_never_removes_other_files(clinic: Path) -> None:
    before = sorted(clinic.rglob("*"))

    with pytest.raises(UserError, match=r"^--out \. contains other files too \(images, labels\.csv, masks\)\. Choose"):
        validate(clinic, ".", force=True)

    assert sorted(clinic.rglob("*")) == before


def test_empty_masks_are_an_error_unless_kept(clinic: Path) -> None:
    assert problem(clinic) == (
        "1 mask(s) contain only background: 3. Set preprocess.empty_masks to keep, fix the masks, or remove them and "
        "their images. Here, parameters are set with --set-param preprocess.empty_masks=…"
    )


def test_files_can_be_read_in_another_way(clinic: Path) -> None:
    """The masks have the values 0 and 1, and one is missing."""
    for index in range(4):
        synthetic = synthetic_image(index, height=64, width=96, seed=3)
        write_image(clinic / "masks" / f"{index}.png", synthetic.mask)
    (clinic / "masks" / "3.png").unlink()
    one = "data.classes.lesion=1"

    assert problem(clinic, one).endswith("Here, parameters are set with --set-param data.mismatches=…")
    assert "undeclared values: 1 in" in problem(clinic, "data.mismatches=leave-out", "data.extra_rows=ignore")
    assert problem(clinic, "data.mismatches=leave-out").endswith("set with --set-param data.classes.lesion=…")
    validate(clinic, "out", one, "data.mismatches=leave-out")

    assert read_json(Workspace(clinic / "out").metrics)["images"] == 3


def test_other_parameters_and_values_are_refused(clinic: Path) -> None:
    assert problem(clinic, "train.lr=1").startswith(
        "--set-param can't set 'train.lr=1'. Use one of data.columns.image,"
    )
    assert problem(clinic, "data.mismatches").startswith("--set-param can't set 'data.mismatches'.")
    assert problem(clinic, "data.mismatches=ignore") == (
        "--set-param has 1 problem(s):\n  data.mismatches: Input should be 'refuse' or 'leave-out'; got 'ignore'"
    )
    assert problem(clinic, "data.classes.skin=255", "data.classes.lesion=0") == (
        "--set-param gives the classes the values {'skin': 255, 'lesion': 0}. Each class needs a value of its own, in "
        "the order of the model's values {'skin': 0, 'lesion': 255}."
    )


def test_images_with_another_range_than_the_training_images_are_refused(clinic: Path) -> None:
    """12 bits of 16 would be nearly black, as in `predict`."""
    (clinic / "images" / "0.png").write_bytes(encode(gray(np.full((64, 96), 4095), np.uint16)))

    assert "images/0.png can't be read as an image: its largest value is 4095, but white was 65535" in problem(clinic)


def test_folders_above_the_images_have_no_meaning(clinic: Path) -> None:
    """The images are in a folder named test, the masks in a folder named dev."""
    for part, name in (("test", "images"), ("dev", "masks")):
        (clinic / part).mkdir()
        (clinic / name).rename(clinic / part / name)

    validate_model(
        Workspace(Path()),
        clinic / "predictor",
        clinic / "test" / "images",
        clinic / "dev" / "masks",
        None,
        Path("out"),
        force=False,
        assignments=[KEEP_EMPTY],
    )

    assert read_json(Workspace(clinic / "out").metrics)["images"] == 4


def test_missing_folders_are_named(clinic: Path) -> None:
    with pytest.raises(UserError, match=r"^There is no nowhere\. Check the spelling"):
        validate_model(
            Workspace(Path()), Path("predictor"), Path("nowhere"), Path("masks"), None, Path("out"), force=False
        )
