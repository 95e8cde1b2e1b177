"""Check every mask, resize images and masks to the training size, and write statistics and the review page."""

from naevi.config import load_config
from naevi.preprocessing.checks import check_data, write_checks
from naevi.preprocessing.prepare import prepare
from naevi.review.review import review_data
from naevi.workspace import current_workspace
from stages.runner import run_stage


def main() -> None:
    workspace = current_workspace()
    config = load_config(workspace, "data.source", "data.classes", "preprocess")
    prepared = prepare(workspace, config.data, config.preprocess)
    statistics = check_data(workspace, prepared, config.preprocess)
    suspicions = review_data(workspace, config.data, prepared, statistics)
    write_checks(workspace, prepared, statistics, suspicions)


if __name__ == "__main__":
    run_stage(main)
