"""Read and write images and masks of this pipeline."""
