"""Fit one model: a fold by its number, or `all`."""

import sys

import pandas as pd

from naevi import dataset, model_file, networks, paths, provenance, refusal, splitting, tracking, training
from naevi.config import load_config
from naevi.runtime import resolve


def main() -> None:
    item = sys.argv[1]
    config = load_config("model", "train", "runtime")
    runtime = resolve(config.runtime)
    split = pd.read_csv(paths.SPLIT)
    ids = {part: splitting.ids(split, item, part) for part in ("train", "val")}
    parts = {part: dataset.load(paths.PREPARED, names, device=runtime.device) for part, names in ids.items() if names}
    origin = provenance.of_model(config, item, runtime, pd.read_csv(paths.LESIONS), ids)
    network = networks.create(config.model, seed=config.train.seed).to(runtime.device)
    with tracking.child(origin) as run:
        history = training.fit(network, parts["train"], parts.get("val"), config.train, runtime, on_epoch=run.log_epoch)
        model_file.write(paths.model(item), network, origin, history)
        run.log_model(paths.model(item))


if __name__ == "__main__":
    refusal.run(main)
