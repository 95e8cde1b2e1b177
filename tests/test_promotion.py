"""From results to the champion and back, in a repository of its own, with MLflow's registry."""

from pathlib import Path

import mlflow
import pytest

from naevi import demo, paths
from tests import pipeline


@pytest.fixture(scope="module")
def repository(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small one, and an experiment `strict`, whose threshold no probability reaches."""
    folder = pipeline.copy(small_repository, tmp_path_factory.mktemp("promotion") / "repository")
    demo.commit(folder, "Run it")
    pipeline.run(folder, "dvc", "exp", "run", "--temp", "--name", "strict", "--set-param", "evaluate.threshold=0.99")
    return folder


def naevi(folder: Path, *command: str) -> str:
    """What `python -m naevi` prints, whether it ends well or not."""
    return pipeline.run(folder, "python", "-m", "naevi", *command, check=False)


def champion(folder: Path) -> tuple[str, dict[str, str]]:
    """Its version and tags."""
    found = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").get_model_version_by_alias("naevi", "champion")
    return str(found.version), found.tags


def test_from_the_first_champion_to_a_better_one_and_back(repository: Path, tmp_path: Path) -> None:
    assert naevi(repository, "rollback") == (
        "naevi: there is no earlier champion to go back to; `make promote NAME=…` makes one.\n"
    )
    assert naevi(repository, "promote", "strict") == "strict is the first champion: version 1.\n"

    told = naevi(repository, "promote", "workspace")
    assert told.startswith("workspace is better than the champion (version 1) by ")
    assert ": more than chance explains" in told
    assert told.endswith("It is the champion now: version 2; `make rollback` brings 1 back.\n")
    assert naevi(repository, "promote", "default") == "naevi: default is the champion already (version 2).\n"

    told = naevi(repository, "promote", "strict")
    assert told.startswith("naevi: not promoted: strict is worse than the champion (version 2) by ")
    assert told.endswith("FORCE=1 promotes it all the same, and records that.\n")
    assert champion(repository)[0] == "2"

    assert "By force it is the champion now: version 3" in naevi(repository, "promote", "strict", "--force")
    version, tags = champion(repository)
    assert (version, tags["forced"], tags["before"], tags["result"]) == ("3", "true", "2", "strict")
    assert tags["reason"].startswith("strict is worse than the champion (version 2)")

    assert naevi(repository, "rollback") == "version 2 is the champion again, in place of 3.\n"
    assert champion(repository)[0] == "2"

    image = sorted((repository / paths.RAW / "images").iterdir())[0]
    naevi(repository, "predict", str(image), "--model", "models:/naevi@champion", "--out", str(tmp_path / "out"))
    assert (tmp_path / "out" / "masks" / image.name).exists()


def test_what_mlflow_does_not_hold_cannot_be_promoted(repository: Path) -> None:
    assert naevi(repository, "promote", "nothing").startswith("naevi: 'nothing' is no result; these are: workspace")
    settings = ("--set-param", "cv.models=[0,1]", "--set-param", "split.seed=3")
    pipeline.run(repository, "dvc", "exp", "run", "--temp", "--name", "folds", *settings)

    assert naevi(repository, "promote", "folds") == (
        "naevi: folds has no model to use: run it again with `all` among cv.models.\n"
    )

    (repository / "mlflow.db").unlink()
    assert naevi(repository, "promote", "strict") == (
        "naevi: MLflow holds no run with the scores of strict: `make ui` there records it.\n"
    )
