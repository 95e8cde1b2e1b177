"""Every kind of name finds its result, and unusable tables are refused."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from naevi.errors import UserError
from naevi.evaluation.summary import average_classes
from naevi.experiments.named_results import load_result, other_results
from naevi.files import read_json
from naevi.images.files import write_image, write_mask
from naevi.results.folders import published_names
from naevi.workspace import Workspace
from tests.experiments.helpers import git, per_image, write_scores
from tests.helpers import HERE, ROOT

DICE = {"workspace": 0.5, "default": 0.2, "kept": 0.3, "other": 0.4, "tried": 0.3, "HEAD~1": 0.1}


def test_every_name_finds_its_result(repository: SimpleNamespace) -> None:
    expected = DICE | {repository.first[:8]: 0.1}

    assert {name: load_result(HERE, name).per_image.dice[0] for name in expected} == expected


def test_results_are_those_of_the_workspace_and_not_of_the_current_folder(
    repository: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    workspace = Workspace(repository.folder)

    assert {name: load_result(workspace, name).per_image.dice[0] for name in DICE} == DICE
    assert sorted(result.per_image.dice[0] for result in other_results(workspace)) == [0.2, 0.3, 0.3, 0.4]


def test_an_unknown_name_is_refused_with_the_known_ones(repository: SimpleNamespace) -> None:
    expected = r"^'nobody' is not a result\. Use one of workspace, default, kept, other, tried, or any git revision\.$"
    with pytest.raises(UserError, match=expected):
        load_result(HERE, "nobody")


def test_an_experiment_that_shares_its_name_is_refused(repository: SimpleNamespace) -> None:
    first = repository.first
    git(repository.folder, "update-ref", f"refs/exps/{first[:2]}/{first[2:]}/tried", repository.second)

    with pytest.raises(
        UserError, match=r"^2 DVC experiments are named tried \(\w{7}, \w{7}\)\. Use one of these revisions\.$"
    ):
        load_result(HERE, "tried")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", r"^reports/per_image\.csv of workspace can't be read \(.*\)\. Use another result\.$"),
        (
            "image_id,dice\na,1\n",
            r"^reports/per_image\.csv of workspace has no column fold, iou\. Use another result\.$",
        ),
        (
            "image_id,fold,dice,iou\na,0,high,1\n",
            r"can't be read \(could not convert string to float: 'high'.*\)\. Use another",
        ),
        (
            "image_id,fold,dataset,dice,iou\na,0,ph2,1,1\nb,0,",
            r"^reports/per_image\.csv of workspace has rows without dataset, dice, iou\. Use another result\.$",
        ),
        ("image_id,fold,dice,iou\na,0,inf,1\n", r"has rows without dice\. Use another"),
        (
            "image_id,fold,dice\udcff,iou\na,0,1,1\n",
            r"^reports/per_image\.csv of workspace has no column dice\. Use another",
        ),
        (None, r"^workspace has no reports/per_image\.csv\. Run `dvc repro` or `dvc exp run` first"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(text: str | None, expected: str, folder: Path) -> None:
    if text is not None:
        HERE.per_image.parent.mkdir()
        HERE.per_image.write_text(text, encoding="utf-8", errors="surrogateescape")

    with pytest.raises(UserError, match=expected):
        load_result(HERE, "workspace")


def test_corrupt_results_are_left_out_of_the_others(repository: SimpleNamespace) -> None:
    write_scores(HERE.results / "kept", per_image([0.7, 0.9]))
    (HERE.results / "other" / "per_image.csv").write_text("spoilt")

    assert [result.per_image.dice[0] for result in other_results(HERE)] == [0.2, 0.3, 0.7]


def test_missing_predictions_are_none(repository: SimpleNamespace) -> None:
    predictions = load_result(HERE, "tried").predictions

    assert predictions is not None
    assert predictions("i0") is None


def test_predictions_of_the_workspace_are_classes(repository: SimpleNamespace) -> None:
    mask = np.eye(4, dtype=np.uint8)
    HERE.predictions.mkdir(parents=True)
    write_mask(HERE.predictions / "i0.png", mask)
    write_image(HERE.predictions / "i1.png", mask * 255)  # gray, as before there were classes

    read = load_result(HERE, "workspace").predictions

    assert read is not None
    for image_id in ("i0", "i1"):
        np.testing.assert_array_equal(read(image_id), mask)
    assert read("i2") is None


def test_scores_of_published_results_are_those_of_their_metrics() -> None:
    workspace = Workspace(ROOT)
    for name in published_names(workspace):
        expected = read_json(workspace.results / name / "metrics.json")["dice"]["mean"]
        dice = average_classes(load_result(workspace, name).per_image).dice
        assert dice.mean() == pytest.approx(expected, abs=1e-6)
