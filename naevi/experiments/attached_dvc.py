"""DVC as a process that ends with its parent: `python -m naevi.experiments.attached_dvc repro train@0`."""

import sys

from dvc.cli import main

from naevi.parallel.processes import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    sys.exit(main(sys.argv[1:]))
