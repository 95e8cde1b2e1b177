"""Score predictions: per image, per fold and over all images."""
