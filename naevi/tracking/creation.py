"""Create MLflow's default store whole or not at all, and repair one that was left half-made.

MLflow creates its tables in many steps, which take seconds. It can't use a store in which some of them are missing.
"""

import contextlib
import glob
import logging
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

PARTIAL, BROKEN = ".partial", ".broken"  # ends of the names of a store that is being created, and of a copy


def sqlite_uri(database: Path) -> str:
    """Return the address of an sqlite store. In addresses, `%` and `?` have a meaning, but folders may have them."""
    escaped = str(database).replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{escaped}"


def create_store(database: Path, artifacts: Path) -> None:
    """Create a store unless it exists. If the process is killed meanwhile, the next call starts again.

    A warning says if the store was lost: if there are artifacts of earlier runs.
    """
    if database.exists():
        return
    _create_partial(database).rename(database)
    if artifacts.is_dir() and any(artifacts.iterdir()):
        logger.warning(
            "MLflow's store %s was missing and was created again. Run `make verify` to record earlier results in it, "
            "and promote the champion again.",
            database,
        )


def replace_half_made_store(database: Path) -> bool:
    """Replace a store that MLflow can't open by a new one if it has no run; return whether that was done.

    Before stores were created whole, a kill could leave one like that. `mlflow ui` without naevi still can.
    """
    if not database.exists() or _has_runs(database):
        return False
    broken = database.with_name(database.name + BROKEN)
    shutil.copyfile(database, broken)
    partial = _create_partial(database)
    # Into the same file, because MLflow keeps it open.
    with contextlib.closing(sqlite3.connect(partial)) as new, contextlib.closing(sqlite3.connect(database)) as old:
        new.backup(old)
    partial.unlink()
    logger.warning("%s was left half-made, without any run. It was created again. A copy is %s.", database, broken)
    return True


def _create_partial(database: Path) -> Path:
    """Create an empty store beside a database and return its path."""
    import mlflow

    partial = database.with_name(database.name + PARTIAL)
    for file in partial.parent.glob(f"{glob.escape(partial.name)}*"):  # of a call that was killed; sqlite's journal too
        file.unlink()
    with without_literal_folders(partial):
        mlflow.MlflowClient(sqlite_uri(partial)).search_experiments()
    return partial


def _has_runs(database: Path) -> bool:
    """Return whether a store has runs, or isn't a database at all."""
    try:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            return "runs" in tables and connection.execute("SELECT 1 FROM runs LIMIT 1").fetchone() is not None
    except sqlite3.Error:
        return True


@contextlib.contextmanager
def without_literal_folders(database: Path) -> Iterator[None]:
    """Remove the folders that MLflow makes because it takes the address of a store for a path."""
    literal = Path(sqlite_uri(database).removeprefix("sqlite:///")).parent
    made = [folder for folder in (literal, *literal.parents) if not folder.exists()]
    try:
        yield
    finally:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
