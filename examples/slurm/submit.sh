#!/bin/sh
# Submits the pipeline to SLURM: first the data, then a task for each model, then evaluation and report. Run it in a
# clone on a file system that all nodes see, after `make setup`. The options are those of sbatch for the trainings:
#
#   examples/slurm/submit.sh --partition=gpu --gres=gpu:1 --cpus-per-task=8
#
# Logs are in .cache/slurm/. docs/scaling.md explains the rest.
set -eu
cd "$(dirname "$0")/../.."
export PATH="$PWD/.venv/bin:$PATH"
mkdir -p .cache/slurm
number=$(dvc stage list --name-only | grep -c "^train@")

data=$(sbatch --parsable --job-name=data --output=.cache/slurm/data-%j.log examples/slurm/data.sh)
train=$(sbatch --parsable --job-name=train --output=.cache/slurm/train-%A-%a.log --dependency="afterok:$data" \
  --array="0-$((number - 1))" "$@" examples/slurm/train.sh)
result=$(sbatch --parsable --job-name=result --output=.cache/slurm/result-%j.log --dependency="afterok:$train" \
  examples/slurm/result.sh)
echo "Submitted: data ($data), $number trainings ($train), result ($result). Logs: .cache/slurm/"
