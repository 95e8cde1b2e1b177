"""Differences between MLflow and git are found and repaired."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from ruamel.yaml import YAML

from naevi.experiments.demo import commit
from naevi.files import read_yaml
from tests import pipeline
from tests.experiments.helpers import md5

FEWER = "See above. To check fewer than 20 commits, use COMMITS=…."


@pytest.fixture(scope="module")
def repository(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small repository with its result committed, and an experiment with one fold."""
    folder = pipeline.copy(small_repository, tmp_path_factory.mktemp("verification") / "repository")
    commit(folder, "Run it")
    settings = ("--set-param", "cv.models=[0]", "--set-param", "train.epochs=1")
    pipeline.run(folder, "dvc", "exp", "run", "--temp", "--name", "short", *settings)
    return folder


def verify(folder: Path) -> list[str]:
    """Return the lines that `verify` prints, whether it succeeds or fails."""
    return pipeline.run(folder, "python", "-m", "naevi", "verify", check=False).splitlines()


def client(folder: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def runs(folder: Path, condition: str = "") -> list[Any]:
    """Return the runs that meet a condition."""
    return list(client(folder).search_runs(["1"], condition))


IDENTITY = {
    f"GIT_{who}_{key}": value for who in ("AUTHOR", "COMMITTER") for key, value in (("NAME", "n"), ("EMAIL", "n@n"))
}
SHORT = "short, epochs 1, models [0]"  # the name of the run of the experiment `short`
VERIFIED = ["verified: all 2 results in git have one complete run in MLflow."]


def test_without_differences_nothing_changes(repository: Path) -> None:
    before = {run.info.run_id: run.data.tags for run in runs(repository)}

    assert verify(repository) == VERIFIED
    after = {run.info.run_id: dict(run.data.tags) for run in runs(repository)}
    commits = [tags.pop("result.commit") for tags in after.values() if "result.commit" in tags]
    assert commits == [pipeline.run(repository, "git", "rev-parse", "HEAD").strip()]  # of the result that is committed
    assert after == before
    assert len(before) == 6  # two results, three models and one


def test_lost_runs_are_recorded_again(repository: Path) -> None:
    head = pipeline.run(repository, "git", "rev-parse", "--short=7", "HEAD").strip()
    (model,) = (run for run in runs(repository, "tags.kind = 'model' and params.item = '1'"))
    client(repository).delete_run(model.info.run_id)
    (result,) = runs(repository, "tags.dvc.experiments = 'short'")
    client(repository).delete_run(result.info.run_id)

    assert verify(repository) == [
        "naevi: Recorded in MLflow: model 1.",
        f"naevi: Recorded in MLflow: result {SHORT}.",
        f"{head}: 1 of its models missing in MLflow. Recorded from the files.",
        "short: missing in MLflow. Recorded from the files.",
        *VERIFIED,
    ]
    (again,) = runs(repository, "tags.dvc.experiments = 'short'")
    assert again.data.metrics == result.data.metrics
    assert again.data.params == result.data.params
    assert verify(repository) == VERIFIED


def test_a_run_whose_process_has_ended_is_killed(repository: Path) -> None:
    (known,) = runs(repository, "tags.dvc.experiments = 'short'")
    host, number, _ = known.data.tags["process"].split()
    tags = {"kind": "model", "fingerprint": "f", "process": f"{host} {number} 1.0"}
    gone = client(repository).create_run("1", run_name="gone", tags=tags)
    elsewhere = tags | {"process": f"not-{host} {number} 1.0"}
    client(repository).create_run("1", run_name="elsewhere", tags=elsewhere)

    assert verify(repository) == [
        "gone: its process has ended, so it is KILLED now.",
        "elsewhere: still running, here or on another machine.",
        *VERIFIED,
    ]
    assert client(repository).get_run(gone.info.run_id).info.status == "KILLED"
    assert verify(repository)[1:] == VERIFIED


def test_duplicates_are_deleted_and_names_are_added(repository: Path) -> None:
    (known,) = runs(repository, "tags.dvc.experiments = 'short'")
    duplicate = client(repository).create_run("1", tags=known.data.tags)
    client(repository).set_terminated(duplicate.info.run_id)
    client(repository).delete_tag(known.info.run_id, "dvc.experiments")

    lines = verify(repository)

    assert f"{SHORT}: recorded twice. Run {duplicate.info.run_id} was deleted." in lines
    assert f"{SHORT}: added the experiment names short." in lines
    assert [run.info.run_id for run in runs(repository, "tags.dvc.experiments = 'short'")] == [known.info.run_id]


def test_results_that_are_not_in_git_are_tagged_and_kept(repository: Path, tmp_path: Path) -> None:
    folder = pipeline.copy(repository, tmp_path / "repository")
    (result,) = runs(folder, "tags.dvc.experiments = 'short'")
    pipeline.run(folder, "dvc", "exp", "remove", "short")

    assert f"{SHORT}: in no commit and no experiment. It is tagged orphan = true." in verify(folder)
    assert [run.info.run_id for run in runs(folder, "tags.orphan = 'true'")] == [result.info.run_id]

    client(folder).set_tag(result.info.run_id, "dvc.baseline", "0" * 40)  # of another clone
    client(folder).delete_tag(result.info.run_id, "orphan")
    assert not any("orphan" in line for line in verify(folder))


def test_a_result_that_cannot_be_recorded_is_reported(repository: Path, tmp_path: Path) -> None:
    folder = pipeline.copy(repository, tmp_path / "repository")
    (result,) = runs(folder, "tags.dvc.experiments = 'short'")
    client(folder).delete_run(result.info.run_id)
    shutil.rmtree(folder / ".dvc" / "cache")

    lines = verify(folder)

    assert lines[-2].startswith(
        "short: missing in MLflow. It can't be recorded: data/prepared/lesions.csv is in no cache"
    )
    assert lines[-1] == f"naevi: 1 of 2 results in git have no complete run in MLflow. {FEWER}"


def test_a_commit_from_before_the_predictor_is_recorded(repository: Path, tmp_path: Path) -> None:
    folder = pipeline.copy(repository, tmp_path / "repository")
    head = amend(folder, remove_predictor)
    (result,) = (run for run in runs(folder, "tags.kind = 'result'") if "dvc.experiments" not in run.data.tags)
    client(folder).delete_run(result.info.run_id)

    assert f"{head}: missing in MLflow. Recorded from the files." in verify(folder)
    (again,) = (run for run in runs(folder, "tags.kind = 'result'") if "dvc.experiments" not in run.data.tags)
    assert again.outputs.model_outputs


def test_a_commit_with_old_parameters_is_reported(repository: Path, tmp_path: Path) -> None:
    folder = pipeline.copy(repository, tmp_path / "repository")
    head = amend(folder, remove_parameter)
    (result,) = (run for run in runs(folder, "tags.kind = 'result'") if "dvc.experiments" not in run.data.tags)
    client(folder).delete_run(result.info.run_id)

    lines = verify(folder)

    assert lines[-2].startswith(f"{head}: missing in MLflow. It can't be recorded: params.yaml has 1 problem")
    assert "evaluate.turns" in lines[-2]


def amend(folder: Path, change: Callable[[Path], None]) -> str:
    """Change the last commit as if it were from an older version, and return its name in messages."""
    change(folder)
    pipeline.run(folder, "git", "commit", "--quiet", "--all", "--amend", "--no-edit", **IDENTITY)
    return pipeline.run(folder, "git", "rev-parse", "--short=7", "HEAD").strip()


def remove_predictor(folder: Path) -> None:
    for file in (folder / "dvc.yaml", folder / "dvc.lock"):
        document = read_yaml(file)
        for stage in document.get("stages", {}).values():
            for key in ("deps", "outs"):
                stage[key] = [entry for entry in stage.get(key, []) if "data/predictor" not in str(entry)]
        YAML().dump(document, file)


def remove_parameter(folder: Path) -> None:
    document = read_yaml(folder / "dvc.lock")
    del document["stages"]["evaluate"]["params"]["params.yaml"]["evaluate"]["turns"]
    YAML().dump(document, folder / "dvc.lock")


# The files of runs


def flip(file: Path) -> None:
    """Flip one bit and keep time and permissions of the file, as a damaged disk does."""
    status = file.stat()
    file.chmod(0o644)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    file.chmod(status.st_mode)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def files(folder: Path, run: Any) -> Path:
    """Return the folder with a run's files."""
    return folder / "mlartifacts" / run.info.run_id / "artifacts"


def model_files(folder: Path, run: Any) -> Path:
    """Return the folder with the files of a run's MLflow model."""
    return folder / "mlartifacts/models" / run.outputs.model_outputs[0].model_id / "artifacts"


def test_lost_and_damaged_files_and_metrics_are_recorded_again(repository: Path, tmp_path: Path) -> None:
    folder = pipeline.copy(repository, tmp_path / "repository")
    head = pipeline.run(folder, "git", "rev-parse", "--short=7", "HEAD").strip()
    (short,) = runs(folder, "tags.dvc.experiments = 'short'")
    (default,) = (run for run in runs(folder, "tags.kind = 'result'") if run.info.run_id != short.info.run_id)
    (model,) = (run for run in runs(folder, "tags.kind = 'model' and params.item = '1'"))
    client(folder).log_metric(default.info.run_id, "dice.mean", 0.99)
    flip(model_files(folder, model) / "model.safetensors")
    shutil.rmtree(files(folder, short))

    lines = verify(folder)

    assert lines[-1:] == VERIFIED
    for_head, for_short = ("".join(line for line in lines if line.startswith(f"{name}: ")) for name in (head, "short"))
    assert for_head.startswith(f"{head}: damaged in MLflow ("), lines
    assert f"{model.info.run_name}: model/model.safetensors is not the file that model.json describes" in for_head
    assert f"{default.info.run_name}: the metric dice.mean is 0.99 instead of 0." in for_head
    assert for_short.startswith(f"short: damaged in MLflow ({SHORT}: "), lines
    assert all(line.endswith("). Recorded from the files.") for line in (for_head, for_short))
    with pytest.raises(MlflowException, match="not found"):  # the MLflow model goes with its run
        client(folder).get_logged_model(model.outputs.model_outputs[0].model_id)
    for old in (default, short, model):
        assert client(folder).get_run(old.info.run_id).info.lifecycle_stage == "deleted"
        (new,) = runs(folder, f"tags.fingerprint = '{old.data.tags['fingerprint']}'")
        expected = model_files(folder, new) / "model.json" if old is model else files(folder, new) / "report.html"
        assert expected.exists()
    (again,) = runs(folder, "tags.dvc.experiments = 'short'")
    assert again.data.metrics == short.data.metrics


def test_damaged_runs_that_cannot_be_recorded_again_are_kept_and_reported(repository: Path, tmp_path: Path) -> None:
    """The cache is lost. `short` isn't in an experiment anymore."""
    folder = pipeline.copy(repository, tmp_path / "repository")
    results = runs(folder, "tags.kind = 'result'")
    for run in results:
        flip(files(folder, run) / "figures/histogram.png")
    (default,) = (run for run in results if "dvc.experiments" not in run.data.tags)
    head = pipeline.run(folder, "git", "rev-parse", "--short=7", "HEAD").strip()
    pipeline.run(folder, "dvc", "exp", "remove", "short")
    shutil.rmtree(folder / ".dvc" / "cache")

    lines = verify(folder)

    problem = f"{head}: damaged in MLflow ({default.info.run_name}: figures has changed). It can't be recorded: "
    assert any(line.startswith(problem) for line in lines)
    assert (
        f"{SHORT}: figures has changed in MLflow. It can't be recorded again, because its result is in no experiment "
        "and in none of the last 20 commits. Delete the run if nobody needs it."
    ) in lines
    assert lines[-1] == f"naevi: 1 of 1 results in git have no complete run in MLflow. {FEWER}"
    for run in results:
        assert client(folder).get_run(run.info.run_id).info.lifecycle_stage == "active"


def test_damaged_bytes_in_data_and_cache_are_found_with_data(repository: Path, tmp_path: Path) -> None:
    folder = pipeline.copy(repository, tmp_path / "repository")
    image = sorted((folder / "data/raw/images").iterdir())[0]
    flip(image)
    (model,) = (folder / ".dvc/cache/files/md5").glob(cached_path(folder / "data/models/0/model.safetensors"))
    flip(model)
    (folder / "data/models/0/model.safetensors").unlink()
    pipeline.run(folder, "dvc", "checkout", "data/models/0")
    assert "up to date" in pipeline.run(folder, "dvc", "status", "train@0")

    printed = pipeline.run(folder, "make", "--old-file=setup", "verify", "DATA=1", check=False)

    assert f"data/raw (written by download). Changed: data/raw/images/{image.name}. Delete these files" in printed
    assert (
        "data/models/0 (written by train@0). Changed: data/models/0/model.safetensors. Damaged in DVC's cache: "
        f"{model.relative_to(folder).as_posix()}. Delete these files"
    ) in printed
    assert "naevi: 2 file(s) or folder(s) differ from dvc.lock. See above." in printed
    assert "Error 1" in printed


def cached_path(file: Path) -> str:
    digest = md5(file)
    return f"{digest[:2]}/{digest[2:]}"
