"""Make repository.tar.xz: a small repository as an earlier version of this project (commit e8bac36) left it.

Run this in a clone that has the commit: `python tests/old_records/make_archive.py`. It takes a few minutes.

The archive has a result of two folds and the model `all`, the published result `lenient`, the experiment `strict`,
MLflow's store with the runs of all three, and the champion, which is the first result's model. PREDICTED has what
`naevi predict` wrote with the champion. The images are synthetic.

Code and commands are those of the commit, with these differences, which keep the archive small and free of names:

- Git has only the files that dvc.yaml needs, and requirements.lock has no hashes of packages.
- Figures have a lower resolution. MLflow has only one validation picture of each fold.
- The working tree has no code and no requirements.lock, because the tests run today's code there.
- Commits are by naevi. MLflow's runs name another host and process.

MLflow's store has absolute paths below MADE_IN. `unpack` in conftest.py replaces them.
"""

import getpass
import io
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).parents[2]
ARCHIVE = Path(__file__).parent / "repository.tar.xz"
COMMIT = "e8bac36"
MADE_IN = Path("/tmp/old-records/repository")
PUBLISHED, PUBLISHED_PARAMETER = "lenient", "evaluate.threshold=0.2"
EXPERIMENT, EXPERIMENT_PARAMETER = "strict", "evaluate.threshold=0.8"
IMAGE = "phantom-00004.png"
PREDICTED = ".cache/predicted"

FILES = [".dvc", ".dvcignore", ".gitignore", "data/ph2.csv", "dvc.yaml", "params.yaml", "requirements.lock"]
SMALLER = {"naevi/figures.py": ("dpi=150", "dpi=20"), "naevi/tracking.py": ("A_PICTURE = 6, 5", "A_PICTURE = 6, 40")}
CODE = ["naevi", "stages", "requirements.lock"]  # not in the archive's working tree
# The smallest data and network on which every stage has something to do.
PARAMETERS = [
    "data.source=phantoms",
    "data.phantoms.number=10",
    "data.phantoms.height=64",
    "data.phantoms.width=72",
    "preprocess.size=32",
    "split.folds=2",
    "split.validation=0.2",
    "model.architecture=pspnet",
    "model.encoder=tu-test_mambaout",
    "model.weights=none",
    "train.epochs=40",
    "train.batch_size=2",
    "train.lr=0.002",
    "evaluate.resamples=100",
    "runtime.threads=1",
    "cv.models=[0, 1, all]",
]

IDENTITY = {"NAME": "naevi", "EMAIL": "naevi@localhost"}
ENVIRONMENT = {
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    "HOME": str(MADE_IN.parent),
    "LOGNAME": "naevi",
    "USER": "naevi",
    "TZ": "UTC",
    "DVC_NO_ANALYTICS": "1",
    "DVC_SITE_CACHE_DIR": str(MADE_IN.parent / "dvc"),
    "GIT_CONFIG_NOSYSTEM": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
} | {f"GIT_{who}_{key}": value for who in ("AUTHOR", "COMMITTER") for key, value in IDENTITY.items()}


def run(*command: str) -> str:
    """Return the output of a command in the old repository."""
    print("+", *command, flush=True)
    done = subprocess.run(command, cwd=MADE_IN, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def commit(message: str) -> None:
    """Commit everything in the old repository."""
    run("git", "add", "--all")
    run("git", "commit", "--quiet", "--message", message)


def create() -> None:
    """Write the files of the old commit into a repository without history."""
    shutil.rmtree(MADE_IN.parent, ignore_errors=True)
    MADE_IN.mkdir(parents=True)
    command = ["git", "archive", "--format=tar", COMMIT, "--", *FILES, "naevi", "stages"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(files)) as archive:
        archive.extractall(MADE_IN, filter="data")
    lock = MADE_IN / "requirements.lock"
    lock.write_text("".join(line for line in lock.read_text().splitlines(True) if "--hash" not in line))
    for name, (before, after) in SMALLER.items():
        text = (MADE_IN / name).read_text()
        assert text.count(before) == 1, name
        (MADE_IN / name).write_text(text.replace(before, after))
    (MADE_IN / "reports/results").mkdir(parents=True)
    (MADE_IN / "reports/results/.gitkeep").touch()  # a dependency of `report`, which DVC experiments need too
    script = "import sys; from pathlib import Path; from naevi import config; "
    run("python", "-c", f"{script}config.override(Path('params.yaml'), sys.argv[1:])", *PARAMETERS)
    run("git", "init", "--quiet", "--initial-branch", "main")
    for key, value in IDENTITY.items():
        run("git", "config", f"user.{key.lower()}", value)
    assert run("python", "-c", "import naevi; print(naevi.__file__)").strip() == str(MADE_IN / "naevi/__init__.py")
    commit("Set up the demo")


def fill() -> None:
    """Run the pipeline, publish a result, run an experiment and promote the default."""
    run("dvc", "repro")
    commit("Run the demo")
    run("python", "-m", "naevi", "result", PUBLISHED, "--set-param", PUBLISHED_PARAMETER)
    run("dvc", "repro")  # the report shows the published result
    commit(f"Publish {PUBLISHED}")
    run("dvc", "exp", "run", "--temp", "--name", EXPERIMENT, "--set-param", EXPERIMENT_PARAMETER)
    run("python", "-m", "naevi", "promote", "default")
    predict = ("python", "-m", "naevi", "predict", "--model", "models:/naevi@champion")
    run(*predict, f"data/raw/images/{IMAGE}", "--out", PREDICTED)
    run("dvc", "status", "--quiet")  # it fails if something is out of date


def neutralize() -> None:
    """Replace what names this machine in MLflow's tags."""
    with closing(sqlite3.connect(MADE_IN / "mlflow.db")) as database:
        with database:
            database.execute("UPDATE tags SET value = 'old-host 1 1.0' WHERE key = 'process'")
        database.execute("VACUUM")  # removes what the old values left in the file


def shrink() -> None:
    """Remove what isn't a record: code in the working tree, temporary files, git's unreachable objects."""
    for name in [*CODE, ".dvc/tmp", "mlflow.db.lock"]:
        path = MADE_IN / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for folder in sorted(MADE_IN.rglob("__pycache__")):
        shutil.rmtree(folder)
    for ref in run("git", "for-each-ref", "--format=%(refname)", "refs/exps/exec", "refs/exps/stash").split():
        run("git", "update-ref", "-d", ref)
    for name in ("hooks", "logs", "description", "COMMIT_EDITMSG", "FETCH_HEAD", "ORIG_HEAD", "info"):
        path = MADE_IN / ".git" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    # Uncompressed objects, because xz then finds the same files in MLflow's artifacts.
    run("git", "-c", "pack.compression=0", "repack", "-a", "-d", "-F", "--window=0", "--quiet")
    run("git", "prune", "--expire=now")
    run("git", "pack-refs", "--all")


def check_names() -> None:
    """Stop if a text in the archive names this machine, its user or a folder of it."""
    names = [rf"\b{re.escape(socket.gethostname())}\b", rf"\b{re.escape(getpass.getuser())}@"]
    names += [re.escape(str(folder)) for folder in (ROOT, Path.home(), Path(sys.prefix)) if folder != Path("/")]
    texts = {"git log": run("git", "log", "--all", "--format=raw").encode()}
    with closing(sqlite3.connect(MADE_IN / "mlflow.db")) as database:
        texts["mlflow.db"] = "\n".join(database.iterdump()).encode()
    for object_id in run("git", "rev-list", "--all", "--objects", "--no-object-names").split():
        command = ["git", "cat-file", "-p", object_id]
        texts[f"git object {object_id}"] = subprocess.run(command, cwd=MADE_IN, capture_output=True, check=True).stdout
    texts |= {str(file): file.read_bytes() for file in MADE_IN.rglob("*") if file.is_file()}
    found = [
        f"{name}: {match.group()!r}"
        for name, text in texts.items()
        if _is_text(text) and (match := re.search("|".join(names), text.decode()))
    ]
    if found:
        raise SystemExit("These name this machine:\n" + "\n".join(found))


def _is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode()
    except UnicodeDecodeError:
        return False


def pack() -> None:
    """Write the archive, without owners and times."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
        for file in sorted(MADE_IN.rglob("*")):
            archive.add(file, file.relative_to(MADE_IN), recursive=False, filter=anonymous)


if __name__ == "__main__":
    create()
    fill()
    neutralize()
    shrink()
    check_names()
    pack()
    print(f"{ARCHIVE}: {ARCHIVE.stat().st_size:,} bytes")
