"""From results to the champion and back, in a repository of its own, with MLflow's registry."""

from pathlib import Path

import mlflow
import pytest

from naevi.experiments.demo import commit
from tests import pipeline
from tests.helpers import HERE


@pytest.fixture(scope="module")
def repository(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small repository with an experiment `strict`, whose threshold no probability reaches."""
    folder = pipeline.copy(small_repository, tmp_path_factory.mktemp("promotion") / "repository")
    commit(folder, "Run it")
    pipeline.run(folder, "dvc", "exp", "run", "--temp", "--name", "strict", "--set-param", "evaluate.threshold=0.99")
    return folder


def naevi(folder: Path, *command: str) -> str:
    """Return the output of `python -m naevi`, whether it succeeds or fails."""
    return pipeline.run(folder, "python", "-m", "naevi", *command, check=False)


def champion(folder: Path) -> tuple[str, dict[str, str]]:
    """Return version and tags of the champion."""
    found = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").get_model_version_by_alias("phantoms", "champion")
    return str(found.version), found.tags


def test_from_the_first_champion_to_a_better_one_and_back(repository: Path, tmp_path: Path) -> None:
    assert naevi(repository, "rollback") == (
        "naevi: phantoms has no earlier champion. Promote a result first: `make promote NAME=…`.\n"
    )
    assert naevi(repository, "promote", "strict").startswith(
        "strict is the first champion: version 1 of the registered model phantoms. Its mean Dice is 0."
    )

    output = naevi(repository, "promote", "workspace")
    assert output.startswith("workspace is better than the champion (version 1) by ")
    assert " images). Significant (corrected p < 0.05)" in output or " images). Significant (p < 0.05)" in output
    assert output.endswith("It is now the champion: version 2. To undo this, run `make rollback`.\n")
    assert naevi(repository, "promote", "default") == "naevi: default is already the champion (version 2).\n"

    output = naevi(repository, "promote", "strict")
    assert output.startswith("naevi: not promoted: strict is worse than the champion (version 2) by ")
    assert output.endswith("To promote it anyway, use FORCE=1. The model then records that.\n")
    assert champion(repository)[0] == "2"

    output = naevi(repository, "promote", "strict", "--force")
    assert "It is now the champion: version 3, although it is not significantly better." in output
    version, tags = champion(repository)
    assert (version, tags["forced"], tags["before"], tags["result"]) == ("3", "true", "2", "strict")
    assert tags["reason"].startswith("strict is worse than the champion (version 2)")

    assert naevi(repository, "rollback") == "version 2 is the champion again instead of version 3.\n"
    assert champion(repository)[0] == "2"

    image = sorted((repository / HERE.raw / "images").iterdir())[0]
    naevi(repository, "predict", str(image), "--model", "models:/phantoms@champion", "--out", str(tmp_path / "out"))
    assert (tmp_path / "out" / "masks" / image.name).exists()


def test_a_result_without_run_or_model_cannot_be_promoted(repository: Path) -> None:
    assert naevi(repository, "promote", "nothing").startswith("naevi: 'nothing' is not a result. Use one of workspace")
    settings = ("--set-param", "cv.models=[0,1]", "--set-param", "split.seed=3")
    pipeline.run(repository, "dvc", "exp", "run", "--temp", "--name", "folds", *settings)

    assert naevi(repository, "promote", "folds") == (
        "naevi: folds has no model to use. Add `all` to cv.models and run it again.\n"
    )

    (repository / "mlflow.db").unlink()
    assert naevi(repository, "promote", "strict") == (
        f"naevi: MLflow's store {repository / 'mlflow.db'} was missing and was created again. Run `make verify` to "
        "record earlier results in it, and promote the champion again.\n"
        "naevi: MLflow has no run with the scores and the model of strict. Record it with `make verify`, or with `make "
        "ui` if it is in the workspace.\n"
    )
