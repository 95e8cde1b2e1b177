"""Bring the images and masks into data/raw, checked."""

from naevi.config import load_config
from naevi.datasets.raw import build_raw
from naevi.workspace import current_workspace
from stages.runner import run_stage


def main() -> None:
    workspace = current_workspace()
    build_raw(workspace, load_config(workspace, "data").data)


if __name__ == "__main__":
    run_stage(main)
