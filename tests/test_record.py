"""The record of a result, and what a workspace is checked against."""

import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from naevi.config import Config
from naevi.digests import path_md5
from naevi.errors import UserError
from naevi.evaluation.outputs import split_scores
from naevi.files import write_csv, write_json
from naevi.provenance import digest
from naevi.record import (
    StageRecord,
    check_result,
    content_problems,
    file_problems,
    merge_scores,
    model_problems,
    parameter_problems,
    parse_lock,
    read_record,
    record_problems,
    result_fingerprint,
    score_problems,
)
from naevi.workspace import Workspace
from tests.helpers import HERE, ROOT, lock_entries, write_lock

Overrides = dict[str, Any]
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture
def config(config_with: Callable[[Overrides], Config]) -> Config:
    return config_with({"cv.models": [0]})


@pytest.fixture
def workspace(tmp_path: Path, config: Config) -> Workspace:
    """A workspace with a result of one fold and its record."""
    result = Workspace(tmp_path)
    result.model("0").mkdir(parents=True)
    result.prepared.mkdir()
    result.metrics.parent.mkdir()
    (result.model("0") / "model.safetensors").touch()
    origin = {"item": "0"}
    write_json(result.model("0") / "model.json", origin | {"fingerprint": digest(origin), "sha256": EMPTY_SHA256})
    history = pd.DataFrame({"epoch": [1, 2], "val_dice": [0.25, 0.5]})
    write_csv(result.model("0") / "history.csv", history)
    write_csv(result.curves, history.assign(model="0"))
    write_json(result.metrics, {"images": 2, "dice": {"mean": 0.5}, "iou": {"mean": 0.4}})
    write_csv(result.per_image, pd.DataFrame({"image_id": ["a", "b"], "fold": 0, "dice": [0.25, 0.75], "iou": 0.4}))
    write_csv(result.image_table, pd.DataFrame({"image_id": ["a", "b"]}))
    write_lock(result, config)
    return result


def lock_text(stages: dict[str, Any]) -> str:
    return json.dumps({"stages": stages})


def test_a_lock_gives_the_parameters_of_the_stages_that_compute(workspace: Workspace, config: Config) -> None:
    stages = lock_entries(workspace, config)
    stages["report"]["params"]["params.yaml"]["train"] = {"lr": 0.125}
    stages["train@1"] = stages["track"] = {"cmd": "of an earlier run"}

    record = parse_lock(lock_text(stages), "dvc.lock")

    assert list(record.stages) == ["download", "preprocess", "split", "train@0", "evaluate", "report"]
    assert list(record.computing.stages) == ["download", "preprocess", "split", "train@0", "evaluate"]
    assert record.config == config
    assert record.lacking == frozenset()
    assert record.outs["reports/metrics.json"] == path_md5(workspace, "reports/metrics.json")
    assert record.files["data/prepared/lesions.csv"] == path_md5(workspace, "data/prepared/lesions.csv")


def test_parameters_that_a_stage_names_by_key_are_read(workspace: Workspace, config: Config) -> None:
    stages = lock_entries(workspace, config)
    stages["train@0"]["params"]["params.yaml"] |= {"data.classes": {"skin": 0, "lesion": 255}, "preprocess.size": 32}

    record = parse_lock(lock_text(stages), "dvc.lock")

    assert record.stages["train@0"].parameters["data.classes"] == {"skin": 0, "lesion": 255}
    assert record.config == config
    assert record_problems(record) == []


def test_classes_of_other_data_sets_are_one_parameter(workspace: Workspace, config: Config) -> None:
    """Otherwise a stage that ran without them would seem to agree."""
    stages = lock_entries(workspace, config)
    own = {"HAM": {"skin": 0, "lesion": 1}}
    values = stages["download"]["params"]["params.yaml"]
    values["data"] = values["data"] | {"classes_by_dataset": own}

    record = parse_lock(lock_text(stages), "dvc.lock")

    assert record.stages["download"].parameters["data.classes_by_dataset"] == own
    assert record_problems(record) == ["data.classes_by_dataset was changed after download ran and before report did"]


@pytest.mark.parametrize(
    "text", ["", "stages: {", "stages: {download: {}}", "stages: 3", '{"stages": {"evaluate": {"outs": [{}]}}}']
)
def test_a_lock_without_a_complete_result_is_a_user_error(text: str) -> None:
    with pytest.raises(UserError, match=r"^dvc\.lock doesn't record a complete result \(.+\)\. Run `dvc repro`\.$"):
        parse_lock(text, "dvc.lock")


def test_a_workspace_without_a_lock_is_a_user_error(folder: Path) -> None:
    with pytest.raises(UserError, match=r"^There is no dvc\.lock, so the result has no record\."):
        read_record(HERE)


def test_stages_that_do_not_belong_together_are_noticed(workspace: Workspace, config: Config) -> None:
    """Parameters, classes, data and code that one stage ran with and another one didn't."""
    stages = lock_entries(workspace, config)
    code = {"path": "naevi/files.py", "md5": "1"}
    stages["preprocess"]["deps"] = [code]
    stages["train@0"]["params"]["params.yaml"] |= {"data.classes": {"skin": 0}}
    stages["train@0"]["deps"] = [{"path": "data/prepared", "md5": "2"}]
    stages["evaluate"]["params"]["params.yaml"]["split.seed"] = 43
    stages["evaluate"]["deps"] = [code | {"md5": "2"}]

    assert (
        record_problems(parse_lock(lock_text(stages), "dvc.lock"))
        == [
            "data.classes was changed after download ran and before train@0 did",
            "data/prepared was changed after preprocess ran and before train@0 did",
            "split.seed was changed after split ran and before evaluate did",
            "naevi/files.py was changed after preprocess ran and before evaluate did",
            "data.classes was changed after download ran and before report did",
        ][:4]
    )


def test_parameters_that_differ_are_named_with_both_values(
    workspace: Workspace, config_with: Callable[[Overrides], Config]
) -> None:
    present = config_with({"cv.models": [0], "train.lr": 0.5, "model.architecture": "segnet"})

    assert parameter_problems(read_record(workspace), present) == [
        "model.architecture is segnet, but the result was computed with unet-plain",
        "train.lr is 0.5, but the result was computed with 0.001",
    ]


def test_files_are_compared_with_their_md5(workspace: Workspace) -> None:
    (workspace.model("0") / "notes~").touch()
    (workspace.root / ".dvcignore").write_text("*~\n")
    md5s = read_record(workspace).outs
    assert file_problems(workspace, md5s) == []

    workspace.curves.unlink()
    (workspace.model("0") / "history.csv").write_text("epoch\n")

    assert file_problems(workspace, md5s) == ["data/models/0 has changed", "reports/curves.csv is missing"]


def test_a_folder_has_the_md5_that_dvc_computes(tmp_path: Path) -> None:
    """The number is that of DVC 3.67.1 for these two files."""
    (tmp_path / "data/sub").mkdir(parents=True)
    (tmp_path / "data/b.txt").write_text("b\n")
    (tmp_path / "data/sub/ä.txt").write_text("a\n", encoding="utf-8")

    assert path_md5(Workspace(tmp_path), "data") == "dede73b1b1a0ea37f730b3652336090f.dir"


def test_a_workspace_that_matches_its_record_passes(workspace: Workspace, config: Config) -> None:
    files = [workspace.model("0"), workspace.image_table, workspace.curves]

    check_result(workspace, read_record(workspace), config, files)


def test_differences_are_one_message_of_at_most_three(
    workspace: Workspace, config_with: Callable[[Overrides], Config]
) -> None:
    present = config_with({"cv.models": [0], "train.epochs": 9, "split.seed": 1})
    workspace.curves.write_text("")

    with pytest.raises(UserError) as error:
        check_result(workspace, read_record(workspace), present, [workspace.thresholds, workspace.curves])

    assert str(error.value) == (
        "The workspace differs from the result that dvc.lock records: split.seed is 1, but the result was computed "
        "with 42; train.epochs is 9, but the result was computed with 1; reports/thresholds.csv is not in dvc.lock; "
        "and 1 more. Run `dvc repro`, or undo the change with `git restore` or `dvc checkout`."
    )


def test_code_is_checked_for_the_present_result_only(workspace: Workspace, config: Config) -> None:
    stages = lock_entries(workspace, config)
    (workspace.root / "stages").mkdir()
    (workspace.root / "stages/split.py").write_text("# edited")
    stages["split"]["deps"] = [{"path": "stages/split.py", "md5": "0"}]
    record = parse_lock(lock_text(stages), "dvc.lock")
    check_result(workspace, record, None, [workspace.metrics])

    with pytest.raises(UserError, match=r"records: stages/split\.py has changed\. Run `dvc repro`"):
        check_result(workspace, record, config, [workspace.metrics])


def test_models_that_were_trained_after_the_evaluation_are_noticed(workspace: Workspace) -> None:
    """Such as after a run that was interrupted between both stages. dvc.lock doesn't show it."""
    record = read_record(workspace)
    assert content_problems(workspace, record) == []
    write_csv(workspace.model("0") / "history.csv", pd.DataFrame({"epoch": [1, 2], "val_dice": [0.25, 0.75]}))

    assert content_problems(workspace, record) == ["the models were trained again after evaluate ran"]


def test_weights_are_compared_with_their_description(workspace: Workspace) -> None:
    folder = workspace.model("0")
    assert model_problems(folder) == []

    (folder / "model.safetensors").write_bytes(b"x")
    assert model_problems(folder) == ["0/model.safetensors is not the file that model.json describes"]

    (folder / "model.safetensors").unlink()
    assert model_problems(folder) == ["0 has no readable model"]


# Two classes: images a and b have means .5 and 1 over their classes. Image c has no score, so the mean is .75.
CLASSES = pd.DataFrame(
    {
        "image_id": list("aabbcc"),
        "fold": 0,
        "class": ["x", "y"] * 3,
        "dice": [0.25, 0.75, 1, None, None, None],
        "iou": [0.2, 0.6, 1, None, None, None],
    }
)


def test_scores_that_fit_their_table_have_no_problems() -> None:
    assert score_problems({"images": 3, "dice": {"mean": 0.7500009}, "iou": {"mean": 0.7}}, CLASSES) == []


def test_scores_that_contradict_their_table_are_noticed() -> None:
    assert score_problems({"images": 2, "dice": {"mean": 0.750003}, "iou": {}}, CLASSES) == [
        "dice.mean is 0.750003, but the mean of per_image.csv is 0.750000",
        "iou.mean is None, but the mean of per_image.csv is 0.700000",
        "images is 2, but per_image.csv has 3",
    ]


def test_equal_data_under_another_path_or_name_gives_the_same_fingerprint(
    config_with: Callable[[Overrides], Config],
) -> None:
    first = config_with({"data.source": "folder", "data.path": "here", "data.name": "a"})
    second = config_with({"data.source": "folder", "data.path": "there", "data.name": "b"})
    other = config_with({"data.source": "folder", "data.path": "here", "data.name": "a", "split.seed": 1})

    assert result_fingerprint(first, [], {}) == result_fingerprint(second, [], {})
    assert result_fingerprint(first, [], {}) != result_fingerprint(other, [], {})


def test_an_earlier_result_has_the_fingerprint_in_its_report() -> None:
    """The result is in the archive in tests/old_records. Its record lacks the parameters that were added later."""
    with tarfile.open(ROOT / "tests/old_records/repository.tar.xz") as archive:

        def text(name: str) -> str:
            member = archive.extractfile(name)
            assert member is not None
            return member.read().decode()

        record = parse_lock(text("dvc.lock"), "dvc.lock")
        models = [json.loads(text(f"data/models/{name}/model.json")) for name in record.config.model_names()]
        scores, report = json.loads(text("reports/metrics.json")), text("reports/report.md")

    found = re.search(r"tags\.fingerprint = '([0-9a-f]{64})'", report)
    assert found is not None
    assert record_problems(record) == []
    assert "data.path" in record.lacking
    assert result_fingerprint(record.config, models, scores, record.lacking) == found.group(1)
    again = merge_scores(*split_scores(scores))
    assert result_fingerprint(record.config, models, again, record.lacking) == found.group(1)


def test_a_stage_record_is_flat(workspace: Workspace) -> None:
    stage = read_record(workspace).stages["split"]

    assert isinstance(stage, StageRecord)
    assert stage.parameters == {"split.folds": 2, "split.validation": 0.5, "split.seed": 42}
