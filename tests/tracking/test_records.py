"""What is recorded in MLflow is the result that dvc.lock describes, whatever has happened to the workspace since.

These tests run the real pipeline's last stage and `make ui` on a result that was changed.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from PIL import Image

from naevi.deploy.external_validation import validate_model
from naevi.errors import exit_message
from naevi.experiments.demo import commit, set_parameters
from naevi.experiments.named_results import load_result
from naevi.experiments.promotion import champion_address, describe_lost_champion, promote, registered_model, roll_back
from naevi.experiments.rescoring import rescore
from naevi.files import read_csv, read_json
from naevi.results.data_sets import DataSet
from naevi.tracking.registry import download_model, find_champion, read_per_image
from tests import pipeline
from tests.datasets.image_files import encode
from tests.helpers import HERE

ADDRESSES = [
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
]
REMEDY = "Run `dvc repro`, or undo the change with `git restore` or `dvc checkout`."


@pytest.fixture
def repository(small_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the small repository, which is the current folder. Its store has its own folder of artifacts."""
    folder = pipeline.copy(small_repository, tmp_path / "repository")
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        (old,) = database.execute("SELECT artifact_location FROM experiments WHERE name = 'naevi'").fetchone()
        for table, column in ADDRESSES:
            change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
            database.execute(change, (old, (folder / "mlartifacts").as_uri()))
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    return folder


def track(folder: Path) -> str:
    """Return what the stage track prints."""
    return pipeline.run(folder, "python", "-m", "stages.track", check=False)


def outcome(action: Callable[[], Any]) -> str:
    """Return what an action returns, or the message with which a command would end."""
    try:
        return str(action())
    except Exception as error:
        return exit_message(error) or f"Traceback: {error!r}"


def results(folder: Path) -> list[Any]:
    """Return the FINISHED results in MLflow."""
    return pipeline.runs(folder, "result") if (folder / "mlflow.db").exists() else []


def test_an_edited_parameter_makes_no_result_and_the_pages_of_mlflow_open_nevertheless(repository: Path) -> None:
    before = [run.info.run_id for run in results(repository)]
    set_parameters(repository / HERE.params, ["model.architecture=unet-plain"])

    # --old-file, because these tests bring their own environment instead of .venv
    printed = pipeline.run(repository, "make", "--old-file=setup", "ui", "UI=echo opened", check=False)

    assert [run.info.run_id for run in results(repository)] == before
    difference = "model.architecture is unet-plain, but the result was computed with segnet"
    lines = printed.splitlines()
    assert f"naevi: The workspace differs from the result that dvc.lock records: {difference}. {REMEDY}" in lines
    assert lines[-1] == "opened"
    assert "ERROR" not in printed


def test_an_edited_score_makes_no_second_result(repository: Path) -> None:
    before = [run.info.run_id for run in results(repository)]
    text = HERE.metrics.read_text(encoding="utf-8")
    mean = re.search(r'"dice": \{\s+"mean": 0\.(\d)', text)
    assert mean is not None
    digit = str((int(mean.group(1)) + 1) % 10)
    HERE.metrics.write_text(text[: mean.start(1)] + digit + text[mean.end(1) :], encoding="utf-8")

    printed = track(repository)

    assert [run.info.run_id for run in results(repository)] == before
    assert printed.endswith(f"dvc.lock records: reports/metrics.json has changed. {REMEDY}\n")


def test_a_damaged_model_is_not_recorded(repository: Path) -> None:
    (repository / "mlflow.db").unlink()
    weights = HERE.model("all") / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(content)

    printed = track(repository)

    assert results(repository) == []
    assert printed.endswith(f"dvc.lock records: data/models/all has changed. {REMEDY}\n")


def test_lost_artifacts_are_a_message(repository: Path, caplog: pytest.LogCaptureFixture) -> None:
    """MLflow still lists the runs. `track` records them again, see test_sync.py."""
    commit(repository, "Run it")
    (lost,) = results(repository)
    shutil.rmtree("mlartifacts")

    assert outcome(lambda: promote(HERE, "default", force=False)) == (
        "naevi: MLflow has no run with the scores and the model of default. Record it with `make verify`, or with "
        "`make ui` if it is in the workspace."
    )

    place = (Path("mlartifacts").resolve() / lost.info.run_id / "artifacts").as_uri()
    assert f"per_image.csv is missing in {place} or can't be read." in caplog.text


def test_a_repository_that_was_moved_keeps_its_results(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(repository, "Run it")
    moved = repository.rename(repository.with_name("moved"))
    monkeypatch.chdir(moved)

    printed = outcome(lambda: promote(HERE, "default", force=False))

    dice = read_json(HERE.metrics)["dice"]["mean"]
    assert printed == (
        f"default is the first champion: version 1 of the registered model phantoms. Its mean Dice is {dice:.3f}."
    )
    assert not repository.exists()


def test_a_damaged_artifact_is_not_promoted(repository: Path) -> None:
    commit(repository, "Run it")
    (weights,) = Path("mlartifacts/models").rglob("predictor/model.safetensors")  # the served one
    with weights.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")

    assert outcome(lambda: promote(HERE, "default", force=False)) == (
        "naevi: The files in MLflow's run of default are not the recorded ones: the model has changed. Record the "
        "result again with `make verify`."
    )


def test_a_champion_whose_files_are_lost_can_be_replaced_by_force(repository: Path) -> None:
    commit(repository, "Run it")
    promote(HERE, "default", force=False)
    client = mlflow.MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")
    version = client.get_model_version_by_alias("phantoms", "champion")
    (result,) = results(repository)
    lost = client.create_run(result.info.experiment_id)
    client.create_model_version("phantoms", version.source, lost.info.run_id)
    client.set_registered_model_alias("phantoms", "champion", "2")

    refused = outcome(lambda: promote(HERE, "default", force=False))
    forced = outcome(lambda: promote(HERE, "default", force=True))

    lost_files = "the champion (version 2): per_image.csv is missing in file:///"
    assert refused.startswith(f"naevi: default can't be compared with {lost_files}")
    assert refused.endswith("To promote it without a comparison, use FORCE=1.")
    assert forced.startswith(f"default was not compared with {lost_files}")
    assert forced.endswith("It is now the champion: version 3. To undo this, run `make rollback`.")


def test_a_deleted_mlflow_model_is_recorded_again(repository: Path) -> None:
    (result,) = results(repository)
    client = mlflow.MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")
    client.delete_logged_model(result.outputs.model_outputs[0].model_id)

    printed = track(repository)

    (new,) = results(repository)
    assert new.info.run_id != result.info.run_id
    assert "Traceback" not in printed
    assert f"Files of MLflow's run {result.info.run_name} are missing in " in printed


def test_a_model_with_the_same_scores_as_another_is_not_mistaken_for_it(repository: Path) -> None:
    """The run in MLflow has the scores of the default, but another predictor, such as one with other weights."""
    commit(repository, "Run it")
    (result,) = results(repository)
    client = mlflow.MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")
    client.set_tag(result.info.run_id, "dvc.md5.data.predictor", "0" * 32 + ".dir")

    assert outcome(lambda: promote(HERE, "default", force=False)) == (
        "naevi: MLflow has no run with the scores and the model of default. Record it with `make verify`, or with "
        "`make ui` if it is in the workspace."
    )


ZEROS = "0" * 64
CACHE = Path(".dvc/cache/files/md5")


def another_champion(repository: Path, tags: dict[str, str], dropped: int) -> mlflow.MlflowClient:
    """Promote the result of a repository. Then make a run with other tags and fewer images champion, with its model."""
    commit(repository, "Run it")
    promote(HERE, "default", force=False)
    (result,) = results(repository)
    client = mlflow.MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")
    before = client.create_run(result.info.experiment_id, tags=result.data.tags | tags)
    for key in ("data.source", "data.path"):
        client.log_param(before.info.run_id, key, result.data.params[key])
    lines = HERE.per_image.read_text(encoding="utf-8").splitlines(keepends=True)
    client.log_text(before.info.run_id, "".join(lines[: len(lines) - dropped]), "per_image.csv")
    source = client.get_model_version_by_alias("phantoms", "champion").source
    client.create_model_version("phantoms", source, before.info.run_id)
    client.set_registered_model_alias("phantoms", "champion", "2")
    return client


@pytest.mark.parametrize(
    ("tags", "dropped", "difference"),
    [
        (
            {"data": ZEROS, "dataset": "moles"},
            0,
            "the champion was measured on the data set moles, default on phantoms.",
        ),
        (
            {},
            1,
            "they were tested on different images: 0 are only in the champion's test and 1 only in that of default.",
        ),
        (
            {"data": ZEROS, "dvc.md5.data.raw": f"{'0' * 32}.dir"},
            0,
            "DVC's cache doesn't have the list of its images. Get it with `dvc fetch --all-commits`.",
        ),
    ],
    ids=["data-set", "images", "no-list"],
)
def test_a_champion_with_another_yardstick_is_replaced_by_force_only(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tags: dict[str, str], dropped: int, difference: str
) -> None:
    """The champion was measured on another data set, on fewer images, or on images that nobody knows anymore."""
    monkeypatch.setenv("NAEVI_REGISTERED_MODEL", "phantoms")
    client = another_champion(repository, tags, dropped)

    refused = outcome(lambda: promote(HERE, "default", force=False))
    forced = outcome(lambda: promote(HERE, "default", force=True))

    assert refused == (
        f"naevi: default can't be compared with the champion (version 2): {difference} To promote it without a "
        "comparison, use FORCE=1."
    )
    assert forced == (
        f"default was not compared with the champion (version 2): {difference} It is now the champion: version 3. "
        "To undo this, run `make rollback`."
    )
    registered = client.get_model_version_by_alias("phantoms", "champion")
    assert (registered.tags["forced"], registered.tags["reason"]) == (
        "true",
        f"default was not compared with the champion (version 2): {difference}",
    )


def cache(repository: Path, content: bytes, suffix: str = "") -> str:
    """Put a file into DVC's cache; return its MD5."""
    md5 = hashlib.md5(content).hexdigest() + suffix
    path = repository / CACHE / md5[:2] / md5[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return md5


def earlier_version(repository: Path, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> dict[str, str]:
    """Put the listing of an earlier data/raw into DVC's cache. Return the tags of a result on that version."""
    (result,) = results(repository)
    md5 = result.data.tags["dvc.md5.data.raw"]
    entries = json.loads((repository / CACHE / md5[:2] / md5[2:]).read_bytes())
    content = json.dumps(change(entries), sort_keys=True).encode()
    return {"data": ZEROS, "dvc.md5.data.raw": cache(repository, content, ".dir")}


def test_a_champion_is_scored_on_the_images_that_are_new_to_it(repository: Path) -> None:
    """Of twenty images, two are new, and the mask of one was corrected. Two had another name, two another format."""
    ids = [line.split(",")[0] for line in HERE.per_image.read_text(encoding="utf-8").splitlines()[1:]]
    new, corrected, renamed, converted, both = ids[-2:], *ids[:4]

    def change(entries: list[dict[str, str]]) -> list[dict[str, str]]:
        entries = [entry for entry in entries if Path(entry["relpath"]).stem not in new]
        for entry in entries:
            if entry["relpath"] == f"masks/{corrected}.png":
                entry["md5"] = "0" * 32
            if entry["relpath"] in (f"images/{converted}.png", f"images/{both}.png"):
                content = encode(Image.open(HERE.raw / entry["relpath"]), "WEBP", lossless=True)
                entry["relpath"] = entry["relpath"].replace(".png", ".webp")
                entry["md5"] = cache(repository, content)
            entry["relpath"] = entry["relpath"].replace(renamed, "renamed").replace(both, "both")
        return entries

    another_champion(repository, earlier_version(repository, change), dropped=2)

    refused = outcome(lambda: promote(HERE, "default", force=False))

    assert refused.startswith(
        "naevi: not promoted: The data set has changed since the champion was trained. 15 images are the same. 2 are "
        "new to the champion, and its model has predicted them now. 3 are left out, because the champion has seen them "
        "with another mask, under another name, or an image of their group: "
        f"{corrected}, {renamed}, {both}. default "
    )
    assert " 17 images" in refused

    champion = find_champion(HERE, "phantoms")
    assert champion is not None
    candidate = load_result(HERE, "default")
    scores = rescore(HERE, champion, read_per_image(HERE, champion.run), candidate).per_image
    assert scores.image_id.tolist() == [image for image in ids if image not in (corrected, renamed, both)]
    same = scores[:15].merge(candidate.per_image, on="image_id")
    assert same.dice_x.tolist() == same.dice_y.tolist()  # of the cross-validation
    validate_model(
        HERE, HERE.predictor, *(HERE.raw / name for name in ("images", "masks")), None, Path("external"), force=False,
        assignments=["data.classes.lesion=1"],
    )  # fmt: skip
    validated = read_csv(Path("external/reports/per_image.csv")).set_index("image_id")
    assert scores[15:].dice.round(6).tolist() == validated.dice[new].tolist()


def test_a_champion_that_has_seen_every_image_is_not_scored(repository: Path) -> None:
    def change(entries: list[dict[str, str]]) -> list[dict[str, str]]:
        return [entry | {"md5": "0" * 32} for entry in entries]

    another_champion(repository, earlier_version(repository, change), dropped=0)

    assert outcome(lambda: promote(HERE, "default", force=False)) == (
        "naevi: default can't be compared with the champion (version 2): every image has changed, and the champion has "
        "seen them all before. To promote it without a comparison, use FORCE=1."
    )


def test_the_registered_model_of_an_earlier_version_stays_in_use(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(repository, "Run it")
    monkeypatch.setenv("NAEVI_REGISTERED_MODEL", "naevi")
    promote(HERE, "default", force=False)
    assert champion_address(HERE) == "models:/naevi@champion"

    monkeypatch.delenv("NAEVI_REGISTERED_MODEL")

    assert champion_address(HERE) == "models:/naevi@champion"
    assert outcome(lambda: promote(HERE, "default", force=False)) == (
        "naevi: default is already the champion (version 1)."
    )
    client = mlflow.MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")
    client.set_tag(client.get_model_version("naevi", "1").run_id, "dataset", "moles")
    assert champion_address(HERE) == "models:/phantoms@champion"


def test_deleted_runs_are_recorded_again_with_a_line_for_each(repository: Path) -> None:
    (result,) = results(repository)
    client = mlflow.MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")
    (model,) = (run for run in pipeline.runs(repository, "model") if run.data.tags["item"] == "0")
    for run in (result, model):
        client.delete_run(run.info.run_id)

    printed = track(repository)

    name = result.info.run_name
    assert printed == f"naevi: Recorded in MLflow: model 0.\nnaevi: Recorded in MLflow: result {name}.\n"
    assert len(results(repository)) == 1
    assert track(repository) == ""


def test_a_deleted_store_is_created_again_with_a_line_that_says_what_is_lost(repository: Path) -> None:
    (repository / "mlflow.db").unlink()

    printed = track(repository)

    assert printed.startswith(
        f"naevi: MLflow's store {repository / 'mlflow.db'} was missing and was created again. Run `make verify` to "
        "record earlier results in it, and promote the champion again.\nnaevi: Recorded in MLflow: model 0.\n"
    )
    assert len(results(repository)) == 1


def test_a_deleted_champion_is_a_line_when_the_pages_open(repository: Path) -> None:
    commit(repository, "Run it")
    assert describe_lost_champion(HERE) == ""
    promote(HERE, "default", force=False)
    client = mlflow.MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")
    version = client.get_model_version("phantoms", "1")
    client.create_model_version("phantoms", version.source, version.run_id, tags={"before": "1"})
    client.set_registered_model_alias("phantoms", "champion", "2")
    client.delete_model_version("phantoms", "1")
    assert outcome(lambda: roll_back(HERE)) == (
        "naevi: Version 1 of the registered model phantoms was deleted. Promote a result instead: `make promote "
        "NAME=…`."
    )
    client.delete_model_version("phantoms", "2")

    assert describe_lost_champion(HERE) == (
        "The champion of phantoms was deleted. Promote a result again: `make promote NAME=…`.\n"
    )

    promoted = promote(HERE, "default", force=False)
    assert promoted.startswith("default is the champion: version 3 of the registered model phantoms. Its mean Dice")
    assert promoted.endswith(" There was no comparison, because the champion was deleted.")


def test_champions_whose_files_were_lost_are_registered_again(repository: Path) -> None:
    commit(repository, "Run it")
    promote(HERE, "default", force=False)
    client = mlflow.MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")
    first = client.get_model_version("phantoms", "1")
    client.create_model_version("phantoms", first.source, first.run_id, {"before": "1"}, model_id=first.model_id)
    client.set_registered_model_alias("phantoms", "champion", "2")
    shutil.rmtree("mlartifacts")
    # In processes of their own, because MLflow keeps in memory where the files of a model are.
    assert pipeline.run(repository, "naevi", "rollback", check=False) == (
        "naevi: The files of version 1 of the registered model phantoms are lost. Record them again with `make "
        "verify`.\n"
    )

    printed = pipeline.run(repository, "naevi", "verify")

    lost = "of the registered model phantoms has lost its files. It is version"
    assert f"Version 1 {lost} 3 now.\nVersion 2 {lost} 4 now.\n" in printed
    champion, (result,) = find_champion(HERE, "phantoms"), results(repository)
    assert champion is not None
    assert (champion.version, champion.before, champion.run) == ("4", "3", result.info.run_id)
    assert (download_model(HERE, champion_address(HERE)) / "model.safetensors").is_file()
    assert "of the registered model" not in pipeline.run(repository, "naevi", "verify")
    assert pipeline.run(repository, "naevi", "rollback") == ("version 3 is the champion again instead of version 4.\n")


def test_a_name_that_no_address_can_have_is_changed_or_refused(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert registered_model(HERE, DataSet("folder", "clinic: a@b (1)")) == "clinic_ a_b _1_"

    monkeypatch.setenv("NAEVI_REGISTERED_MODEL", "a/b@c")

    assert outcome(lambda: champion_address(HERE)) == (
        "naevi: NAEVI_REGISTERED_MODEL is 'a/b@c'. Use letters, digits, blanks, dots, - and _ only."
    )
