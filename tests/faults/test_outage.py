"""A tracking server that fails: training gives the same bytes and warns once, and `track` logs what is missing.

The server is MLflow's own. A proxy in front of it fails from a certain request on.
"""

import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from time import sleep

import mlflow
import pytest
import requests
from mlflow.entities import Run

from naevi.tracking.artifacts import list_files
from tests import pipeline
from tests.helpers import HERE

pytestmark = pytest.mark.slow

# Where the fault starts: a part of the path of the first request that fails.
START, PICTURE, UPLOAD = "", "/images/", "/models/"
WARNING = r"naevi: MLflow logging failed \({}\)\. Run `make ui` or `dvc repro -s -f track` to log this model\.\n"
TIMEOUT = r"it has not finished after \d+ s"
# Retries follow at once, because a user's setting wins over naevi's.
NO_PAUSE = {"MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0", "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0"}


@dataclass
class Proxy:
    """Passes requests from the training on to the server, and answers of the server back, until the fault starts."""

    server: str
    fault: str
    moment: str
    broken: bool = False
    repaired: Event = field(default_factory=Event)

    def pass_on(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer a request as the server does, or with the fault."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        hit, self.broken = self.moment in handler.path, self.broken or self.moment in handler.path
        if self.fault == "down" and self.broken:
            handler.server.shutdown()
            handler.server.server_close()
            return
        if self.fault == "500" and self.broken:
            handler.send_error(500)
            return
        if self.fault in ("slow", "silent") and self.broken:
            self.repaired.wait(5 if self.fault == "slow" else None)
        headers = {key: value for key, value in handler.headers.items() if key not in ("Host", "Connection")}
        answer = requests.request(handler.command, self.server + handler.path, data=body, headers=headers, timeout=60)
        if self.fault == "unheard" and hit:
            self.moment = "no other"
            return
        handler.send_response(answer.status_code)
        handler.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
        handler.end_headers()
        handler.wfile.write(answer.content)


class Server(ThreadingHTTPServer):
    block_on_close = False  # the request that shuts it down is one of its own

    def handle_error(self, *_: object) -> None:
        """Ignore that a training which gave up has closed the connection."""


@contextmanager
def broken(server: str, fault: str, moment: str) -> Iterator[str]:
    """Yield the address of a proxy for the server that fails from this moment on."""
    proxy = Proxy(server, fault, moment)

    class Handler(BaseHTTPRequestHandler):
        def handle_request(self) -> None:
            proxy.pass_on(self)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request

        def log_message(self, *_: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as front:
        Thread(target=front.serve_forever, daemon=True).start()
        try:
            if (fault, moment) == ("down", START):
                front.shutdown()
                front.server_close()
            yield f"http://127.0.0.1:{front.server_port}"
        finally:
            proxy.repaired.set()
            front.shutdown()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with pipeline.mlflow_server(folder, "sqlite:///mlflow.db", "--artifacts-destination", "artifacts") as address:
        yield address


@pytest.fixture
def client(server: str) -> Iterator[mlflow.MlflowClient]:
    """A client of the server. All runs are deleted at the end."""
    client = mlflow.MlflowClient(server)
    yield client
    for run in runs(client):
        client.delete_run(run.info.run_id)


@pytest.fixture(scope="module")
def repository(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, to train in."""
    return pipeline.copy(small_repository, tmp_path_factory.mktemp("outage") / "repository")


def runs(client: mlflow.MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name("naevi")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def training(item: str, timeout: int) -> list[str]:
    """Return the command that trains a model, with a checkpoint and a picture after each epoch."""
    return [
        "python",
        "-c",
        "import sys; from naevi.tracking import live; from naevi.training import checkpoint\n"
        "from stages import train; from stages.runner import run_stage\n"
        f"checkpoint.SAVE_INTERVAL_S, live.IMAGE_INTERVAL_EPOCHS, live.FLUSH_TIMEOUT_S = 0, 1, {timeout}\n"
        f"sys.argv = ['train', '{item}']; run_stage(train.main)",
    ]


def messages(printed: str) -> str:
    """Return the lines of naevi. MLflow prints the address of a run's page, and a slow machine shows progress."""
    assert "Traceback" not in printed
    assert "Retrying" not in printed
    return "".join(line for line in printed.splitlines(keepends=True) if line.startswith("naevi: "))


def train(repository: Path, item: str, address: str, timeout: int = 600) -> str:
    """Train a model with MLflow's server at this address, and return what was printed."""
    shutil.rmtree(repository / HERE.model(item), ignore_errors=True)
    return pipeline.run(repository, *training(item, timeout), MLFLOW_TRACKING_URI=address, **NO_PAUSE)


def content(repository: Path, item: str) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (repository / HERE.model(item)).iterdir()}


EVERY = [(fault, moment) for fault in ("down", "500", "slow", "silent") for moment in (START, PICTURE, UPLOAD)]
FEW = [("down", UPLOAD), ("slow", START)]


@pytest.mark.parametrize(
    ("fault", "moment"),
    FEW + [pytest.param(*case, marks=pytest.mark.soak) for case in EVERY if case not in FEW],
)
def test_training_gives_the_same_model_and_warns_once_that_it_is_not_logged(
    small_repository: Path, repository: Path, server: str, client: mlflow.MlflowClient, fault: str, moment: str
) -> None:
    waits = fault in ("slow", "silent")
    timeout = 600 if not waits else 3 if moment == START else 20  # longer if something must be logged before the fault
    reason = TIMEOUT if waits else ".+"

    with broken(server, fault, moment) as address:
        printed = train(repository, "0", address, timeout)

        assert re.fullmatch(WARNING.format(reason), messages(printed)), printed
        assert content(repository, "0") == content(small_repository, "0")
        assert {run.info.status for run in runs(client)} <= {"RUNNING"}


def test_ctrl_c_ends_the_wait_for_a_silent_server_and_no_epoch_is_lost(
    small_repository: Path, repository: Path, server: str
) -> None:
    shutil.rmtree(repository / HERE.model("0"), ignore_errors=True)
    with broken(server, "silent", START) as address:
        process = subprocess.Popen(
            training("0", 600),
            cwd=repository,
            env=pipeline.clean() | {"MLFLOW_TRACKING_URI": address},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while not (repository / HERE.model("0")).exists():
            assert process.poll() is None
            sleep(0.2)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)

    assert process.returncode == 130
    assert re.fullmatch(WARNING.format(TIMEOUT), messages(printed)), printed

    with broken(server, "down", START) as address:
        printed = train(repository, "0", address)

    resumed = re.escape("naevi: Resuming training after epoch 2.\n")
    assert re.fullmatch(resumed + WARNING.format(".+"), messages(printed)), printed
    assert content(repository, "0") == content(small_repository, "0")


def test_track_logs_what_is_missing_after_an_outage(
    small_repository: Path, repository: Path, server: str, client: mlflow.MlflowClient
) -> None:
    with broken(server, "unheard", "/runs/create") as address:  # the first answer is lost, so a second request comes
        assert messages(train(repository, "0", address)) == ""
    with broken(server, "500", PICTURE) as address:
        assert re.fullmatch(WARNING.format(".+500.+"), messages(train(repository, "1", address)))
    left = Counter((run.data.tags["item"], run.info.status) for run in runs(client))
    assert left == {("0", "RUNNING"): 1, ("0", "FINISHED"): 1, ("1", "RUNNING"): 1}

    pipeline.run(repository, "dvc", "repro", "--single-item", "--force", "track", MLFLOW_TRACKING_URI=server)

    found = Counter((run.data.tags.get("item", "result"), run.info.status) for run in runs(client))
    finished = {(item, "FINISHED"): 1 for item in ("0", "1", "all", "result")}
    assert found == finished | {("0", "KILLED"): 1, ("1", "KILLED"): 1}
    for run in runs(client):
        if run.info.status == "FINISHED" and run.data.tags["kind"] == "model":
            points = client.get_metric_history(run.info.run_id, "train_loss")
            assert sorted(point.step for point in points) == [1, 2]
            files = {file.path for file in list_files(client, run)}
            assert files == set(content(small_repository, "0"))
