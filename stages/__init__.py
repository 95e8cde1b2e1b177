"""The scripts that `dvc.yaml` runs, one for each stage: load, call, write."""

import gc
import sys

# Importing torch and MLflow creates millions of objects that are never freed. Searching them for garbage takes 1.5 s at
# the start of a stage and as long at its end, so the collector is off until `runner.run_stage` turns it on. Code that
# only imports a stage, such as a test, keeps it: argv[0] is "-m" while Python locates the module that it will run.
if sys.argv[0] == "-m":
    gc.disable()
    try:
        import naevi.config  # noqa: F401
    except ModuleNotFoundError as error:  # `dvc repro` in another environment than that of `make setup`
        sys.exit(
            f"naevi: the package {error.name} is missing in this Python ({sys.executable}). Run `make setup` and "
            "`. .venv/bin/activate`, then the command again."
        )
