"""Fit one model: a fold by its number, or `all`; with N processes: torchrun --nproc-per-node N -m stages.train 0."""

import sys

from naevi import dataset, model_file, networks, paths, processes, provenance, refusal, splitting, tables, tracking
from naevi.checkpoint import Checkpoint
from naevi.config import load_config
from naevi.runtime import resolve
from naevi.training import fit


def main() -> None:
    item = sys.argv[1]
    config = networks.effective(load_config("data", "preprocess", "model", "train", "runtime"))
    runtime, classes = resolve(config.runtime), len(config.data.classes)
    split, lesions = tables.read(paths.SPLIT), tables.read(paths.LESIONS)
    ids = {part: splitting.ids(split, item, part) for part in ("train", "val")}
    network = networks.create(config.model, classes=classes, seed=config.train.seed)
    origin = provenance.of_model(config, item, vars(runtime), lesions, ids, model_file.digest(network))
    with processes.joined(runtime.device), tracking.child(origin, live=processes.is_first()) as run:
        parts = dataset.load_parts(paths.PREPARED, ids, classes=classes, device=runtime.device)
        network.to(runtime.device)
        checkpoint = Checkpoint(paths.checkpoint(origin["fingerprint"]))
        run.catch_up(checkpoint.history, parts.get("val"))
        history = fit(network, *map(parts.get, ("train", "val")), config.train, runtime, checkpoint, run.log_epoch)
        if processes.is_first():
            model_file.write(paths.model(item), network, origin, history)
            run.log_model(paths.model(item))
        checkpoint.remove()


if __name__ == "__main__":
    refusal.run(main)
