"""After the install nothing asks the network: every process is watched and, where the system allows, has none."""

import subprocess
from pathlib import Path

import pytest

from naevi.experiments.demo import set_parameters
from naevi.files import read_yaml
from tests import pipeline
from tests.helpers import HERE, ROOT

# What each Python runs first: it writes down that it runs, whom it calls, and whose address it asks for.
GUARD = """
import os, sys
ASKS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
def say(*words):
    with open(os.environ["GUARD_LOG"], "a") as log:
        print(*words, file=log)
def note(event, arguments):
    if event in ASKS:
        say("asked for", arguments[0])
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):  # else of this machine
        say("called", arguments[1][0])
say("ran", *sys.orig_argv)
sys.addaudithook(note)
"""
NO_NETWORK = ["unshare", "--map-root-user", "--net"]  # not even the loopback is up there


def unreached() -> list[str]:
    """What to put before a command so that it has no network; nothing where that isn't allowed."""
    try:
        return NO_NETWORK if not subprocess.run([*NO_NETWORK, "true"], capture_output=True).returncode else []
    except OSError:
        return []


def watched(folder: Path, log: Path, *command: str) -> str:
    """What a command prints that has no network; the log says what its processes tried."""
    (log.parent / "sitecustomize.py").write_text(GUARD, encoding="utf-8")
    environment = {"PYTHONPATH": str(log.parent), "GUARD_LOG": str(log)}
    return pipeline.run(folder, *unreached(), *command, check=False, **environment)


def tried(log: Path) -> list[str]:
    return [line for line in log.read_text(encoding="utf-8").splitlines() if not line.startswith("ran ")]


def test_the_guard_sees_who_calls_and_who_asks(tmp_path: Path) -> None:
    """By a datagram's address, to which nothing is sent, and a name that is no host's."""
    call = "import socket; socket.socket(type=socket.SOCK_DGRAM).connect(('192.0.2.1', 9))"
    ask = "import socket; socket.getaddrinfo('127.0.0.1', 9)"

    for command in (call, ask):
        watched(tmp_path, tmp_path / "log", "sh", "-c", f'python -c "{command}"')

    assert tried(tmp_path / "log") == ["called 192.0.2.1", "asked for 127.0.0.1"]


def test_the_pipeline_and_predict_open_no_connection(small_repository: Path, tmp_path: Path) -> None:
    """With the committed model, whose weights come from a package."""
    repository = pipeline.copy(small_repository, tmp_path / "repository")
    model = read_yaml(ROOT / HERE.params)["model"]
    assert model["weights"] == "imagenet"
    set_parameters(
        repository / HERE.params, ["cv.models=[0]", *(f"model.{key}={value}" for key, value in model.items())]
    )
    log = tmp_path / "log"

    printed = watched(repository, log, "dvc", "repro", "--force")
    image = next((repository / HERE.raw / "images").iterdir())
    predict = ["python", "-m", "naevi", "predict", "--model", "data/models/0", str(image), "--out", "found"]
    printed += watched(repository, log, *predict)

    assert tried(log) == []
    ran = log.read_text(encoding="utf-8")
    for name in ("download", "preprocess", "split", "train", "evaluate", "report", "track"):
        assert f"-m stages.{name}" in ran, printed
    assert "-m naevi predict" in ran
    assert (repository / "found" / "lesions.csv").exists(), printed


@pytest.mark.soak
def test_the_demo_opens_no_connection(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    pipeline.run(tmp_path, "git", "clone", "--quiet", str(ROOT), str(clone))
    log = tmp_path / "log"

    printed = watched(clone, log, "python", "-m", "naevi", "demo")

    assert "Phantoms, not patients. The report:" in printed
    assert tried(log) == []
