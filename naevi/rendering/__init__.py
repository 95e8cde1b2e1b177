"""Draw overlays, plots, tables and pages. Knows nothing of stages or results."""
