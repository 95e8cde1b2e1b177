"""Names of data sets on pages and plots, by data.source."""

DATASET_NAMES = {"ph2": "PH2", "phantoms": "synthetic images", "folder": "own images"}
SYNTHETIC_LABEL = "phantoms, not patients"
