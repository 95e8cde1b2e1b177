#!/bin/sh
# Takes the models from DVC's cache, evaluates them, and writes the report.
set -eu
naevi unlock
dvc repro
