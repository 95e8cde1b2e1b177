"""One eighth of the soak: kills, full disks and damaged inputs, with a fixed seed.

    make soak PART=3/8

It takes less than 40 minutes on two cores and appends a row to docs/soak.csv. After an interruption the same command
goes on after the last task that ended. All parts together make 100 kills of the stages, of `make ui` and of the
creation of MLflow's store, 20 kills of a queue worker, 10 rounds of full disks in four stages, and 102,400 inputs.
"""

import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from naevi.experiments.demo import commit
from tests import pipeline
from tests.faults.kills import TRACK, bytes_of, end_processes, killed_in, killed_when, run_problems
from tests.faults.test_concurrency import DVC, content, experiment, wait_for_queue
from tests.faults.test_disk import FULL, on_a_disk
from tests.faults.test_disk import content as all_content
from tests.faults.test_fuzz import READERS
from tests.helpers import HERE, ROOT

PARTS = 8
TABLE = ROOT / "docs/soak.csv"
STAGES = [stage for stage in pipeline.STAGES if stage != "track"]
KINDS = [*STAGES, "track", "ui", "store", "worker"]
COLUMNS = [
    "part",
    "commit",
    *(f"kills_{kind}" for kind in KINDS),
    "full_disks",
    "inputs",
    "read",
    "slowest_s",
    "most_mib",
    "problems",
    "minutes",
]
FULL_DISK = r"naevi: can't read or write .*: No space left on device\. Please free some disk space .* was kept\."
FUZZED = re.compile(r"^\w+ +(\d+) inputs +(\d+) read +[\d.]+ s +(\d+) ms at most +(-?\d+) MiB more$", re.MULTILINE)

Counts = dict[str, float]
Task = Callable[[Path, random.Random], Counts]  # raises AssertionError with what is wrong


def tasks(part: int) -> dict[str, Task]:
    """Return the tasks of a part by name. Kinds with fewer than a whole number for each part begin with part 1."""
    extra = part <= 2
    stages = [*STAGES, *(["track", "track"] if extra else ["track"]), *(["train@0"] if part <= 6 else [])]
    found: dict[str, Task] = {"reference": reference, "stages": lambda *where: kill_stages(*where, stages)}
    found |= {f"{kind.__name__} {n}": kind for kind in (kill_ui, kill_store, fill_disk) for n in range(1 + extra)}
    found |= {f"worker {n}": kill_worker for n in range(3 if part <= 4 else 2)}
    return found | {f"inputs of {name}": damage(name, part) for name in (make.__name__ for make in READERS)}


def reference(folder: Path, moments: random.Random) -> Counts:
    """Run the pipeline, and one experiment, without a disturbance."""
    pipeline.make(folder / "reference")
    pipeline.run(folder / "reference", "dvc", "repro")
    alone = pipeline.copy(folder / "reference", folder / "alone")
    commit(alone, "Run")
    pipeline.run(alone, *experiment("--temp", name="queued", setting="evaluate.threshold=0.4"))
    return {}


def kill_stages(folder: Path, moments: random.Random, stages: list[str]) -> Counts:
    """Kill `dvc repro` in each of these stages, from the first run on."""
    repository = folder / "repository"
    pipeline.make(repository)
    for stage in stages:
        killed_in(stage, repository, moments)
    pipeline.run(repository, "dvc", "repro")
    assert bytes_of(repository) == bytes_of(folder / "reference")
    assert run_problems(repository) == []
    return {f"kills_{stage}": stages.count(stage) for stage in dict.fromkeys(stages)}


def kill_ui(folder: Path, moments: random.Random) -> Counts:
    """Kill `make ui` while it records a result or starts the server. Then open it."""
    repository = without_store(folder)
    command = ["make", "--old-file=setup", "ui", f"PORT={pipeline.free_port()}"]
    killed_when(repository, command, lambda: True, moments.uniform(0, 15))
    printed = pipeline.run(repository, "make", "--old-file=setup", "ui", "UI=echo opened")
    assert printed.endswith("opened\n"), printed
    assert run_problems(repository) == []
    with pipeline.served(repository, "naevi", "ui"):
        pass
    return {"kills_ui": 1}


def kill_store(folder: Path, moments: random.Random) -> Counts:
    """Kill `track` while MLflow creates its store."""
    repository = without_store(folder)
    partial = repository / "mlflow.db.partial"
    killed_when(repository, TRACK, partial.exists, moments.uniform(0, 2.5))
    pipeline.run(repository, *TRACK)
    assert run_problems(repository) == []
    assert not list(repository.glob("mlflow.db.partial*"))
    return {"kills_store": 1}


def without_store(folder: Path) -> Path:
    """Return a copy of the reference without MLflow's store."""
    repository = pipeline.copy(folder / "reference", folder / "repository")
    for file in repository.glob("mlflow.db*"):
        file.unlink()
    shutil.rmtree(repository / "mlartifacts")
    return repository


def kill_worker(folder: Path, moments: random.Random) -> Counts:
    """Kill a worker of DVC's queue with the experiment that it runs. Then queue that again, as the docs say."""
    repository = pipeline.copy(folder / "reference", folder / "repository")
    commit(repository, "Run")
    queue = experiment("--queue", name="queued", setting="evaluate.threshold=0.4")
    pipeline.run(repository, *queue)
    start_worker(repository)
    while "Running" not in pipeline.run(repository, *DVC, "queue", "status"):
        time.sleep(0.1)
    time.sleep(moments.uniform(0, 6))
    end_processes(repository)
    status = pipeline.run(repository, *DVC, "queue", "status")
    assert "Success" not in status, f"the experiment ended before the worker was killed: {status}"
    pipeline.run(repository, *DVC, "queue", "kill", "queued", check=False)
    pipeline.run(repository, *DVC, "queue", "remove", "queued")
    pipeline.run(repository, "naevi", "unlock")
    pipeline.run(repository, *queue)
    start_worker(repository)
    status = wait_for_queue(repository)
    assert status.count("Success") == 1, status
    assert content(repository, "queued", HERE.lock) == content(folder / "alone", "queued", HERE.lock)
    assert run_problems(repository, results=2) == []
    return {"kills_worker": 1}


def start_worker(repository: Path) -> None:
    """Start a worker. It inherits the output of this command, so reading that would be waiting for the worker."""
    start = [*DVC, "queue", "start"]
    subprocess.run(start, cwd=repository, env=pipeline.clean(), check=True, stdout=subprocess.DEVNULL)


def fill_disk(folder: Path, moments: random.Random) -> Counts:
    """Run four stages on a disk with too little room, and then again with enough."""

    def smaller(found: re.Match[str]) -> str:
        most = int(found[1]) * (1024 if found[2] == "M" else 1)
        return f"on_full {moments.randint(4, most)}K"

    (folder / "repository").mkdir()
    printed = on_a_disk(folder / "reference", folder / "repository", re.sub(r"on_full (\d+)([KM])", smaller, FULL))
    stages = ("report", "evaluate", "train 0", "preprocess")
    assert re.fullmatch("".join(f"{stage}:\n{FULL_DISK}\n" for stage in stages), printed), printed
    assert all_content(folder / "repository") == all_content(folder / "reference")
    return {"full_disks": 1}


def damage(name: str, part: int) -> Task:
    """Return the task that gives damaged inputs to a reader. The part is the seed."""
    command = [sys.executable, "-m", "pytest", "-rP", "-p", "no:cacheprovider", "--hypothesis-profile=soak"]
    command += [f"--hypothesis-seed={part}", "-k", f"reads_or_refuses and [{name}]", "tests/faults/test_fuzz.py"]

    def run(folder: Path, moments: random.Random) -> Counts:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        found = FUZZED.search(done.stdout)
        assert done.returncode == 0, done.stdout[-4000:]
        assert found, done.stdout[-4000:]
        inputs, read, milliseconds, mib = map(int, found.groups())
        return {"inputs": inputs, "read": read, "slowest_s": milliseconds / 1000, "most_mib": mib}

    return run


def run_part(part: int) -> list[str]:
    """Run the tasks of a part that haven't ended yet, append its row, and return what is wrong."""
    folder = ROOT / f".cache/soak/part-{part}"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "tasks.jsonl"
    ended = {line["task"]: line for line in map(json.loads, log.read_text().splitlines())} if log.exists() else {}
    for name, task in tasks(part).items():
        if name in ended:
            continue
        end_processes(folder / "repository")  # such as a worker of DVC's queue, which lives on for a while
        shutil.rmtree(folder / "repository", ignore_errors=True)
        start = time.monotonic()
        entry: dict[str, object] = {"task": name, "counts": {}, "problem": ""}
        try:
            entry["counts"] = task(folder, random.Random(f"{part} {name}"))
        except Exception as error:
            entry["problem"] = f"{type(error).__name__}: {error}"[:4000]
        entry["minutes"] = (time.monotonic() - start) / 60
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        ended[name] = entry
        print(f"{name}: {entry['problem'] or 'as it should be'} ({entry['minutes']:.1f} minutes)", flush=True)
    append_row(part, list(ended.values()))
    shutil.rmtree(folder)
    return [f"{entry['task']}: {entry['problem']}" for entry in ended.values() if entry["problem"]]


def append_row(part: int, entries: list[dict[str, object]]) -> None:
    """Add up the counts of the tasks. Of time and memory, the largest counts."""
    counts = pd.DataFrame([entry["counts"] for entry in entries], columns=COLUMNS[2:-2]).fillna(0)
    row = dict(counts.sum()) | dict(counts[["slowest_s", "most_mib"]].max())
    commit = subprocess.run(["git", "rev-parse", "--short=7", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    ends = {
        "part": f"{part}/{PARTS}",
        "commit": commit.stdout.strip(),
        "problems": sum(bool(entry["problem"]) for entry in entries),
        "minutes": round(sum(float(str(entry["minutes"])) for entry in entries), 1),
    }
    values = {name: int(value) if float(value).is_integer() else round(value, 2) for name, value in row.items()} | ends
    text = pd.DataFrame([values], columns=COLUMNS).to_csv(index=False, header=not TABLE.exists())
    with TABLE.open("a", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    number, _, total = sys.argv[1].partition("/") if len(sys.argv) == 2 else ("", "", "")
    if not number.isdigit() or not 1 <= int(number) <= PARTS or total != str(PARTS):
        sys.exit(f"Name a part from 1/{PARTS} to {PARTS}/{PARTS}, such as make soak PART=3/{PARTS}.")
    if wrong := run_part(int(number)):
        sys.exit("\n".join(wrong))
