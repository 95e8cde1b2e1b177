"""Make MLflow agree with the result in this workspace."""

from naevi.config import load_config
from naevi.tracking.sync import current_experiment, sync_result
from naevi.workspace import current_workspace
from stages.runner import run_stage


def main() -> None:
    workspace = current_workspace()
    sync_result(workspace, current_experiment(), present=load_config(workspace))


if __name__ == "__main__":
    run_stage(main)
