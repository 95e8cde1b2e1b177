"""Download data sets and read them into data/raw."""
