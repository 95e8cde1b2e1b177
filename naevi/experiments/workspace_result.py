"""The result in the workspace, checked against its dvc.lock."""

from typing import NamedTuple

import pandas as pd

from naevi.errors import UserError
from naevi.files import read_json
from naevi.record import file_problems, read_record, record_problems
from naevi.results.data_sets import DataSet, recorded_data_set
from naevi.results.per_image import check_scores, parse_per_image
from naevi.workspace import Workspace


class WorkspaceResult(NamedTuple):
    """The result in the workspace."""

    per_image: pd.DataFrame
    data_set: DataSet
    predictor: str  # MD5 of data/predictor in its record, "" if the record lacks it


def read_workspace_result(workspace: Workspace) -> WorkspaceResult:
    """Return the result in the workspace.

    Raises UserError if there is no result, if its stages don't belong together, if its scores aren't those that
    dvc.lock lists, or if they contradict each other.
    """
    path = workspace.relative(workspace.per_image)
    content = workspace.per_image.read_bytes() if workspace.per_image.exists() else None
    table = parse_per_image("workspace", path, content)
    record = read_record(workspace)
    files = [workspace.relative(file) for file in (workspace.per_image, workspace.metrics, workspace.data_statistics)]
    outs = record.outs
    problems = record_problems(record.computing)
    problems += file_problems(workspace, {name: outs.get(name, "") for name in files})
    if problems:
        raise UserError(
            f"The result in the workspace isn't the one that dvc.lock records: {problems[0]}. Run `dvc repro`, or undo "
            "the change with `git restore`."
        )
    check_scores(workspace.relative(workspace.metrics), workspace.metrics.read_bytes(), table)
    data_set = recorded_data_set(record, read_json(workspace.data_statistics))
    return WorkspaceResult(table, data_set, record.md5(workspace, workspace.predictor))
