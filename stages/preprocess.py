"""Check every mask, bring images and masks to the training size, and describe them."""

from naevi.config import load_config
from naevi.files import write_json
from naevi.preprocessing.prepare import prepare
from naevi.preprocessing.statistics import data_statistics
from naevi.workspace import current_workspace
from stages.runner import run_stage


def main() -> None:
    workspace = current_workspace()
    config = load_config(workspace, "data", "preprocess")
    prepare(workspace, config.data, config.preprocess)
    write_json(workspace.data_statistics, data_statistics(workspace))


if __name__ == "__main__":
    run_stage(main)
