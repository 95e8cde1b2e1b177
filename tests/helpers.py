"""What several test modules share."""

from pathlib import Path

from naevi.workspace import Workspace

ROOT = Path(__file__).parents[1]
HERE = Workspace(Path())  # the current folder, which the fixture `folder` sets
