"""What `dvc.yaml` runs, a script a stage: load, call, write."""

import gc
import sys

# Torch and MLflow import millions of objects that live until the end. To look for garbage among them took 1.5 s of a
# stage's start, and as long at its exit; between the two `refusal.run` lets Python look. Who only imports a stage, such
# as a test, keeps the collector: argv[0] is "-m" while Python is on its way to the module that it shall run.
if sys.argv[0] == "-m":
    gc.disable()
