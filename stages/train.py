"""Fit one model: a fold by its number, or `all`; with N processes: torchrun --nproc-per-node N -m stages.train 0."""

import sys

from naevi import (
    dataset,
    model_file,
    networks,
    paths,
    processes,
    provenance,
    refusal,
    splitting,
    tables,
    tracking,
    training,
)
from naevi.config import load_config
from naevi.runtime import resolve


def main() -> None:
    item = sys.argv[1]
    config = load_config("data", "preprocess", "model", "train", "runtime")
    runtime = resolve(config.runtime)
    classes = len(config.data.classes)
    split = tables.read(paths.SPLIT)
    ids = {part: splitting.ids(split, item, part) for part in ("train", "val")}
    network = networks.create(config.model, classes=classes, seed=config.train.seed)
    origin = provenance.of_model(config, item, runtime, tables.read(paths.LESIONS), ids, model_file.digest(network))
    with processes.joined(runtime.device), tracking.child(origin) as run:
        parts = {
            part: dataset.load(paths.PREPARED, names, classes=classes, device=runtime.device)
            for part, names in ids.items()
            if names
        }
        network.to(runtime.device)
        history = training.fit(network, parts["train"], parts.get("val"), config.train, runtime, on_epoch=run.log_epoch)
        if processes.is_first():
            model_file.write(paths.model(item), network, origin, history)
            run.log_model(paths.model(item))


if __name__ == "__main__":
    refusal.run(main)
