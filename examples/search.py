"""Search for better parameters with Optuna. Each trial is an experiment in DVC's queue, scored on validation images.

    python -m pip install optuna
    python examples/search.py --trials 20 --jobs 2

Run it in the repository, and edit `suggest` for other parameters. All others are those of params.yaml. A trial trains
the folds. Its score is `val.dice` of reports/metrics.json, which no test image has a part in. `dvc exp show`, MLflow
and .cache/search.db have all trials. After an interruption the same command goes on: trials that were running are
tried again, and DVC's run cache has the models that were trained.
"""

import argparse
import subprocess
import time
from pathlib import Path
from typing import Any

import dvc.api
import optuna
from optuna.trial import TrialState

STORE = Path(".cache/search.db")
POLL_S = 2


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Return the parameters to try, by their names in params.yaml."""
    return {
        "train.lr": trial.suggest_float("train.lr", 0.0003, 0.01, log=True),
        "train.augment.rotation": trial.suggest_int("train.augment.rotation", 0, 180, step=30),
    }


def main() -> None:
    """Run the search and print each trial and the best one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20, help="how many in all, with those of earlier calls")
    parser.add_argument("--jobs", type=int, default=1, help="how many run at a time")
    parser.add_argument("--folds", default="[0,1,2,3,4]", help="the models of a trial, for cv.models")
    parser.add_argument("--name", default="search", help="of the study; its experiments are NAME-0, NAME-1, …")
    options = parser.parse_args()

    STORE.parent.mkdir(exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{STORE}", study_name=options.name, direction="maximize", load_if_exists=True
    )
    for trial in study.get_trials(states=[TrialState.RUNNING]):  # of a call that was interrupted
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    while missing := max(0, options.trials - len(study.get_trials(states=[TrialState.COMPLETE]))):
        trials = [study.ask() for _ in range(min(missing, options.jobs))]
        names = [f"{options.name}-{trial.number}" for trial in trials]
        for name, trial in zip(names, trials, strict=True):
            queue(name, {"cv.models": options.folds} | suggest(trial))
        subprocess.run(["dvc", "queue", "start", "--jobs", str(options.jobs)], check=True)
        for name, trial, score in zip(names, trials, wait(names), strict=True):
            study.tell(trial, score)
            print(f"{name}: val.dice {score:.4f} with {trial.params}", flush=True)
    print(f"The best trial is {options.name}-{study.best_trial.number}, with val.dice {study.best_value:.4f}.")


def queue(name: str, parameters: dict[str, Any]) -> None:
    """Put an experiment into DVC's queue."""
    changes = [option for key, value in parameters.items() for option in ("--set-param", f"{key}={value}")]
    subprocess.run(["dvc", "exp", "run", "--queue", "--name", name, *changes], check=True)


def wait(names: list[str]) -> list[float]:
    """Return the validation Dice of experiments when all have ended. Exit with a message if one failed."""
    while (states := queue_states()) and any(states.get(name) in ("Queued", "Running") for name in names):
        time.sleep(POLL_S)
    if failed := [name for name in names if states.get(name) != "Success"]:
        raise SystemExit(f"{', '.join(failed)} failed. See `dvc queue logs {failed[0]}`.")
    scores = {row["Experiment"]: row["val.dice"] for row in dvc.api.exp_show()}
    return [scores[name] for name in names]


def queue_states() -> dict[str, str]:
    """Return the state of each experiment in DVC's queue by name: Queued, Running, Success or Failed."""
    printed = subprocess.run(["dvc", "queue", "status"], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in printed.splitlines()]  # Task, Name, Created, Status
    return {row[1]: row[-1] for row in rows if len(row) > 3}


if __name__ == "__main__":
    main()
