"""The registered models in MLflow's store, one of which is in use: the champion. `promotion` decides which."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from naevi import paths, store, tables
from naevi.refusal import Refusal, reason
from naevi.store import EXPERIMENT

CHAMPION = "champion"


class Result(NamedTuple):
    """A finished result: the ids of its run and of its model to use, if it has one, and its per_image.csv."""

    run: str
    model: str | None
    per_image: pd.DataFrame


class Champion(NamedTuple):
    """The registered model in use: its version, the version before it, its run, and that one's per_image.csv."""

    version: str
    before: str | None
    run: str
    per_image: pd.DataFrame


def results() -> list[Result]:
    """The finished results, the oldest first."""
    client, experiment = store.connect()
    found = []
    for run in store.every_run(client, experiment, f"{store.FINISHED} and tags.kind = 'result'"):
        models = [each.model_id for each in run.outputs.model_outputs] if run.outputs else []
        found.append(Result(run.info.run_id, models[0] if models else None, _per_image(run.info.run_id)))
    return found


def champion() -> Champion | None:
    """The champion, None where there is none yet."""
    client, _ = store.connect()
    registered = client.search_registered_models(f"name = '{EXPERIMENT}'")
    if not registered or CHAMPION not in registered[0].aliases:
        return None
    found = client.get_model_version_by_alias(EXPERIMENT, CHAMPION)
    return Champion(str(found.version), found.tags.get("before"), str(found.run_id), _per_image(str(found.run_id)))


def crown(result: Result, tags: dict[str, str]) -> str:
    """Register the model of a result with these tags and make it champion; return its version."""
    client, _ = store.connect()
    if not client.search_registered_models(f"name = '{EXPERIMENT}'"):
        client.create_registered_model(EXPERIMENT)
    source, model = f"models:/{result.model}", result.model
    version = str(client.create_model_version(EXPERIMENT, source, result.run, tags, model_id=model).version)
    recrown(version)
    return version


def recrown(version: str) -> None:
    """Make a registered version champion."""
    store.connect()[0].set_registered_model_alias(EXPERIMENT, CHAMPION, version)


def _per_image(run: str) -> pd.DataFrame:
    import mlflow

    return tables.read(Path(mlflow.artifacts.download_artifacts(run_id=run, artifact_path=paths.PER_IMAGE.name)))


def fetched(address: str) -> Path:
    """The folder of a model that MLflow holds, such as runs:/<id of a model's run>/model, brought to this machine.

    Raises Refusal where the store gives none, or what it gives is no model of this pipeline.
    """
    store.connect()
    import mlflow

    try:
        folder = Path(mlflow.artifacts.download_artifacts(address))
    except Exception as error:  # MLflow's, sqlalchemy's, requests'
        raise Refusal(f"MLflow's store {store.uri()} gives no {address} ({reason(error)[:200]}).") from error
    found = sorted(file.parent for file in folder.rglob("model.json"))
    if not found:
        raise Refusal(f"{address} holds no model.json; name the model of a run, such as runs:/<id>/model.")
    return found[0]
