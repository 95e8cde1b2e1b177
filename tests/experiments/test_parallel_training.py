"""Which trainings run at the same time, and what remains of those that fail."""

from pathlib import Path

import pytest

from naevi.config import Config, load_config
from naevi.experiments import parallel_training
from naevi.experiments.demo import set_parameters
from naevi.experiments.parallel_training import SAVED_LOCK, describe_plan, environment_of, plan, restore_lock
from naevi.workspace import Workspace
from tests import pipeline
from tests.helpers import ROOT


def config_with(**runtime: object) -> Config:
    config = load_config(Workspace(ROOT))
    return config.model_copy(update={"runtime": config.runtime.model_copy(update=runtime)})


@pytest.mark.parametrize(
    ("threads", "jobs", "processors", "expected"),
    [
        ("auto", 2, 8, (2, 4)),
        ("auto", 9, 4, (4, 1)),
        ("auto", 9, 8, (6, 1)),
        (1, 2, 2, (2, 1)),
        (4, 4, 8, (2, 4)),
        (16, 2, 8, (1, 16)),
    ],
)
def test_no_more_threads_run_than_there_are_processors(
    threads: object, jobs: int, processors: int, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel_training, "cores", lambda: processors)

    assert plan(config_with(threads=threads), jobs) == expected


def test_the_plan_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel_training, "cores", lambda: 4)

    assert describe_plan(config_with(threads=2), 6, jobs=3) == (
        "6 model(s) to train, 2 at a time (3 would need more than the 4 processors), each with 2 thread(s)."
    )
    assert describe_plan(config_with(threads="auto"), 6, jobs=2) == (
        "6 model(s) to train, 2 at a time, each with 2 thread(s). The number of threads changes the last digits of a "
        "model. With runtime.threads=1, every number of jobs gives the same bytes."
    )


def test_gpus_are_used_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    config = config_with(device="auto")
    gpus = [environment_of(config, slot, number=3)["CUDA_VISIBLE_DEVICES"] for slot in range(3)]

    assert gpus == ["3", "5", "3"]
    assert environment_of(config_with(device="cpu"), 0, number=3)["CUDA_VISIBLE_DEVICES"] == "3,5"
    assert environment_of(config, 0, number=3)["LOCAL_WORLD_SIZE"] == "3"


def lock_of(stages: dict[str, str]) -> str:
    return "".join(["stages:\n", *(f"  {name}:\n    cmd: {command}\n" for name, command in stages.items())])


@pytest.mark.parametrize(
    ("present", "restored"),
    [
        ({"split": "a", "train@1": "new", "train@0": "new"}, True),
        ({"split": "a"}, True),
        ({"split": "b", "train@0": "new"}, False),
        ({"split": "a", "train@0": "new", "evaluate": "new"}, False),
    ],
)
def test_the_lock_from_before_returns_unless_other_stages_have_run_since(
    present: dict[str, str], restored: bool, tmp_path: Path
) -> None:
    """As after a kill, and whatever was done then."""
    workspace, before, now = Workspace(tmp_path), lock_of({"split": "a", "train@0": "old"}), lock_of(present)
    saved = tmp_path / SAVED_LOCK
    saved.parent.mkdir(parents=True)
    saved.write_text(before, encoding="utf-8")
    workspace.lock.write_text(now, encoding="utf-8")

    restore_lock(workspace)

    assert workspace.lock.read_text(encoding="utf-8") == (before if restored else now)
    assert not saved.exists()


@pytest.mark.slow
def test_a_failed_training_is_named_and_the_lock_stays(small_repository: Path, tmp_path: Path) -> None:
    folder = pipeline.copy(small_repository, tmp_path / "repository")
    lock = (folder / "dvc.lock").read_bytes()
    set_parameters(folder / "params.yaml", ["model.architecture=unet", "model.encoder=no-such-encoder"])

    told = pipeline.run(folder, "naevi", "repro", "--jobs", "2", check=False)

    assert "train@0: naevi: model.encoder" in told
    assert "failed, see the lines above. DVC's cache has the models that were trained. Run the same command" in told
    assert (folder / "dvc.lock").read_bytes() == lock
