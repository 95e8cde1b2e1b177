"""Assign every image to test, validation or training, for each model."""

from naevi.config import load_config
from naevi.files import write_csv
from naevi.splitting import assign_parts
from naevi.tables import read_image_table
from naevi.workspace import current_workspace
from stages.runner import run_stage


def main() -> None:
    workspace = current_workspace()
    config = load_config(workspace, "split")
    write_csv(workspace.split, assign_parts(read_image_table(workspace), config.split))


if __name__ == "__main__":
    run_stage(main)
