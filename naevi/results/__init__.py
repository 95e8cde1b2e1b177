"""Read results: their tables, their data sets, and the folders of published results in reports/results."""
