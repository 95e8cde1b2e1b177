"""Results of earlier runs: their tables, their data sets, and the folders of published ones in reports/results."""
