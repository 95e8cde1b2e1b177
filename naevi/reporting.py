"""A result as a page for people: report.html, one file that needs no network, and report.md, which git keeps.

Neither names a date, host, commit or duration: the same result gives the same bytes.
"""

import hashlib
import json
import math
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from naevi import figures, images, lesions, metrics, paths, provenance, published, summary, tables, whole
from naevi.config import Config, flat
from naevi.figures import Dot, Picture
from naevi.images import write_image

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=lambda name: name is not None and name.endswith(".html.j2"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
LOCK = Path(__file__).parents[1] / "requirements.lock"  # wherever the report is written, its code is from here
# What a report is made from; an external test has no curves.
INPUTS = [
    paths.METRICS,
    paths.PER_IMAGE,
    paths.CURVES,
    paths.RELIABILITY,
    paths.THRESHOLDS,
    paths.RISK_COVERAGE,
    paths.LESIONS,
]

SHOWN = ["dice", "iou", "sensitivity", "specificity", "confidence"]  # of each picture
# Every score by its name, in the order of interest, and digits behind the point.
SCORES = {
    "dice": ("Dice", 3),
    "iou": ("IoU", 3),
    "threshold_jaccard": (f"threshold Jaccard: IoU, or 0 below {metrics.FAILED}", 3),
    "sensitivity": ("sensitivity", 3),
    "specificity": ("specificity", 3),
    "precision": ("precision", 3),
    "area_error": ("area error: excess over the mask's area", 3),
    "nsd_2": ("outline within 2 px (NSD)", 3),
    "nsd_5": ("outline within 5 px (NSD)", 3),
    "hd95": ("95th percentile of outline distance (HD95), px", 1),
    "assd": ("mean outline distance (ASSD), px", 1),
    "brier": ("Brier score", 3),
    "confidence": ("confidence: the Dice that it expects", 3),
}
MICRO = {"dice": "Dice", "iou": "IoU"}
# What divides the images, as in summary.slices, and what its parts are called; where nothing is said, by their names.
SLICES: dict[str, tuple[str, dict[str, str]]] = {
    "diagnosis": ("Diagnosis", {}),
    "area": (
        "Area in the mask",
        {"small": "smallest third", "middle": "middle third", "large": "largest third"},
    ),
    "frame": ("Frame", {"inside": "inside of the frame", "touching": "touching the frame"}),
    "corners": ("Corners of the picture", {"bright": "no dark corner", "dark": "dark corners"}),
    "fold": ("Fold", {}),
}

SECTIONS = {
    "others": "Beside others",
    "images": "Dice by image",
    "pictures": "Worst, middling and best",
    "slices": "On which images does it fail?",
    "known": "Would the model have known?",
    "calibration": "Calibration",
    "curves": "Learning curves",
    "every": "All images",
    "data": "Data and checks",
    "origin": "What it was made from",
    "card": "Model card",
}
OF_SLICES = (
    "Failed is an IoU below that limit; intervals are bootstraps over the images of the part. With so many parts one "
    "is low by chance: where intervals overlap, a difference may be none. A corner is dark where a dermatoscope's "
    "round view leaves it so."
)
OF_CONFIDENCE = (
    "Confidence is the Dice that the probabilities of an image let expect of its prediction (soft Dice confidence, "
    "Borges, Pacheco, Silva, 2024, arXiv 2402.10665); it needs no mask, so it is known of a new image too. Best "
    "possible is what one could reach who knew every Dice."
)

NAMES = {"ph2": "PH2", "phantoms": "phantoms", "folder": "own images"}
PH2 = {
    "text": "T. Mendonça, P. M. Ferreira, J. S. Marques, A. R. S. Marçal, J. Rozeira: PH2 - A dermoscopic image "
    "database for research and benchmarking. EMBC 2013.",
    "url": "https://www.fc.up.pt/addi/ph2%20database.html",
}
# What is known of the images beyond their numbers, for the model card.
LIMITS = {
    "ph2": "200 images of one clinic and one dermatoscope, of light skin, with one mask each: nothing is known here of "
    "other cameras, other skin or other lesions, nor of how far people would differ on these.",
    "phantoms": "The images are generated: this says nothing of patients, only that the pipeline works.",
    "folder": "Nothing is known here of images that were made or chosen in another way.",
}


@dataclass(frozen=True)
class Result:
    """All that a report tells; nothing in it is a picture.

    metrics is metrics.json; per_image (one row per image), curves, reliability, thresholds, risk_coverage and lesions
    are the tables of these names; overview is data.json; models holds the model.json of each of config.items(), in this
    order; others the metrics.json of each of reports/results, by name; inputs the SHA-256 of files by their path;
    fingerprint is provenance.of_result's.

    Without curves it is an external test: the images are others than those that the one model was made from.
    """

    config: Config
    metrics: dict[str, Any]
    per_image: pd.DataFrame
    curves: pd.DataFrame | None
    reliability: pd.DataFrame
    thresholds: pd.DataFrame
    risk_coverage: pd.DataFrame
    lesions: pd.DataFrame
    overview: dict[str, Any]
    models: list[dict[str, Any]]
    others: dict[str, dict[str, Any]]
    inputs: dict[str, str]
    fingerprint: str

    @property
    def title(self) -> str:
        """What every plot says above itself."""
        return "phantoms, not patients" if self.config.data.source == "phantoms" else ""


class Table(NamedTuple):
    """Text in rows and columns; the first cell of a row names it."""

    head: list[str]
    rows: list[list[str]]


class Part(NamedTuple):
    """Some of the images: what divides them, name, more about it, its entry of metrics.json, how many failed."""

    divided_by: str
    name: str
    more: str
    scores: dict[str, Any]
    failed: int


def publish(config: Config, models: list[dict[str, Any]], curves: pd.DataFrame | None) -> None:
    """Write the report of what lies here: figures, tables, images, masks and predictions.

    `models` and `curves` are those of `Result`.
    """
    scores = summary.read(paths.METRICS)
    result = Result(
        config=config,
        metrics=scores,
        per_image=summary.by_image(tables.read(paths.PER_IMAGE)),
        curves=curves,
        reliability=tables.read(paths.RELIABILITY),
        thresholds=tables.read(paths.THRESHOLDS),
        risk_coverage=tables.read(paths.RISK_COVERAGE),
        lesions=tables.read(paths.LESIONS),
        overview=lesions.overview(paths.PREPARED),
        models=models,
        others={path.parent.name: summary.read(path) for path in sorted(paths.RESULTS.glob(f"*/{paths.METRICS.name}"))},
        inputs={path.as_posix(): _sha256(path) for path in INPUTS if path.exists()} | {LOCK.name: _sha256(LOCK)},
        fingerprint=provenance.of_result(config, models, scores),
    )
    write(result, figures.pictures(figures.chosen(result.per_image), paths.RAW, paths.PREDICTIONS))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(result: Result, pictures: list[Picture]) -> None:
    """Write reports/report.html, reports/report.md and reports/figures."""
    drawn = plots(result)
    with whole.folder(paths.FIGURES) as folder:  # pictures of another result must not stay beside this one's
        for picture in pictures:
            write_image(folder / picture.name, picture.overlay)
        for name, figure in drawn.items():
            (folder / f"{name}.png").write_bytes(figures.png(figure))
    elements = {name: figures.svg(figure, name) for name, figure in drawn.items()}
    texts = {paths.REPORT_HTML: render_html(result, pictures, elements), paths.REPORT_MD: render_markdown(result)}
    for path, text in texts.items():
        with whole.file(path) as partial:
            partial.write_text(text, encoding="utf-8")


def plots(result: Result) -> dict[str, Figure]:
    """Every plot of the report by its name; `others` and `learning_curves` only where there are such."""
    title, mean = result.title, float(result.metrics["dice"]["mean"])
    threshold = result.config.evaluate.threshold if len(result.config.data.classes) == 2 else None
    drawn = {
        "histogram": figures.histogram(result.per_image, title),
        "slices": figures.dots(_slice_dots(result), mean, title),
        "confidence": figures.confidence(result.per_image, title),
        "risk_coverage": figures.risk_coverage(result.risk_coverage, result.per_image, title),
        "reliability": figures.reliability(result.reliability, title),
        "thresholds": figures.thresholds(result.thresholds, threshold, title),
    }
    if others := _other_dots(result):
        drawn["others"] = figures.dots(others, mean, title)
    if result.curves is not None:
        drawn["learning_curves"] = figures.learning_curves(result.curves, title)
    return drawn


def render_html(result: Result, pictures: list[Picture], drawn: dict[str, str]) -> str:
    """The page, with every picture in it; `drawn` holds an <svg> for each name of `plots`."""
    groups: dict[str, list[dict[str, Any]]] = {group: [] for group in figures.GROUPS}
    for picture in pictures:
        groups[str(picture.score["group"])].append(_shown(picture))
    colors = {name: color for name, (color, _) in figures.OUTCOMES.items()}
    ranks = {picture.score["image_id"]: picture.score["rank"] for picture in pictures}
    return TEMPLATES.get_template("report.html.j2").render(
        _content(result),
        groups=groups,
        colors=colors,
        plots=drawn,
        every=_every(result.per_image, ranks),
        locked=_locked(),
    )


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
    config = result.config
    return {
        "contents": _contents(result),
        "name": NAMES[config.data.source],
        "heading": " and ".join(config.data.names()[1:]).capitalize(),
        "tested": _tested(result),
        "phantoms": config.data.source == "phantoms",
        "citation": PH2 if config.data.source == "ph2" else None,
        "images": result.metrics["images"],
        "diagnoses": figures.in_order(result.per_image.diagnosis),
        "how": _how(result),
        "of_slices": OF_SLICES,
        "of_confidence": OF_CONFIDENCE,
        "size": config.preprocess.size,
        "headline": {name: _texts(result.metrics[name]) for name in ("dice", "iou")},
        "failed": result.metrics["failed"],
        "failed_below": metrics.FAILED,
        "others": _others(result),
        "scores": _scores(result.metrics),
        "frame_size": " by ".join(f"{result.overview['all'][side]['median']:.0f}" for side in ("width", "height")),
        "parts": _parts(result.metrics),
        "slices": _slices(result),
        "weakest": _weakest(result),
        "worst_are": _worst_are(result.per_image),
        "by_class": _by_class(result.metrics),
        "known": _known(result),
        "kept": _kept(result),
        "calibration_error": _number(result.metrics["calibration"]["expected_error"]),
        "brier": _number(result.metrics["brier"]["mean"]),
        "by_fold": _by_fold(result),
        "dataset": _dataset(result.overview),
        "checks": _checks(result),
        "digest": provenance.images(result.lesions, result.lesions.image_id.tolist())["digest"],
        "inputs": result.inputs,
        "parameters": parameters(config, without={"split", "cv"} if result.curves is None else frozenset()),
        "versions": _agreed(result.models, "versions"),
        "runtime": _agreed(result.models, "runtime"),
        "code": _agreed([{"code": {"train": model["code"]}} for model in result.models], "code"),
        "models": _models(result.models),
        "fitted_on_all": result.curves is not None and "all" in config.items(),
        "fingerprint": result.fingerprint,
        "card": _card(result),
    }


def _contents(result: Result) -> dict[str, str]:
    """The sections of the page that there are, in an expert's order, by their ids."""
    there = {"others": bool(published.on(result.config.data.source)), "curves": result.curves is not None}
    return {name: text for name, text in SECTIONS.items() if there.get(name, True)}


def _how(result: Result) -> str:
    """How the headline came about, in words."""
    scores, images_ = result.metrics, result.metrics["images"]
    sensitivity, specificity = (_number(scores[name].get("mean", math.nan)) for name in ("sensitivity", "specificity"))
    found = [
        f"Scores are taken per image and averaged last. Mean sensitivity is {sensitivity}, mean specificity "
        f"{specificity}. The interval is that of {result.config.evaluate.resamples:,} bootstrap samples of the images; "
        "it doesn't tell how much another training run would differ.",
        f"{scores['failed']} of {images_} images have an IoU below {metrics.FAILED}, "
        "which ISIC 2018 counted as failed.",
    ]
    if scores["empty_masks"]:
        found.append(
            f"{scores['empty_masks']} masks are empty: their Dice and IoU are 1 if nothing was predicted, else 0."
        )
    if scores["empty_predictions"]:
        found.append(f"Nothing at all was predicted for {scores['empty_predictions']} masks.")
    return " ".join(found)


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


def _number(value: float, digits: int = 3) -> str:
    return "n/a" if math.isnan(value) else f"{value:.{digits}f}"


def _texts(values: dict[str, float]) -> dict[str, str]:
    return {key: _number(value) for key, value in values.items()}


def _interval(values: dict[str, float], digits: int = 3) -> str:
    return f"{_number(values['low'], digits)} to {_number(values['high'], digits)}"


def _others(result: Result) -> list[dict[str, str]]:
    """This result, the named ones of this pipeline and those of others, with their sources; none but for PH2."""
    external = published.on(result.config.data.source)
    ours = [
        {
            "name": name,
            "dice": _number(found["dice"]["mean"]),
            "interval": _interval(found["dice"]),
            "iou": _number(found["iou"]["mean"]),
            "protocol": f"this pipeline, {found['images']} images{at}",
            "source": "",
        }
        for name, at, found in _ours(result)
        if external
    ]
    return ours + [
        {
            "name": each.name,
            "dice": _printed(each.dice),
            "interval": "",
            "iou": _printed(each.iou),
            "protocol": each.protocol,
            "source": each.source,
        }
        for each in external
    ]


def _printed(value: float) -> str:
    """With three or four digits, as papers print it."""
    return f"{value:.4f}".removesuffix("0")


def _ours(result: Result) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, where its settings stand, and figures: of this result, and of the named ones, best Dice first."""
    named = sorted(result.others.items(), key=lambda item: (-float(item[1]["dice"]["mean"]), item[0]))
    kept = [(name, f", settings in {(paths.RESULTS / name).as_posix()}", found) for name, found in named]
    return [("this result", "", result.metrics), *kept]


def _other_dots(result: Result) -> list[Dot]:
    external = published.on(result.config.data.source)
    if not external:
        return []
    ours = [Dot(name, *(found["dice"][key] for key in ("mean", "low", "high"))) for name, _, found in _ours(result)]
    ours[0] = ours[0]._replace(color=figures.VERMILION)
    theirs = [Dot(each.name, each.dice, color=figures.PURPLE) for each in external]
    return [Dot("measured here"), *ours, Dot("published; protocols differ"), *theirs]


def _scores(figures_: dict[str, Any]) -> Table:
    """Every score's distribution over the images, and Dice and IoU of all pixels together."""
    rows = []
    for name, (label, digits) in SCORES.items():
        if values := figures_[name]:
            middle, low, high, deviation = (_number(values[key], digits) for key in ("median", "p05", "p95", "sd"))
            mean = _number(values["mean"], digits)
            rows.append([label, mean, _interval(values, digits), middle, f"{low} to {high}", deviation])
    micro = _texts(figures_["micro"])
    rows += [[f"{label}, micro: all pixels together", micro[name], *4 * [""]] for name, label in MICRO.items()]
    return Table(["score of an image", "mean", "95 % interval", "median", "5th to 95th percentile", "deviation"], rows)


def _divided(result: Result) -> list[Part]:
    """The parts of the images in the order of interest; no fold where there are none."""
    labels = summary.slices(result.per_image) | {"fold": result.per_image.fold.astype(str)}
    found = []
    for key, (heading, words) in SLICES.items():
        means = result.metrics.get("fold" if key == "fold" else f"by_{key}", {})
        order = words or (figures.in_order(means) if key == "diagnosis" else means)
        for name in (name for name in order if name in means):
            rows = result.per_image[labels[key] == name]
            span = f", {rows.lesion_fraction.min():.0%} to {rows.lesion_fraction.max():.0%} of the frame"
            more, failed = span if key == "area" else "", int((rows.iou < metrics.FAILED).sum())
            found.append(Part(heading, words.get(name, name), more, means[name], failed))
    return found


def _slices(result: Result) -> dict[str, Table]:
    """A table for each thing that divides the images."""
    found: dict[str, Table] = {}
    for part in _divided(result):
        table = found.setdefault(
            part.divided_by, Table(["part", "images", "Dice", "95 % interval", "failed", "IoU"], [])
        )
        dice, iou = _number(part.scores["dice"]), _number(part.scores["iou"])
        count = str(part.scores["images"])
        table.rows.append([part.name + part.more, count, dice, _interval(part.scores), str(part.failed), iou])
    return found


def _slice_dots(result: Result) -> list[Dot]:
    rows: list[Dot] = []
    headings = set()
    for part in _divided(result):
        if part.divided_by not in headings:
            headings.add(part.divided_by)
            rows.append(Dot(part.divided_by))
        name = f"{part.name} ({part.scores['images']})"
        rows.append(Dot(name, *(part.scores[key] for key in ("dice", "low", "high"))))
    return rows


def _weakest(result: Result) -> str:
    """The part with the lowest mean Dice in words; folds are no property of an image, and one part is no part."""
    parts = [part for part in _divided(result) if part.divided_by != SLICES["fold"][0]]
    named = [part for part in parts if sum(other.divided_by == part.divided_by for other in parts) > 1]
    if not named:
        return "All images are alike in what is known of them."
    part = min(named, key=lambda part: float(part.scores["dice"]))
    return (
        f"Lowest by mean Dice: {part.name}{part.more} ({part.divided_by.lower()}), {_number(part.scores['dice'])}, "
        f"95 % interval {_interval(part.scores)}, over {part.scores['images']} images; "
        f"all images have {_number(result.metrics['dice']['mean'])}."
    )


def _worst_are(per_image: pd.DataFrame) -> str:
    """In which direction the worst images are wrong, in words."""
    worst = figures.chosen(per_image).query("group == 'worst'")
    larger, missed = int((worst.fp > worst.fn).sum()), int((worst.fp < worst.fn).sum())
    return (
        f"Of the {len(worst)} worst images {larger} have more false than missed area, {missed} more missed than false."
    )


def _known(result: Result) -> str:
    """Whether low confidence goes with low Dice, in words."""
    images_ = result.per_image
    worst = set(figures.chosen(images_).query("group == 'worst'").image_id)
    aside = len(images_) - round(max(summary.KEPT) / 100 * len(images_))
    doubted = set(images_.sort_values("confidence", kind="stable").image_id.head(aside))
    return (
        f"Rank correlation of confidence and Dice (Spearman): {_number(_spearman(images_.confidence, images_.dice))}. "
        f"{len(worst & doubted)} of the {len(worst)} worst images are among the {aside} of {len(images_)} "
        "that the model is least confident of."
    )


def _spearman(first: pd.Series, second: pd.Series) -> float:
    """NaN where one of both is the same everywhere."""
    ranks = first.rank(), second.rank()
    return float(np.corrcoef(*ranks)[0, 1]) if all(each.nunique() > 1 for each in ranks) else math.nan


def _kept(result: Result) -> Table:
    """Mean Dice of the images that the model is most confident of, beside what is possible."""
    best = summary.kept(result.per_image.dice, result.per_image.dice)
    mean = _number(result.metrics["dice"]["mean"])
    rows = [["all images", mean, mean]]
    for part in summary.KEPT:
        known, possible = (kept[f"dice_at_{part}"] for kept in (result.metrics["kept"], best))
        rows.append([f"{part} % of them", _number(known), _number(possible)])
    return Table(["kept", "Dice of the most confident", "best possible"], rows)


def _every(per_image: pd.DataFrame, ranks: dict[Any, Any]) -> list[dict[str, Any]]:
    """A row of the table of all images each, worst first; rank is that of its picture if there is one."""
    area = summary.slices(per_image)["area"]
    order = per_image.assign(third=area).sort_values(["dice", "image_id"])
    return [
        {
            "id": str(row["image_id"]),
            "rank": ranks.get(row["image_id"]),
            "diagnosis": str(row["diagnosis"]),
            "fold": str(row["fold"]),
            **{name: _number(row[name]) for name in ("dice", "iou", "confidence")},
            "exact": f"{row['dice']:.6f}",  # of a Dice of .6996 it is true that it is below .7
            "hd95": _number(row["hd95"], 1),
            "area": f"{100 * row['lesion_fraction']:.1f}",
            "third": row["third"],
            "frame": "yes" if row["touches_frame"] else "no",
            "corners": str(row["dark_corners"]),
        }
        for row in order.to_dict("records")
    ]


def _locked() -> list[str]:
    """The lines of requirements.lock."""
    return [line for line in LOCK.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def _parts(metrics: dict[str, Any]) -> Table | None:
    if "val" not in metrics:
        return None
    test = {key: metrics[key]["mean"] for key in ("dice", "iou")}
    parts = {"test": test, "validation": metrics["val"]}
    return Table(["part", "Dice", "IoU"], [[name, *_texts(part).values()] for name, part in parts.items()])


def _by_class(metrics: dict[str, Any]) -> Table | None:
    """Means over images of each class, where there are several."""
    means = metrics.get("by_class", {})
    rows = [
        [name, str(values["images"]), _number(values["dice"]), _interval(values), _number(values["iou"])]
        for name, values in means.items()
    ]
    return Table(["class", "images", "Dice", "95 % interval", "IoU"], rows) if rows else None


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
        rows.append([*named, *(_number(score[name]) for name in SHOWN), str(score["doubt"])])
    head = [
        "image",
        "diagnosis",
        "fold",
        "Dice",
        "IoU",
        "sensitivity",
        "specificity",
        "confidence",
        "its rank from below",
    ]
    return Table(head, rows)


def _dataset(overview: dict[str, Any]) -> Table:
    parts = {name: overview["by_diagnosis"][name] for name in figures.in_order(overview["by_diagnosis"])}
    rows = [
        [
            name,
            str(part["images"]),
            _range(part["width"]),
            _range(part["height"]),
            f"{part['lesion_fraction']['median']:.0%}",
            f"{part['lesion_fraction']['lowest']:.0%} to {part['lesion_fraction']['highest']:.0%}",
            str(part["touches_frame"]),
            str(part["dark_corners"]),
        ]
        for name, part in (parts | {"together": overview["all"]}).items()
    ]
    head = ["diagnosis", "images", "width, px", "height, px", "median area", "area", "touch the frame", "dark corners"]
    return Table(head, rows)


def _range(span: dict[str, float]) -> str:
    low, high = span["lowest"], span["highest"]
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"


def _checks(result: Result) -> list[str]:
    """What was made sure of before anything was fitted: the pipeline stops where one of these is not so."""
    config, pairs = result.config, result.overview["near_duplicates"]
    found = ["Every mask has its image's size, and no value that data.classes doesn't name."]
    if config.data.source == "ph2":
        found.insert(0, "Every image and mask is one that data/ph2.csv names by the SHA-256 of its pixels.")
    if config.preprocess.empty_masks == "refuse":
        found.append("No mask is empty.")
    together = "" if result.curves is None else "; the images of a pair are never parted between training and test"
    found.append(
        f"Near-duplicates: {pairs} {'pair' if pairs == 1 else 'pairs'} of images whose 32 by 32 px grey pictures "
        f"correlate at {images.NEAR_DUPLICATE} or more{together}."
    )
    return found


def _card(result: Result) -> dict[str, str]:
    """The model card by heading: all of it follows from parameters, models and figures, so it can't go stale."""
    config, scores = result.config, result.metrics
    own = config.model.encoder == "none"
    encoder = "" if own else f", encoder {config.model.encoder} (weights: {config.model.weights})"
    fitted_to = NAMES[config.data.source if result.curves is not None else result.models[0]["dataset"]]
    fitted = ", ".join(f"{model['item']} to {model['data']['train']['images']}" for model in result.models)
    return {
        "What it does": f"It outlines what is {' or '.join(config.data.names()[1:])} in a picture. "
        f"{config.model.architecture}{encoder}; it sees the picture as {config.preprocess.size} by "
        f"{config.preprocess.size} px, and its outlines have the picture's own size.",
        "Intended use": "Research and teaching.",
        "Not for": "Diagnosis, treatment, triage or any other decision about a person. It is not a medical device: "
        "it says where something is, not what it is.",
        "Training data": f"{fitted_to}. Number of images that each model was fitted to: {fitted}.",
        "How it was measured": f"{_tested(result)} Scores are means over images, intervals are bootstraps over images.",
        "Result": f"Dice {_number(scores['dice']['mean'])}, 95 % interval {_interval(scores['dice'])}; "
        f"IoU {_number(scores['iou']['mean'])}, {_interval(scores['iou'])}. {scores['failed']} of {scores['images']} "
        f"images have an IoU below {metrics.FAILED}.",
        "Limits by slice": f"{_weakest(result)} {_worst_are(result.per_image)}",
        "Does it know its failures": _known(result),
        "Limits of the data": LIMITS[config.data.source],
    }


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
        "doubt": score["doubt"],
        "missed": f"{score['fn'] / lesion:.0%}" if lesion else "nothing",
        "false": f"{score['fp'] / lesion:.0%} of its size" if lesion else f"{score['fp']} pixels",
        "height": picture.overlay.shape[0],
        "width": picture.overlay.shape[1],
        "overlay": figures.data_uri(picture.overlay, lines=True),
        "image": figures.data_uri(picture.image, lines=False),
    }
