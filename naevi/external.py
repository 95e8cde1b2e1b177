"""A model tested on labelled images from elsewhere: the figures and the report of the cross-validation, in a folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from naevi import (
    evaluation,
    folders,
    lesions,
    model_file,
    paths,
    provenance,
    raw,
    reporting,
    sources,
    summary,
    whole,
)
from naevi.config import Config, ModelConfig, TrainConfig, load_config
from naevi.refusal import Refusal
from naevi.runtime import resolve


def test(model: Path, images: Path, masks: Path, labels: Path | None, out: Path) -> None:
    """Write data/ and reports/ as the pipeline has them into the new folder `out`, for images and masks of equal names.

    How the model predicts and is measured stands in params.yaml (evaluate, runtime); size and classes are its own.

    Raises Refusal where `out` is there already, and as `folders.collect` and `lesions.prepare` do.
    """
    if out.exists():
        raise Refusal(f"--out {out} is there already; name a new folder, or move that one away.")
    description = provenance.described(model)
    config = _config(load_config(), description)
    runtime = resolve(config.runtime)
    network = model_file.read(model, device=runtime.device)
    given = {"images": images.resolve(), "masks": masks.resolve()} | ({"labels": labels.resolve()} if labels else {})
    with whole.folder(out.resolve()) as folder, contextlib.chdir(folder):
        raw.fill(paths.RAW, lambda target: folders.collect(_files(given), target, config.data.values()))
        table = lesions.prepare(paths.RAW, paths.PREPARED, config.data, config.preprocess)
        with whole.folder(paths.PREDICTIONS) as predictions:
            found = evaluation.scored(network, table.image_id.tolist(), config, runtime, keep=predictions)
        test = found._replace(rows=evaluation.table(found.rows.assign(fold=description["item"]), table))
        figures = summary.tested(test.rows, test.pixels, config.evaluate)
        evaluation.write(test, figures, config.data.names())
        reporting.publish(config, [description], curves=None)


def _config(here: Config, description: dict[str, Any]) -> Config:
    """The config here with all that the model decided itself."""
    return here.model_copy(
        update={
            "data": here.data.model_copy(update={"source": "folder", "classes": description["classes"]}),
            "preprocess": here.preprocess.model_copy(update={"size": description["size"]}),
            "model": ModelConfig.model_validate(description["model"]),
            "train": TrainConfig.model_validate(description["train"]),
        }
    )


def _files(given: dict[str, Path]) -> Iterator[tuple[str, str, bytes]]:
    for part, path in given.items():
        if path.is_file() and part == "labels":
            yield part, path.name, path.read_bytes()
        else:
            yield from ((part, name, data) for name, data in sources.files(path, lambda _: True))
