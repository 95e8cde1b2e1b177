"""A result as a page for people: report.html, one file that needs no network, and report.md, which git keeps.

Neither names a date, host, commit or duration: the same result gives the same bytes.
"""

import base64
import json
import math
import shutil
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from naevi import figures, metrics, paths, provenance, summary, tables
from naevi.config import Config, flat
from naevi.figures import Picture
from naevi.images import Pixels, write_image

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=lambda name: name is not None and name.endswith(".html.j2"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)

SHOWN = ["dice", "iou", "sensitivity", "specificity"]  # of each picture

NAMES = {"ph2": "PH2", "phantoms": "phantoms", "folder": "own images"}
PH2 = {
    "text": "T. Mendonça, P. M. Ferreira, J. S. Marques, A. R. S. Marçal, J. Rozeira: PH2 - A dermoscopic image "
    "database for research and benchmarking. EMBC 2013.",
    "url": "https://www.fc.up.pt/addi/ph2%20database.html",
}


@dataclass(frozen=True)
class Result:
    """All that a report tells; nothing in it is a picture.

    metrics is metrics.json; per_image (one row per image), curves and lesions are the tables of these names; models
    holds the model.json of each of config.items(), in this order; fingerprint is provenance.of_result's.

    Without curves it is an external test: the images are others than those that the one model was made from.
    """

    config: Config
    metrics: dict[str, Any]
    per_image: pd.DataFrame
    curves: pd.DataFrame | None
    lesions: pd.DataFrame
    models: list[dict[str, Any]]
    fingerprint: str


class Table(NamedTuple):
    """Text in rows and columns; the first cell of a row names it."""

    head: list[str]
    rows: list[list[str]]


def publish(config: Config, models: list[dict[str, Any]], curves: pd.DataFrame | None) -> None:
    """Write the report of what lies here: metrics.json, per_image.csv, lesions.csv, images, masks and predictions.

    `models` and `curves` are those of `Result`.
    """
    scores = summary.read(paths.METRICS)
    result = Result(
        config=config,
        metrics=scores,
        per_image=summary.by_image(tables.read(paths.PER_IMAGE)),
        curves=curves,
        lesions=tables.read(paths.LESIONS),
        models=models,
        fingerprint=provenance.of_result(config, models, scores),
    )
    write(result, figures.pictures(figures.chosen(result.per_image), paths.RAW, paths.PREDICTIONS))


def write(result: Result, pictures: list[Picture]) -> None:
    """Write reports/report.html, reports/report.md and reports/figures."""
    title = "phantoms, not patients" if result.config.data.source == "phantoms" else ""
    plots = {
        "histogram": figures.histogram(result.per_image, title),
    }
    if result.curves is not None:
        plots["learning_curves"] = figures.learning_curves(result.curves, title)
    # Pictures of another result must not stay beside this one's.
    shutil.rmtree(paths.FIGURES, ignore_errors=True)
    paths.FIGURES.mkdir(parents=True)
    for picture in pictures:
        write_image(paths.FIGURES / picture.name, picture.overlay)
    for name, figure in plots.items():
        (paths.FIGURES / f"{name}.png").write_bytes(figures.png(figure))
    drawn = {name: figures.svg(figure, name) for name, figure in plots.items()}
    paths.REPORT_HTML.write_text(render_html(result, pictures, drawn), encoding="utf-8")
    paths.REPORT_MD.write_text(render_markdown(result), encoding="utf-8")


def render_html(result: Result, pictures: list[Picture], plots: dict[str, str]) -> str:
    """The page, with every picture in it; `plots` holds an <svg> by the names histogram and learning_curves."""
    groups: dict[str, list[dict[str, Any]]] = {group: [] for group in figures.GROUPS}
    for picture in pictures:
        groups[str(picture.score["group"])].append(_shown(picture))
    colors = {name: color for name, (color, _) in figures.OUTCOMES.items()}
    page = TEMPLATES.get_template("report.html.j2")
    return page.render(_content(result), groups=groups, colors=colors, plots=plots)


def render_markdown(result: Result) -> str:
    """The same without pictures: a diff of it shows what moved."""
    return TEMPLATES.get_template("report.md.j2").render(_content(result), worst=_worst(result.per_image))


def parameters(config: Config, without: Set[str] = frozenset()) -> dict[str, str]:
    """Every parameter by its dotted name, as params.yaml would write it, but for some sections."""
    return {name: _text(value) for name, value in flat(config.model_dump(exclude=set(without))).items()}


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value).replace('"', "")
    return text.removesuffix(".0")


def _content(result: Result) -> dict[str, Any]:
    """What both templates say, numbers as text."""
    config, per_image = result.config, result.per_image
    return {
        "name": NAMES[config.data.source],
        "heading": " and ".join(config.data.names()[1:]).capitalize(),
        "tested": _tested(result),
        "phantoms": config.data.source == "phantoms",
        "citation": PH2 if config.data.source == "ph2" else None,
        "images": result.metrics["images"],
        "resamples": f"{config.evaluate.resamples:,}",
        "size": config.preprocess.size,
        "headline": {name: _texts(result.metrics[name]) for name in ("dice", "iou")},
        "sensitivity": _number(result.metrics["sensitivity"]["mean"]),
        "specificity": _number(result.metrics["specificity"]["mean"]),
        "failed": int((per_image.iou < metrics.FAILED).sum()),
        "failed_below": metrics.FAILED,
        "empty_masks": result.metrics["empty_masks"],
        "parts": _parts(result.metrics),
        "by_diagnosis": _by_diagnosis(result),
        "by_class": _by_class(result.metrics),
        "by_fold": _by_fold(result),
        "dataset": _dataset(result.lesions),
        "digest": provenance.images(result.lesions, result.lesions.image_id.tolist())["digest"],
        "parameters": parameters(config, without={"split", "cv"} if result.curves is None else frozenset()),
        "versions": _agreed(result.models, "versions"),
        "runtime": _agreed(result.models, "runtime"),
        "code": _agreed([{"code": {"train": model["code"]}} for model in result.models], "code"),
        "models": _models(result.models),
        "fitted_on_all": result.curves is not None and "all" in config.items(),
        "fingerprint": result.fingerprint,
    }


def _tested(result: Result) -> str:
    """Which images, and by which model."""
    images, of_images, of_folds = result.metrics["images"], len(result.lesions), result.config.split.folds
    if result.curves is None:
        (model,) = result.models
        fitted = f"{model['data']['train']['images']} images of {NAMES[model['dataset']]}"
        return (
            f"{images} images, scored at their native size, by the model {model['item']}, fitted to {fitted}; "
            "whether that saw one of these is not known here."
        )
    part = f"{images} of {of_images}" if images < of_images else str(images)
    folds = result.metrics["folds"]
    return (
        f"{part} images, each tested once, by a model that never saw it, at its native size; "
        + (f"{folds} of {of_folds}" if folds < of_folds else str(folds))
        + (" folds." if of_folds > 1 else " fold.")
    )


def _number(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.3f}"


def _texts(values: dict[str, float]) -> dict[str, str]:
    return {key: _number(value) for key, value in values.items()}


def _parts(metrics: dict[str, Any]) -> Table | None:
    if "val" not in metrics:
        return None
    test = {key: metrics[key]["mean"] for key in ("dice", "iou")}
    parts = {"test": test, "validation": metrics["val"]}
    return Table(["part", "Dice", "IoU"], [[name, *_texts(part).values()] for name, part in parts.items()])


def _by_diagnosis(result: Result) -> Table:
    means = result.metrics["by_diagnosis"]
    rows = []
    for name in figures.in_order(means):
        dice = result.per_image.dice[result.per_image.diagnosis == name]
        values = (means[name]["dice"], dice.median(), dice.min(), means[name]["iou"])
        rows.append([name, str(len(dice)), *map(_number, values)])
    return Table(["diagnosis", "images", "Dice", "median", "lowest", "IoU"], rows)


def _by_class(metrics: dict[str, Any]) -> Table | None:
    """Means over images of each class, where there are several."""
    means = metrics.get("by_class", {})
    rows = [[name, *_texts(values).values()] for name, values in means.items()]
    return Table(["class", "Dice", "IoU"], rows) if rows else None


def _by_fold(result: Result) -> Table | None:
    """Test scores beside those of the fold's validation part after the last epoch, which are at the training size."""
    if result.curves is None:
        return None
    last = result.curves.groupby("model").last()
    rows = []
    for fold, scores in result.metrics["fold"].items():
        values = (scores["dice"], last.val_dice[fold], scores["iou"], last.val_iou[fold])
        rows.append([fold, str(int((result.per_image.fold == int(fold)).sum())), *map(_number, values)])
    return Table(["fold", "images", "Dice", "validation Dice", "IoU", "validation IoU"], rows)


def _worst(per_image: pd.DataFrame) -> Table:
    rows = []
    for score in figures.chosen(per_image).query("group == 'worst'").to_dict("records"):
        named = [str(score[name]) for name in ("image_id", "diagnosis", "fold")]
        rows.append([*named, *(_number(score[name]) for name in SHOWN)])
    return Table(["image", "diagnosis", "fold", "Dice", "IoU", "sensitivity", "specificity"], rows)


def _dataset(lesions: pd.DataFrame) -> Table:
    parts = {name: lesions[lesions.diagnosis == name] for name in figures.in_order(lesions.diagnosis)}
    rows = [
        [name, str(len(part)), _range(part.width), _range(part.height), f"{part.lesion_fraction.median():.0%}"]
        for name, part in (parts | {"together": lesions}).items()
    ]
    return Table(["diagnosis", "images", "width, px", "height, px", "median area"], rows)


def _range(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return str(low) if low == high else f"{low} to {high}"


def _agreed(models: list[dict[str, Any]], key: str) -> dict[str, str]:
    """A section of every model.json in one: values by name, side by side where models differ."""
    sections = [model[key] for model in models]
    return {name: " / ".join(dict.fromkeys(str(section[name]) for section in sections)) for name in sections[0]}


def _models(models: list[dict[str, Any]]) -> Table:
    rows = []
    for model in models:
        used = [str(model["data"].get(part, {"images": 0})["images"]) for part in ("train", "val")]
        rows.append([model["item"], *used, model["fingerprint"], model["sha256"]])
    return Table(["model", "fitted on", "validated on", "fingerprint", "sha256 of model.safetensors"], rows)


def _shown(picture: Picture) -> dict[str, Any]:
    """A picture as the page needs it: data URIs, and its score in words for who can't see it."""
    score: dict[str, Any] = picture.score
    lesion = score["tp"] + score["fn"]
    return {
        "id": score["image_id"],
        "diagnosis": score["diagnosis"],
        "fold": score["fold"],
        "rank": score["rank"],
        **{name: _number(score[name]) for name in SHOWN},
        "missed": f"{score['fn'] / lesion:.0%}" if lesion else "nothing",
        "false": f"{score['fp'] / lesion:.0%} of its size" if lesion else f"{score['fp']} pixels",
        "height": picture.overlay.shape[0],
        "width": picture.overlay.shape[1],
        "overlay": _data_uri(picture.overlay),
        "image": _data_uri(picture.image),
    }


def _data_uri(pixels: Pixels) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(figures.jpeg(pixels)).decode()
