"""What git says about a run: the commit it started from, and the commit that has its result."""

import subprocess
from pathlib import Path

from naevi.workspace import Workspace

COMMIT, BRANCH = "mlflow.source.git.commit", "mlflow.source.git.branch"  # MLflow's pages show both
DIRTY = "dirty"  # the code or the parameters were not those of the commit
RESULT_COMMIT = "result.commit"
BASELINE = "DVC_EXP_BASELINE_REV"  # in the environment: the commit that a DVC experiment started from
CODE = ["naevi", "stages", "dvc.yaml", "params.yaml", "requirements.lock"]


def source_tags(workspace: Workspace, baseline: str) -> dict[str, str]:
    """Return the tags about the commit that a run started from: `baseline`, or git's HEAD if it is empty.

    Without git, and without commits, there are none.
    """
    tags = {"mlflow.source.name": "dvc repro"}
    commit, branch = baseline or head_commit(workspace), _git(workspace, "rev-parse", "--abbrev-ref", "HEAD")
    if commit:
        tags[COMMIT] = commit
    if branch not in ("", "HEAD"):  # HEAD in DVC's experiments, which are on no branch
        tags[BRANCH] = branch
    if _git(workspace, "status", "--porcelain", "--", *CODE):
        tags[DIRTY] = "true"
    return tags


def head_commit(workspace: Workspace) -> str:
    """Return git's HEAD, or "" without one."""
    return _git(workspace, "rev-parse", "HEAD")


def commit_with(workspace: Workspace, path: Path) -> str:
    """Return the commit in which a file became what it is now, or "" if it isn't committed so."""
    name = workspace.relative(path)
    if _git(workspace, "status", "--porcelain", "--", name):
        return ""
    return _git(workspace, "log", "-1", "--format=%H", "--", name)


def _git(workspace: Workspace, *arguments: str) -> str:
    """Return what a git command prints, or "" if it fails."""
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=workspace.root, capture_output=True, encoding="utf-8", check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
