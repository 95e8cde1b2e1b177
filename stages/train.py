"""Fit one model: a fold by its number, or `all`. Several processes: torchrun --nproc-per-node N -m stages.train 0."""

import sys
from functools import partial

from naevi.config import load_config
from naevi.tracking.live import live_run
from naevi.training.run import train_model
from naevi.workspace import current_workspace
from stages.runner import run_stage


def main() -> None:
    workspace = current_workspace()
    config = load_config(workspace, "data.classes", "preprocess.size", "model", "train", "runtime")
    train_model(workspace, config, sys.argv[1], partial(live_run, workspace))


if __name__ == "__main__":
    run_stage(main)
