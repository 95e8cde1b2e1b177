#!/bin/sh
# Prepares the data and the split.
set -eu
naevi unlock
dvc repro split
