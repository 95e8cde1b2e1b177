"""Several processes at the same time. Nothing here can change a result, so no stage depends on it."""
