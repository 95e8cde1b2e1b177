#!/usr/bin/env bash
# From a question to a model in use, with synthetic images: run experiments, watch, compare, promote, use.
# It works in .walkthrough/ and checks the outcome of each step. The first wrong outcome ends it with exit code 1.
# It needs `make setup`, curl and less than ten minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
unset "${!MLFLOW_@}" "${!DVC_@}" "${!NAEVI_@}"
export DVC_NO_ANALYTICS=1 MLFLOW_DISABLE_TELEMETRY=true MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false
export MLFLOW_TRACKING_URI="sqlite:///$PWD/.walkthrough/mlflow.db"
began=$SECONDS

step() { printf '\n== %s (%d s)\n' "$*" $((SECONDS - began)); }
fail() { echo "walkthrough: wrong outcome: $*" >&2; exit 1; }
prints() { # prints TEXT COMMAND…: run the command and check its output, not its exit code
  local output
  output=$("${@:2}" 2>&1) || true
  echo "$output"
  [[ $output == *"$1"* ]] || fail "${*:2} doesn't print “$1”"
}
wait_for_queue() { while [[ $(dvc queue status) =~ Queued|Running ]]; do sleep 1; done; }

step "Create a separate repository with a first result"
rm -rf .walkthrough
python - <<'PYTHON'
from pathlib import Path

from naevi.experiments.demo import make_demo
from naevi.workspace import Workspace

make_demo(Workspace(Path()), Path(".walkthrough"), [
    "data.source=phantoms", "data.phantoms.number=40", "data.phantoms.height=96", "data.phantoms.width=128",
    "preprocess.size=64", "split.folds=2", "train.epochs=4", "train.lr=0.0001", "train.batch_size=8",
    "cv.models=[0, 1, all]",
])
PYTHON
cd .walkthrough
dvc repro
git add --all
git -c user.name=naevi -c user.email=naevi@localhost commit --quiet --message "The first result"

step "Run three experiments from the queue, two at a time, and kill the training of one"
dvc exp run --queue --name long --set-param train.epochs=16
dvc exp run --queue --name good --set-param train.lr=0.001
dvc exp run --queue --name slow --set-param train.lr=0.00001
dvc queue start --jobs 2
python - <<'PYTHON'
import os, signal, time
import mlflow

client = mlflow.MlflowClient()
while not (training := client.search_runs(["1"], "attributes.status = 'RUNNING' and params.`train.epochs` = '16'")):
    time.sleep(0.1)
_, process, _ = training[0].data.tags["process"].split()
os.kill(int(process), signal.SIGKILL)
PYTHON
wait_for_queue
prints "Failed" dvc queue status
dvc queue remove --failed
dvc exp run --queue --name long --set-param train.epochs=16
dvc queue start --jobs 2
wait_for_queue
[[ $(dvc queue status | grep --count Success) == 3 ]] || fail "a failed experiment"

step "Watch: MLflow has one run for every result, with its models, their curves and images"
prints "verified: all 4 results in git have one complete run in MLflow." python -m naevi verify
python - <<'PYTHON'
import mlflow

client = mlflow.MlflowClient()
runs = client.search_runs(["1"])
results = {run.data.tags.get("dvc.experiments", "first"): run for run in runs if run.data.tags["kind"] == "result"}
assert sorted(results) == ["first", "good", "long", "slow"], results
assert [run.info.status for run in runs].count("KILLED") == 1, "the killed training is KILLED"
assert all(run.info.status == "FINISHED" for run in results.values())
for name, result in results.items():
    models = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == result.info.run_id]
    assert [run.info.status for run in models] == ["FINISHED"] * 3, name
    print(f"{name}: Dice {result.data.metrics['dice.mean']:.3f}, IoU {result.data.metrics['iou.mean']:.3f}")
    for model in models:
        steps = [point.step for point in client.get_metric_history(model.info.run_id, "train_loss")]
        assert steps == list(range(1, int(result.data.params["train.epochs"]) + 1)), (name, steps)
    images = sum(len(client.list_artifacts(run.info.run_id, "images")) for run in models)
    assert (images > 0) == (int(result.data.params["train.epochs"]) >= 5), (name, images)
PYTHON

step "Compare: the same scores in DVC, and whether the difference is significant"
COLUMNS=130 make --silent --old-file=.venv/package experiments
prints "good is better than default by" python -m naevi compare default good

step "Promote the first result, then a better one; a worse one is refused"
prints "default is the first champion: version 1 of the registered model phantoms." python -m naevi promote default
prints "It is now the champion: version 2" python -m naevi promote good
prints "not promoted: slow is worse than the champion (version 2)" python -m naevi promote slow

step "Use the champion on the command line and over HTTP"
images=(data/raw/images/*.png)
python -m naevi predict "${images[@]:0:3}" --model models:/phantoms@champion --out found
port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
python -m naevi serve --model models:/phantoms@champion --port "$port" >serve.log 2>&1 &
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
until curl --silent --fail "localhost:$port/ping"; do kill -0 $! || fail "$(tail serve.log)"; sleep 1; done
for image in "${images[@]:0:3}"; do
  mask=found/masks/$(basename "$image")
  python -c 'import base64, json, sys; print(json.dumps({"dataframe_records": [{"image": base64.b64encode(open(sys.argv[1], "rb").read()).decode()}]}))' "$image" |
    curl --silent --fail "localhost:$port/invocations" --header 'Content-Type: application/json' --data @- |
    python -c 'import base64, json, sys; sys.stdout.buffer.write(base64.b64decode(json.load(sys.stdin)["predictions"][0]["mask"]))' |
    cmp - "$mask" || fail "the mask of $image differs over HTTP"
done
prints "version 1 is the champion again instead of version 2." python -m naevi rollback

step "Done: every outcome was right"
