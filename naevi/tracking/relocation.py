"""Keep MLflow's default store usable after its repository was moved or copied.

MLflow stores absolute addresses of artifacts in its database. After a move, it would still use the old place.
"""

import contextlib
import logging
import sqlite3

from naevi.workspace import Workspace

ADDRESSES = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}  # columns by table

logger = logging.getLogger(__name__)


def follow_move(workspace: Workspace, experiment: str) -> None:
    """Replace the old address of the artifact folder in the database if the repository was moved or copied.

    The address of any other artifact folder, such as one that a user chose, stays.
    """
    folder = workspace.mlflow_artifacts
    if not workspace.mlflow_database.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(workspace.mlflow_database)) as database, database:
            query = "SELECT artifact_location FROM experiments WHERE name = ?"
            (old,) = database.execute(query, (experiment,)).fetchone() or (None,)
            new = folder.as_uri()
            if old is None or old == new or not old.endswith(f"/{folder.name}"):
                return
            for table, column in ADDRESSES.items():
                begins = f"substr({column} || '/', 1, {len(old) + 1}) = ?"
                change = f"UPDATE {table} SET {column} = ? || substr({column}, {len(old) + 1}) WHERE {begins}"
                database.execute(change, (new, f"{old}/"))
    except sqlite3.Error:  # MLflow has better messages about a file that it can't use
        return
    logger.warning("MLflow's files are now expected in %s instead of %s, because the repository was moved.", new, old)
