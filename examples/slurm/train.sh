#!/bin/sh
# Trains one model in a clone of its own, because DVC's locks don't work between machines. The model goes into DVC's
# cache, which all clones share. result.sh takes it from there.
set -eu
repository=$PWD
cache=$(dvc cache dir)
stage=$(dvc stage list --name-only | grep "^train@" | sed -n "$((SLURM_ARRAY_TASK_ID + 1))p")

clone=$(mktemp -d)
trap 'rm -rf "$clone"' EXIT
git clone --quiet "$repository" "$clone"
# Changes that aren't committed belong to the result too.
git ls-files -z --cached --others --exclude-standard | tar --create --null --ignore-failed-read --files-from=- |
  tar --extract --directory="$clone"
cd "$clone"
dvc cache dir --local "$cache"
dvc config --local cache.type reflink,hardlink,symlink,copy # without a copy of the data for each task
# A task that is started again goes on where it stopped.
mkdir -p "$repository/.dvc/tmp/checkpoints" .dvc/tmp
ln -s "$repository/.dvc/tmp/checkpoints" .dvc/tmp/checkpoints
dvc checkout --quiet data/prepared $(git ls-files "data/weights/*.dvc")
dvc repro --single-item "$stage"
