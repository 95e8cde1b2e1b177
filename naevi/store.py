"""MLflow's store: where it is, how it is opened, the runs in it, and what becomes of those that are amiss.

A run is a fitted model or a result, and its tag `fingerprint` says which. Only FINISHED runs count, and there is one
for each fingerprint. MLflow is imported where it is used: it takes seconds, and other stages never need it.
"""

import logging
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import psutil
from filelock import FileLock

from naevi import paths
from naevi.refusal import Refusal, reason

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "naevi"  # also the name of the registered model
FINISHED = "attributes.status = 'FINISHED'"


def uri() -> str:
    """MLFLOW_TRACKING_URI, else the repository's own sqlite store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{paths.root() / 'mlflow.db'}"


def lock() -> FileLock:
    """Held while the store is made or reconciled: workers that make one sqlite file at once ruin it."""
    return FileLock(paths.root() / "mlflow.db.lock")


def connect() -> "tuple[MlflowClient, str]":
    """A client and the experiment's id; makes the store and the experiment where there is none.

    Raises Refusal where the store can't be opened.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    mlflow.set_tracking_uri(uri())
    # An own sqlite store would else put artifacts under the current folder, which DVC deletes after `--temp`.
    artifacts = (paths.root() / "mlartifacts").as_uri() if uri().startswith("sqlite:") else None
    try:
        with lock():
            client = mlflow.MlflowClient(uri())
            return client, _experiment(client, artifacts)
    except Exception as error:  # sqlalchemy's, requests' or MLflow's own
        way = "start its server, or move the file away"
        raise Refusal(f"MLflow's store {uri()} can't be opened ({why(error)}); {way}.") from error


def why(error: Exception) -> str:
    """What an error says: the beginning, which names the place, and the end, which names the cause."""
    text = reason(error)
    return text if len(text) <= 240 else f"{text[:120]} … {text[-120:]}"


def _experiment(client: "MlflowClient", artifacts: str | None) -> str:
    """The experiment's id; it is made where there is none."""
    from mlflow.exceptions import MlflowException

    if not (found := client.get_experiment_by_name(EXPERIMENT)):
        try:
            return str(client.create_experiment(EXPERIMENT, artifacts))
        except MlflowException:  # on a server another may just have made it
            if not (found := client.get_experiment_by_name(EXPERIMENT)):
                raise
    return str(found.experiment_id)


def every_run(client: "MlflowClient", experiment: str, wanted: str) -> "Iterator[Run]":
    """All runs that a filter of MLflow's wants, the oldest first."""
    token = None
    while token != "":
        page = client.search_runs([experiment], wanted, order_by=["attributes.start_time ASC"], page_token=token)
        yield from page
        token = page.token or ""


def finished(client: "MlflowClient", experiment: str, fingerprint: str) -> "list[Run]":
    """The FINISHED runs with a fingerprint, the oldest first."""
    return list(every_run(client, experiment, f"tags.fingerprint = '{fingerprint}' and {FINISHED}"))


class Held(NamedTuple):
    """A finished result in the store."""

    name: str
    runs: list[str]  # the oldest first; all but one are too many
    lacking: int  # of its models, those that have no finished run
    experiments: list[str]  # the names of the DVC experiments with this result
    baseline: str  # the commit that it started from
    orphan: bool  # marked as one that git doesn't know


def held() -> dict[str, Held]:
    """The finished results by their fingerprints, the oldest first."""
    client, experiment = connect()
    runs: dict[str, list[Run]] = {}
    for run in every_run(client, experiment, FINISHED):
        runs.setdefault(run.data.tags["fingerprint"], []).append(run)
    found = {}
    for fingerprint, same in runs.items():
        tags = same[0].data.tags
        if tags["kind"] == "result":
            found[fingerprint] = Held(
                name=str(same[0].info.run_name),
                runs=[str(run.info.run_id) for run in same],
                lacking=sum(child not in runs for child in tags["children"].split()),
                experiments=tags.get("dvc.experiments", "").split(),
                baseline=tags["dvc.baseline"],
                orphan=tags.get("orphan") == "true",
            )
    return found


def close_dead(client: "MlflowClient", experiment: str, fingerprint: str | None = None) -> tuple[list[str], list[str]]:
    """End as KILLED what dead processes of this host left RUNNING; return the names of those, and of what still runs.

    All runs, or those with a fingerprint: another process may train the same just now.
    """
    closed, alive = [], []
    wanted = "attributes.status = 'RUNNING'" + (f" and tags.fingerprint = '{fingerprint}'" if fingerprint else "")
    for run in list(every_run(client, experiment, wanted)):  # all of them before one changes
        if _has_ended(run.data.tags.get("process")):
            client.set_terminated(run.info.run_id, "KILLED")
            closed.append(str(run.info.run_name))
        else:
            alive.append(str(run.info.run_name))
    return closed, alive


def remove(run: str) -> None:
    """Delete a run, which `mlflow runs restore` brings back."""
    connect()[0].delete_run(run)


def tag(run: str, key: str, value: str) -> None:
    """Give a run a tag."""
    connect()[0].set_tag(run, key, value)


def process() -> str:
    """This process: host, number and start, which no other has."""
    return f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time()}"


def _has_ended(process: str | None) -> bool:
    """Whether such a process is of this host and runs no more; of another host nobody can tell from here."""
    if process is None:  # the run is from before runs said so
        return True
    host, number, start = process.split(" ")
    if host != socket.gethostname():
        return False
    try:
        return str(psutil.Process(int(number)).create_time()) != start
    except psutil.NoSuchProcess:
        return True
