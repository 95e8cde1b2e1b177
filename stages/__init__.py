"""The scripts that `dvc.yaml` runs, one for each stage: load, call, write."""

import gc
import sys

# Importing torch and MLflow creates millions of objects that are never freed. Searching them for garbage takes 1.5 s at
# the start of a stage and as long at its end, so the collector is off until `runner.run_stage` turns it on. Code that
# only imports a stage, such as a test, keeps it: argv[0] is "-m" while Python locates the module that it will run.
if sys.argv[0] == "-m":
    gc.disable()
