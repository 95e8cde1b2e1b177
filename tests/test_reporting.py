"""The report says what metrics.json says, needs nothing from elsewhere, and has the same bytes for the same result."""

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from naevi import (
    calibration,
    evaluation,
    figures,
    lesions,
    metrics,
    paths,
    provenance,
    published,
    reporting,
    summary,
    surfaces,
)
from naevi.config import Config, flat
from naevi.figures import Picture
from naevi.images import read_mask, write_mask
from naevi.reporting import Result
from stages import report

PHANTOMS = "phantoms, not patients"
PLOTS = [
    *("histogram", "slices", "confidence", "risk_coverage", "reliability", "thresholds"),
    *("others", "learning_curves"),  # where there are such
]
Tiny = Any  # conftest's


def described(item: str, **runtime: Any) -> dict[str, Any]:
    """A model.json."""
    parts = {"train": {"images": 20 if item == "all" else 8, "digest": "d"}}
    origin = {
        "item": item,
        "dataset": "phantoms",
        "runtime": {"device": "cpu", "precision": "fp32", "threads": 1} | runtime,
        "data": parts if item == "all" else parts | {"val": {"images": 2, "digest": "d"}},
        "code": "code-of-train",
        "versions": {"torch": "2.14.1", "numpy": "2.4.6"},
    }
    return {"fingerprint": provenance.digest(origin)} | origin | {"sha256": f"sha256-of-{item}"}


PIXELS = np.ones((1, 2, calibration.BINS), np.int64)


def shifted(tiny: Tiny, folder: Path) -> Path:
    """The masks in this folder, as predictions: each moved some pixels further than the one before."""
    for index, image_id in enumerate(tiny.lesions.image_id):
        mask = read_mask(tiny.root / paths.RAW / "masks" / f"{image_id}.png")
        write_mask(folder / f"{image_id}.png", np.roll(mask, index, axis=1))
    return folder


def measured(tiny: Tiny, predictions: Path) -> Result:
    """The phantoms' result, with those predictions; the model is the more confident the better it is."""
    rows = []
    for image_id in tiny.lesions.image_id:
        mask = read_mask(tiny.root / paths.RAW / "masks" / f"{image_id}.png")
        rows.append(metrics.counts(mask[None], read_mask(predictions / f"{image_id}.png")[None]))
    counts = pd.concat(rows, ignore_index=True)
    folds = (tiny.split["1"] == "test").astype(int)
    others = {"class": "lesion"} | dict.fromkeys([*surfaces.SURFACES, "brier"], 0.5)
    table = (
        tiny.lesions[evaluation.LESION].assign(fold=folds).join(metrics.scores(counts)).join(counts).assign(**others)
    )
    table["confidence"] = 0.5 + table.dice / 3
    curves = pd.DataFrame(
        {"epoch": 1, "train_loss": 0.5, "val_dice": [0.625, 0.375, None], "val_iou": [0.5, 0.25, None]}
    )
    return Result(
        config=tiny.config,
        metrics=summary.cross_validated(table, PIXELS, table.head(6), tiny.config.evaluate),
        per_image=table,
        curves=curves.assign(model=["0", "1", "all"]),
        reliability=calibration.reliability(PIXELS[0]).assign(**{"class": "lesion"}),
        thresholds=calibration.thresholds(PIXELS[0]).assign(**{"class": "lesion"}),
        risk_coverage=calibration.risk_coverage(table.confidence, table.dice),
        lesions=tiny.lesions,
        overview=lesions.overview(tiny.root / paths.PREPARED),
        others={},
        inputs={"reports/metrics.json": "sha256-of-metrics"},
        models=[described(item) for item in ("0", "1", "all")],
        fingerprint="fingerprint-of-result",
    )


@pytest.fixture(scope="module")
def predictions(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shifted(tiny, tmp_path_factory.mktemp("predictions"))


@pytest.fixture(scope="module")
def result(tiny: Tiny, predictions: Path) -> Result:
    return measured(tiny, predictions)


@pytest.fixture(scope="module")
def pictures(result: Result, tiny: Tiny, predictions: Path) -> list[Picture]:
    return figures.pictures(figures.chosen(result.per_image), tiny.root / paths.RAW, predictions)


def page(result: Result, pictures: list[Picture]) -> str:
    return reporting.render_html(result, pictures, dict.fromkeys(PLOTS, "<svg></svg>"))


def ph2(result: Result, config_with: Callable[[dict[str, Any]], Config]) -> Result:
    """As if it had been measured on PH2."""
    return replace(result, config=config_with({"data.source": "ph2"}))


class Elements(HTMLParser):
    """All elements with their attributes; closed as they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_headlines_are_those_of_metrics_json(result: Result, pictures: list[Picture]) -> None:
    html, markdown = page(result, pictures), reporting.render_markdown(result)
    for score in ("dice", "iou"):
        mean, low, high, median, p05 = (
            f"{result.metrics[score][key]:.3f}" for key in ("mean", "low", "high", "median", "p05")
        )
        assert f"<strong>{mean}</strong> 95&nbsp;% interval {low} to {high}<" in html
        assert f"<dd>{median}</dd>" in html
        assert f"<dd>{p05}</dd>" in html
        assert f"| **{mean}** | {low} to {high} | {median} | {p05} |" in markdown


def test_every_number_of_the_headline_is_in_metrics_json(result: Result, pictures: list[Picture]) -> None:
    """Five numbers each of Dice and IoU, two means in the sentence below; nothing else has three digits."""
    html = page(result, pictures)
    headline = re.sub(r"<svg.*?</svg>", "", html[html.index('class="headline"') : html.index("Not a medical device")])
    shown = re.findall(r"\b\d\.\d{3}\b", headline)

    known = {f"{value:.3f}" for value in flat(result.metrics).values()}
    assert len(shown) == 12
    assert set(shown) <= known


def test_tables_hold_every_part_and_fold(result: Result, pictures: list[Picture]) -> None:
    html, markdown = page(result, pictures), reporting.render_markdown(result)
    for key in ("by_diagnosis", "by_area", "by_frame", "by_corners", "fold"):
        assert result.metrics[key]
        for scores in result.metrics[key].values():
            dice, low, high = (f"{scores[name]:.3f}" for name in ("dice", "low", "high"))
            assert f"<td>{scores['images']}</td><td>{dice}</td><td>{low} to {high}</td>" in html
            assert f"| {scores['images']} | {dice} | {low} to {high} |" in markdown
    for fold, validation in (("0", "0.625"), ("1", "0.375")):
        dice = f"{result.metrics['fold'][fold]['dice']:.3f}"
        assert f'<th scope="row">{fold}</th><td>10</td><td>{dice}</td><td>{validation}</td>' in html
        assert f"| {fold} | 10 | {dice} | {validation} |" in markdown


def test_every_score_has_its_distribution_and_micro_is_called_so(result: Result) -> None:
    markdown = reporting.render_markdown(result)

    assert set(reporting.SCORES) == set(summary.SCORES)
    for name, (label, digits) in reporting.SCORES.items():
        assert f"| {label} | {result.metrics[name]['mean']:.{digits}f} |" in markdown
    assert f"| Dice, micro: all pixels together | {result.metrics['micro']['dice']:.3f} |" in markdown


def test_a_score_that_no_image_has_is_left_out(result: Result) -> None:
    markdown = reporting.render_markdown(replace(result, metrics=result.metrics | {"area_error": {}}))

    assert "area error" not in markdown


def test_the_weakest_part_is_named(result: Result, pictures: list[Picture]) -> None:
    """Folds are no property of an image, and what doesn't divide the images is no part."""
    one = {"images": 20, "dice": 0.1, "low": 0.1, "high": 0.1, "iou": 0.1}
    parts = {f"by_{name}": {"x": one} for name in ("diagnosis", "frame", "corners")} | {"fold": {"0": one, "1": one}}
    area = {"small": one | {"dice": 0.5, "low": 0.25, "high": 0.75}, "large": one | {"dice": 0.75}}
    weak = replace(result, metrics=result.metrics | parts | {"by_area": area})

    for text in (page(weak, pictures), reporting.render_markdown(weak)):
        named = re.findall(
            r"Lowest by mean Dice: smallest third, .*? \(area in the mask\), 0.500, .*? 0.250 to 0.750", text
        )
        assert len(named) == 2  # beside the parts, and in the model card


def test_it_says_whether_the_model_would_have_known(result: Result, pictures: list[Picture]) -> None:
    """Confidence here follows Dice: the 4 that are set aside of 20 are the 4 worst, of which 6 are shown."""
    html, markdown = page(result, pictures), reporting.render_markdown(result)
    kept = result.metrics["kept"]["dice_at_80"]
    for text in (html, markdown):
        assert "(Spearman): 1.000. 4 of the 6 worst images are among the 4 of 20" in text
    assert f"| 80 % of them | {kept:.3f} | {kept:.3f} |" in markdown


def test_a_confidence_that_is_the_same_everywhere_correlates_with_nothing(result: Result) -> None:
    same = replace(result, per_image=result.per_image.assign(confidence=0.5))

    assert "(Spearman): n/a." in reporting.render_markdown(same)


def test_a_picture_has_its_confidence_and_rank(result: Result, pictures: list[Picture]) -> None:
    assert f"confidence <b>{pictures[0].score['confidence']:.3f}</b><br>its rank 1 of 20" in page(result, pictures)


def test_the_table_of_all_images_has_each_once_and_leads_to_its_picture(
    result: Result, pictures: list[Picture]
) -> None:
    html = page(result, pictures)
    table = html[html.index('id="every-image"') :]
    table = table[: table.index("</table>")]

    assert table.count("<tr data-") == 20
    assert "<button" not in table  # a script puts them there: without one nothing is there to press
    for score in result.per_image.to_dict("records"):
        assert f">{score['image_id']}<" in table
        assert f"<td>{score['dice']:.3f}</td>" in table
    assert len(re.findall(r'<a href="#image-\d+">', table)) == len(pictures)
    ids = {attributes.get("id") for _, attributes in Elements(html).found}
    assert set(re.findall(r'href="#([^"]*)"', html)) <= ids


def test_published_results_stand_beside_ph2_only(
    result: Result, pictures: list[Picture], config_with: Callable[[dict[str, Any]], Config]
) -> None:
    lesson = {"images": 200, "dice": {"mean": 0.9, "low": 0.8, "high": 0.95}, "iou": {"mean": 0.7}}
    others = replace(result, others={"lesson-12-unet": lesson})

    for text in (page(others, pictures), reporting.render_markdown(others)):
        assert "DermoMamba" not in text
        assert "lesson-12-unet" not in text
    real = ph2(others, config_with)
    for text in (page(real, pictures), reporting.render_markdown(real)):
        assert "Protocols differ" in text
        assert "this pipeline, 200 images, settings in reports/results/lesson-12-unet" in text
        assert all(each.source in text and each.protocol in text for each in published.PH2)
    assert "| lesson-12-unet | 0.900 | 0.800 to 0.950 | 0.700 |" in reporting.render_markdown(real)
    assert "| DermoMamba | 0.9556 |  | 0.9157 |" in reporting.render_markdown(real)
    assert "others" in reporting.plots(real)
    assert "others" not in reporting.plots(result)


def test_data_are_those_of_the_overview(result: Result, pictures: list[Picture]) -> None:
    changed = result.overview | {"near_duplicates": 3}
    changed["all"] = changed["all"] | {"touches_frame": 17, "dark_corners": 13}
    other = replace(result, overview=changed)

    assert "3 pairs of images" in page(other, pictures)
    assert re.search(
        r"^\| together \| 20 \| 96 \| 64 \| .* \| 17 \| 13 \|$", reporting.render_markdown(other), re.MULTILINE
    )


def test_the_model_card_follows_from_the_result(result: Result, pictures: list[Picture]) -> None:
    for text in (page(result, pictures), reporting.render_markdown(result)):
        card = text[text.rindex("Model card") :]
        assert "unet-plain" in card
        assert "0 to 8, 1 to 8, all to 20" in card
        assert "It is not a medical device" in card
        assert "says nothing of patients" in card
        assert f"{result.metrics['dice']['mean']:.3f}" in card


def test_phantoms_are_named_at_the_top_and_beside_every_headline(result: Result, pictures: list[Picture]) -> None:
    html, markdown = page(result, pictures), reporting.render_markdown(result)

    body = html[html.index("<body>") :]
    assert body.index(PHANTOMS) < body.index("<h1>")
    assert all(
        f'<span class="badge">{PHANTOMS}</span>' in part for part in re.findall(r'<h2 id="headline.*?</h2>', html)
    )
    assert markdown.index(PHANTOMS) < markdown.index("| Dice")
    for score in ("Dice", "IoU"):
        assert f"| {score} ({PHANTOMS}) |" in markdown
    assert "Mendonça" not in html + markdown


def test_ph2_is_cited_and_nothing_is_called_a_phantom(
    result: Result, pictures: list[Picture], config_with: Callable[[dict[str, Any]], Config]
) -> None:
    real = ph2(result, config_with)
    for text in (page(real, pictures), reporting.render_markdown(real)):
        assert PHANTOMS not in text
        assert "Mendonça" in text


def test_it_is_not_a_medical_device(result: Result, pictures: list[Picture]) -> None:
    for text in (page(result, pictures), reporting.render_markdown(result)):
        assert "Not a medical device" in text


def test_every_parameter_is_shown(result: Result, pictures: list[Picture]) -> None:
    html, markdown = page(result, pictures), reporting.render_markdown(result)
    shown = reporting.parameters(result.config)

    assert shown["train.augment.rotation"] == "30"
    assert shown["cv.models"] == "[0, 1, all]"
    assert shown["evaluate.flips"] == "true"
    assert shown["model.encoder"] == "none"
    assert {name.split(".")[0] for name in shown} == set(result.config.model_dump())
    for name, value in shown.items():
        assert f"<dt>{name}</dt><dd>{value}</dd>" in html
        assert f"| `{name}` | `{value}` |" in markdown


def test_its_origin_is_shown(result: Result, pictures: list[Picture]) -> None:
    digest = provenance.images(result.lesions, result.lesions.image_id.tolist())["digest"]
    for text in (page(result, pictures).replace("&#39;", "'"), reporting.render_markdown(result)):
        assert "tags.fingerprint = 'fingerprint-of-result'" in text
        assert digest in text
        for model in result.models:
            assert model["fingerprint"] in text
            assert model["sha256"] in text


def test_where_models_differ_both_values_are_shown(result: Result) -> None:
    models = [described("0"), described("1", threads=4), described("all")]
    text = reporting.render_markdown(replace(result, models=models))

    assert "| `threads` | `1 / 4` |" in text
    assert "| `device` | `cpu` |" in text


def test_a_part_of_the_folds_is_called_a_part(result: Result) -> None:
    assert "20 images, each tested once" in reporting.render_markdown(result)

    half = result.per_image[result.per_image.fold == 1]
    figures = summary.cross_validated(half, PIXELS, half, result.config.evaluate)
    part = replace(result, per_image=half, metrics=figures)
    assert "10 of 20 images, each tested once" in reporting.render_markdown(part)
    assert "1 of 2 folds" in reporting.render_markdown(part)


def test_empty_masks_are_counted(result: Result, pictures: list[Picture]) -> None:
    empty = replace(result, metrics=result.metrics | {"empty_masks": 3})
    picture = replace(pictures[0], score=pictures[0].score | {"tp": 0, "fn": 0, "fp": 2})

    for text in (page(empty, [picture]), reporting.render_markdown(empty)):
        assert "3 masks are empty: their Dice and IoU are 1 if nothing was predicted, else 0." in text
    assert "nothing of the area missed, a false area of 2 pixels." in page(empty, [picture])
    assert "masks are empty" not in page(result, pictures) + reporting.render_markdown(result)


def test_several_classes_have_a_table(result: Result, pictures: list[Picture]) -> None:
    one = {"images": 9, "dice": 1.0, "low": 1.0, "high": 1.0, "iou": 1.0}
    classes = {"by_class": {"head": {"images": 9, "dice": 0.5, "low": 0.25, "high": 0.75, "iou": 0.125}, "body": one}}
    several = replace(result, metrics=result.metrics | classes)

    row = '<tr><th scope="row">head</th><td>9</td><td>0.500</td><td>0.250 to 0.750</td><td>0.125</td></tr>'
    assert row in page(several, pictures)
    assert "| body | 9 | 1.000 | 1.000 to 1.000 | 1.000 |" in reporting.render_markdown(several)
    assert "By class" not in reporting.render_markdown(result)


def test_an_external_test_says_by_whom_and_has_no_folds(result: Result, pictures: list[Picture]) -> None:
    figures_ = {key: value for key, value in result.metrics.items() if key not in ("folds", "fold", "val")}
    model = described("all") | {"dataset": "ph2"}
    external = replace(result, metrics=figures_, curves=None, models=[model])

    html = page(external, pictures)
    for text in (html, reporting.render_markdown(external)):
        assert "20 images, scored at their native size, by the model all, fitted to 20 images of PH2;" in text
        assert "Learning curves" not in text
        assert "validation Dice" not in text
        assert "split.folds" not in text
        assert "no image is left to test it" not in text


def test_the_page_loads_nothing(result: Result, pictures: list[Picture], folder: Path) -> None:
    reporting.write(result, pictures)
    html = paths.REPORT_HTML.read_text(encoding="utf-8")

    for tag, attributes in Elements(html).found:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        source = attributes.get("src")
        assert source is None or (tag == "img" and source.startswith("data:image/jpeg;base64,"))
    assert "default-src 'none'" in html
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_links_lead_to_sources_only(
    result: Result, pictures: list[Picture], config_with: Callable[[dict[str, Any]], Config]
) -> None:
    html = page(ph2(result, config_with), pictures)
    links = [attributes["href"] for _, attributes in Elements(html).found if "href" in attributes]

    assert [link for link in links if not str(link).startswith("#")] == [
        *(each.source for each in published.PH2),
        reporting.PH2["url"],
    ]


def test_the_page_is_whole(result: Result, pictures: list[Picture], folder: Path) -> None:
    """Every element is closed, every id is used once, every image has its text."""
    reporting.write(result, pictures)
    elements = Elements(paths.REPORT_HTML.read_text(encoding="utf-8"))

    assert elements.open == []
    ids = Counter(attributes["id"] for _, attributes in elements.found if "id" in attributes)
    assert not [name for name, number in ids.items() if number > 1]
    images = [attributes for tag, attributes in elements.found if tag == "img" and "src" in attributes]
    assert len(images) == 2 * len(pictures) == 36
    assert all(attributes["alt"] for attributes in images)


def test_names_are_text_not_markup(result: Result, pictures: list[Picture]) -> None:
    odd = replace(pictures[0], score=pictures[0].score | {"image_id": "<script>x</script>"})

    assert "<script>x" not in page(result, [odd, *pictures[1:]])


def test_a_lesion_says_what_was_missed_and_what_was_false(result: Result, pictures: list[Picture]) -> None:
    """40 px of lesion, of which 10 were missed, and 2 px too many."""
    picture = replace(pictures[0], score=pictures[0].score | {"image_id": "a", "tp": 30, "fn": 10, "fp": 2})

    assert "25% of the area missed, a false area of 5% of its size." in page(result, [picture])


def test_markdown_has_no_pictures(result: Result) -> None:
    text = reporting.render_markdown(result)

    assert "data:" not in text.replace("data.", "")
    assert "![" not in text
    assert "<img" not in text
    assert "\n\n\n" not in text


def test_markdown_tables_have_as_many_cells_in_each_row(result: Result) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", reporting.render_markdown(result), re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_same_result_gives_the_same_files(result: Result, pictures: list[Picture], folder: Path) -> None:
    """Also over those of another result, of which nothing stays."""

    def written() -> dict[str, bytes]:
        reporting.write(result, pictures)
        return {str(path): path.read_bytes() for path in Path("reports").rglob("*") if path.is_file()}

    first = written()
    (paths.FIGURES / "001_other.png").write_bytes(b"")

    assert written() == first
    assert set(first) == {
        "reports/report.html",
        "reports/report.md",
        *(f"reports/figures/{name}.png" for name in PLOTS if name != "others"),
        *(f"reports/figures/{picture.name}" for picture in pictures),
    }
    assert len(first["reports/report.html"]) < 6_000_000


def test_the_stage_reads_what_the_others_wrote(
    result: Result, tiny: Tiny, predictions: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "load_config", lambda: result.config)
    monkeypatch.setattr(paths, "RAW", tiny.root / paths.RAW)
    monkeypatch.setattr(paths, "PREDICTIONS", predictions)
    monkeypatch.setattr(provenance, "code", lambda stage: f"code of {stage}")
    paths.PREPARED.mkdir()
    for name in (paths.LESIONS.name, "near_duplicates.csv"):
        shutil.copy(tiny.root / paths.PREPARED / name, paths.PREPARED)
    for model in result.models:
        paths.model(model["item"]).mkdir(parents=True)
        (paths.model(model["item"]) / "model.json").write_text(json.dumps(model), encoding="utf-8")
    paths.METRICS.parent.mkdir()
    paths.METRICS.write_text(json.dumps(result.metrics), encoding="utf-8")
    result.per_image.to_csv(paths.PER_IMAGE, index=False)
    for path, rows in (
        (paths.CURVES, result.curves),
        (paths.RELIABILITY, result.reliability),
        (paths.THRESHOLDS, result.thresholds),
        (paths.RISK_COVERAGE, result.risk_coverage),
    ):
        rows.to_csv(path, index=False)

    report.main()

    fingerprint = provenance.of_result(result.config, result.models, result.metrics)
    assert fingerprint in paths.REPORT_HTML.read_text(encoding="utf-8")
    assert fingerprint in paths.REPORT_MD.read_text(encoding="utf-8")
    for path in (paths.METRICS, paths.PER_IMAGE, paths.CURVES, paths.LESIONS):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in paths.REPORT_MD.read_text(encoding="utf-8")
