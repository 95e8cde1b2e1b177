"""Page and Markdown show what metrics.json, data.json and the models contain."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from naevi.config import Config, flatten
from naevi.evaluation.summary import ALL_SCORES, average_classes, summarize_cross_validation
from naevi.provenance import data_digest
from naevi.reporting.formatting import format_parameters
from naevi.reporting.literature import PH2_RESULTS
from naevi.reporting.other_results import comparison_dots, comparison_rows
from naevi.reporting.report import draw_plots, render_markdown
from naevi.reporting.result import ReportData
from naevi.reporting.scores import SCORE_LABELS
from naevi.reporting.selection import ExampleImage, select_examples
from naevi.results.data_sets import DataSet
from naevi.results.folders import PublishedResult
from tests.reporting.report_data import PIXELS, as_ph2, model_json, page

SYNTHETIC = "phantoms, not patients"


def test_headlines_are_those_of_metrics_json(result: ReportData, examples: list[ExampleImage]) -> None:
    html, markdown = page(result, examples), render_markdown(result)
    for score in ("dice", "iou"):
        mean, low, high, median, p05 = (
            f"{result.metrics[score][key]:.3f}" for key in ("mean", "low", "high", "median", "p05")
        )
        assert f"<strong>{mean}</strong> 95&nbsp;% interval {low} to {high}<" in html
        assert f"<dd>{median}</dd>" in html
        assert f"<dd>{p05}</dd>" in html
        assert f"| **{mean}** | {low} to {high} | {median} | {p05} |" in markdown


def test_every_number_of_the_headline_is_in_metrics_json(result: ReportData, examples: list[ExampleImage]) -> None:
    """Five numbers each for Dice and IoU, two means in the sentence below. Nothing else has three decimals."""
    html = page(result, examples)
    headline = re.sub(r"<svg.*?</svg>", "", html[html.index('class="headline"') : html.index("Not a medical device")])
    shown = re.findall(r"\b\d\.\d{3}\b", headline)

    known = {f"{value:.3f}" for value in flatten(result.metrics).values()}
    assert len(shown) == 12
    assert set(shown) <= known


def test_tables_contain_every_subgroup_and_fold(result: ReportData, examples: list[ExampleImage]) -> None:
    html, markdown = page(result, examples), render_markdown(result)
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


def test_every_score_has_its_distribution_and_pooled_scores_are_called_micro(result: ReportData) -> None:
    markdown = render_markdown(result)

    assert set(SCORE_LABELS) == set(ALL_SCORES)
    for name, (label, digits) in SCORE_LABELS.items():
        assert f"| {label} | {result.metrics[name]['mean']:.{digits}f} |" in markdown
    assert f"| Dice, micro (all pixels pooled) | {result.metrics['micro']['dice']:.3f} |" in markdown


def test_a_score_that_no_image_has_is_left_out(result: ReportData) -> None:
    markdown = render_markdown(replace(result, metrics=result.metrics | {"area_error": {}}))

    assert "area error" not in markdown


def test_the_weakest_subgroup_is_named(result: ReportData, examples: list[ExampleImage]) -> None:
    """Folds are not a property of an image, and a property that all images share has no subgroups."""
    one = {"images": 20, "dice": 0.1, "low": 0.1, "high": 0.1, "iou": 0.1}
    parts = {f"by_{name}": {"x": one} for name in ("diagnosis", "frame", "corners")} | {"fold": {"0": one, "1": one}}
    area = {"small": one | {"dice": 0.5, "low": 0.25, "high": 0.75}, "large": one | {"dice": 0.75}}
    weak = replace(result, metrics=result.metrics | parts | {"by_area": area})

    for text in (page(weak, examples), render_markdown(weak)):
        named = re.findall(r"Lowest mean Dice: smallest third, .*? \(mask area\), 0.500, .*? 0.250 to 0.750", text)
        assert len(named) == 2  # in the section and in the model card


def test_failure_detection_counts_the_worst_among_the_least_confident(
    result: ReportData, examples: list[ExampleImage]
) -> None:
    """Confidence follows Dice here: the 4 least confident of 20 images are the 4 worst; 6 are shown as worst."""
    html, markdown = page(result, examples), render_markdown(result)
    kept = result.metrics["kept"]["dice_at_80"]
    for text in (html, markdown):
        assert "(Spearman): 1.000. 4 of the 6 worst images are among the 4 least confident of 20." in text
    assert f"| most confident 80 % | {kept:.3f} | {kept:.3f} |" in markdown


def test_the_upper_bound_ranks_images_by_their_dice(result: ReportData) -> None:
    (axes,) = draw_plots(result)["risk_coverage"].axes
    upper_bound = next(line for line in axes.lines if line.get_label() == "upper bound")

    best_first = sorted(result.per_image.dice, reverse=True)
    means = [sum(best_first[:number]) / number for number in range(1, 21)]
    assert upper_bound.get_ydata().tolist() == pytest.approx(means)
    assert upper_bound.get_xdata().tolist() == pytest.approx([5 * number for number in range(1, 21)])


def test_a_constant_confidence_has_no_correlation(result: ReportData) -> None:
    same = replace(result, per_image=result.per_image.assign(confidence=0.5))

    assert "(Spearman): n/a." in render_markdown(same)


def published(name: str, metrics: dict[str, Any], data_set: DataSet, *, has_record: bool = True) -> PublishedResult:
    return PublishedResult(name, f"reports/results/{name}", metrics, b"", data_set, has_record)


def test_results_of_other_data_sets_come_last_and_are_not_plotted(
    result: ReportData, config_with: Callable[[dict[str, Any]], Config]
) -> None:
    scores = {"images": 9, "dice": {"mean": 0.99, "low": 0.98, "high": 1.0}, "iou": {"mean": 0.98}}
    real = replace(as_ph2(result, config_with), statistics=result.statistics | {"digest": "a" * 64})
    data_sets = {
        "moles": DataSet("folder", "moles", "b" * 64),
        "larger": DataSet("ph2", "ph2", "c" * 64),
        "same": DataSet("ph2", "ph2", "a" * 64),
    }
    others = replace(real, recorded=[published(name, scores, data_set) for name, data_set in data_sets.items()])

    rows = {row["name"]: row["protocol"] for row in comparison_rows(others)}

    assert list(rows)[:2] == ["this result", "same"]
    assert list(rows)[-2:] == ["larger", "moles"]
    assert rows["same"] == "this pipeline, 9 images, settings in reports/results/same"
    assert rows["moles"] == (
        "not comparable: data set moles; this pipeline, 9 images, settings in reports/results/moles"
    )
    assert rows["larger"].startswith("not comparable: another version of the data set ph2; this pipeline, 9 images,")
    names = [row.name for row in comparison_dots(others)]
    assert names[:3] == ["this pipeline", "this result", "same"]
    assert not {"moles", "larger"} & set(names)


def test_rare_diagnoses_are_named(result: ReportData) -> None:
    images = result.image_table.copy()
    folds = result.config.split.folds
    images["diagnosis"] = ["common"] * (len(images) - 1) + ["Nevus, NOS"]
    images["group"] = images.image_id
    assert len(images) > folds
    text = f"Diagnoses too rare for {folds} folds count as one when folds get the same mix: 'Nevus, NOS' (1)."

    assert text in render_markdown(replace(result, image_table=images))
    assert text not in render_markdown(replace(result, image_table=images.assign(fold=0)))
    assert text not in render_markdown(replace(result, image_table=images.assign(diagnosis="common")))


def test_published_results_are_shown_for_ph2_only(
    result: ReportData, examples: list[ExampleImage], config_with: Callable[[dict[str, Any]], Config]
) -> None:
    lesson = {"images": 200, "dice": {"mean": 0.9, "low": 0.8, "high": 0.95}, "iou": {"mean": 0.7}}
    recorded = published("lesson-12-unet", lesson, DataSet("ph2"), has_record=False)
    others = replace(result, recorded=[recorded])

    for text in (page(others, examples), render_markdown(others)):
        assert "DermoMamba" not in text
        assert "lesson-12-unet" not in text
    real = as_ph2(others, config_with)
    for text in (page(real, examples), render_markdown(real)):
        assert "Protocols differ" in text
        assert "this pipeline, 200 images, settings in reports/results/lesson-12-unet, without a record" in text
        assert all(other.source in text and other.protocol in text for other in PH2_RESULTS)
    assert "| lesson-12-unet | 0.900 | 0.800 to 0.950 | 0.700 |" in render_markdown(real)
    assert "| DermoMamba | 0.9556 |  | 0.9157 |" in render_markdown(real)
    assert all(f"| {other.source} |" in render_markdown(real) for other in PH2_RESULTS), "addresses that work"
    assert "others" in draw_plots(real)
    assert "others" not in draw_plots(result)


def test_data_are_those_of_data_json(result: ReportData, examples: list[ExampleImage]) -> None:
    changed = result.statistics | {"near_duplicates": 3, "near_duplicate_correlation": 0.875}
    changed["all"] = changed["all"] | {"touches_frame": 17, "dark_corners": 13}
    other = replace(result, statistics=changed)

    assert "3 pairs of images that look alike (correlation of 0.875 or more)." in page(other, examples)
    assert re.search(r"^\| all \| 20 \| 96 \| 64 \| .* \| 17 \| 13 \|$", render_markdown(other), re.MULTILINE)


def test_how_files_were_read_and_every_warning_is_in_both_reports(
    result: ReportData, examples: list[ExampleImage]
) -> None:
    decision = {"decision": "Masks <turned>", "count": 2, "examples": "a, b", "parameter": "data.reading.orientation"}
    warnings = ["64 of 200 alike", "![a](http://x)"]
    changed = replace(result, statistics=result.statistics | {"decisions": [decision], "warnings": warnings})
    html, markdown = page(changed, examples), render_markdown(changed)

    assert "No decision was needed to read and prepare the data." in page(result, examples)
    assert '<th scope="row">Masks &lt;turned&gt;</th><td>2</td><td>a, b</td><td>data.reading.orientation</td>' in html
    assert re.search(r"^\| Masks .*turned.* \| 2 \| a, b \| data.reading.orientation \|$", markdown, re.MULTILINE)
    assert "![a](http" not in markdown
    for text in (html, markdown):
        assert "64 of 200 alike" in text
        assert result.statistics["digest"] in text


@pytest.mark.parametrize(("path", "warned"), [("/clinic/images", True), ("../images", True), ("data/mine", False)])
def test_images_outside_of_the_repository_are_named_in_the_report(
    result: ReportData, config_with: Callable[[dict[str, Any]], Config], path: str, warned: bool
) -> None:
    own = replace(result, config=config_with({"data.source": "folder", "data.path": path}))

    assert ("outside the repository (data.path)" in render_markdown(own)) == warned


def test_the_model_card_is_derived_from_the_result(result: ReportData, examples: list[ExampleImage]) -> None:
    for text in (page(result, examples), render_markdown(result)):
        card = text[text.rindex("Model card") :]
        assert "The network is unet with the encoder resnet18 (weights: imagenet)." in card
        assert "8 (fold 0), 8 (fold 1), 20 (all)." in card
        assert "It is not a medical device" in card
        assert "say nothing about patients" in card
        assert f"{result.metrics['dice']['mean']:.3f}" in card


def test_synthetic_images_are_labeled_at_the_top_and_beside_every_headline(
    result: ReportData, examples: list[ExampleImage]
) -> None:
    html, markdown = page(result, examples), render_markdown(result)

    body = html[html.index("<body>") :]
    assert body.index(SYNTHETIC) < body.index("<h1>")
    assert all(
        f'<span class="badge">{SYNTHETIC}</span>' in part for part in re.findall(r'<h2 id="headline.*?</h2>', html)
    )
    assert markdown.index(SYNTHETIC) < markdown.index("| Dice")
    for score in ("Dice", "IoU"):
        assert f"| {score} ({SYNTHETIC}) |" in markdown
    assert "Mendonça" not in html + markdown


def test_ph2_is_cited_and_not_labeled_as_synthetic(
    result: ReportData, examples: list[ExampleImage], config_with: Callable[[dict[str, Any]], Config]
) -> None:
    real = as_ph2(result, config_with)
    for text in (page(real, examples), render_markdown(real)):
        assert SYNTHETIC not in text
        assert "Mendonça" in text


def test_it_is_not_a_medical_device(result: ReportData, examples: list[ExampleImage]) -> None:
    for text in (page(result, examples), render_markdown(result)):
        text = text.replace("<strong>", "**").replace("</strong>", "**").replace("&#39;", "'")
        assert "**Not a medical device.** Don't use it for diagnosis or treatment." in text


def test_every_parameter_is_shown(result: ReportData, examples: list[ExampleImage]) -> None:
    html, markdown = page(result, examples), render_markdown(result)
    shown = format_parameters(result.config.model_copy(update={"model": result.network}))

    assert shown["train.augment.rotation"] == "30"
    assert shown["cv.models"] == "[0, 1, all]"
    assert shown["evaluate.flips"] == "true"
    assert shown["model.encoder"] == "resnet18"
    assert {name.split(".")[0] for name in shown} == set(result.config.model_dump())
    for name, value in shown.items():
        assert f"<dt>{name}</dt><dd>{value}</dd>" in html
        assert f"| `{name}` | `{value}` |" in markdown


def test_fingerprints_and_hashes_are_shown(result: ReportData, examples: list[ExampleImage]) -> None:
    digest = data_digest(result.image_table, result.image_table.image_id.tolist())["digest"]
    for text in (page(result, examples).replace("&#39;", "'"), render_markdown(result)):
        assert "tags.fingerprint = 'fingerprint-of-result'" in text
        assert digest in text
        for model in result.models:
            assert model["fingerprint"] in text
            assert model["sha256"] in text


def test_if_models_differ_both_values_are_shown(result: ReportData) -> None:
    models = [model_json("0"), model_json("1", threads=4), model_json("all")]
    text = render_markdown(replace(result, models=models))

    assert "| `threads` | `1 / 4` |" in text
    assert "| `device` | `cpu` |" in text


def test_an_incomplete_cross_validation_says_so(result: ReportData) -> None:
    assert "20 images, each tested once" in render_markdown(result)

    half = result.per_image[result.per_image.fold == 1]
    metrics = summarize_cross_validation(half, PIXELS, half, result.config.evaluate)
    part = replace(result, per_image=half, metrics=metrics)
    assert "10 of 20 images, each tested once" in render_markdown(part)
    assert "1 of 2 folds" in render_markdown(part)


def test_empty_masks_are_counted(result: ReportData, examples: list[ExampleImage]) -> None:
    empty = replace(result, metrics=result.metrics | {"empty_masks": 3})
    example = replace(examples[0], score=examples[0].score | {"tp": 0, "fn": 0, "fp": 2})

    for text in (page(empty, [example]), render_markdown(empty)):
        assert "3 masks are empty: their Dice and IoU are 1 if nothing was predicted, otherwise 0." in text
    assert "nothing of the area missed, a false area of 2 pixels." in page(empty, [example])
    assert "masks are empty" not in page(result, examples) + render_markdown(result)


def test_several_classes_have_a_table(result: ReportData, examples: list[ExampleImage]) -> None:
    one = {"images": 9, "dice": 1.0, "low": 1.0, "high": 1.0, "iou": 1.0}
    classes = {"by_class": {"head": {"images": 9, "dice": 0.5, "low": 0.25, "high": 0.75, "iou": 0.125}, "body": one}}
    several = replace(result, metrics=result.metrics | classes)

    row = '<tr><th scope="row">head</th><td>9</td><td>0.500</td><td>0.250 to 0.750</td><td>0.125</td></tr>'
    assert row in page(several, examples)
    assert "| body | 9 | 1.000 | 1.000 to 1.000 | 1.000 |" in render_markdown(several)
    assert "By class" not in render_markdown(result)


@pytest.fixture(scope="module")
def three_classes(result: ReportData) -> ReportData:
    """The result with a second foreground class, which only the images 0, 2, … 18 have. The image 19 has neither."""
    head, body = (result.per_image.assign(**{"class": name}) for name in ("head", "body"))
    absent = [name for name in ALL_SCORES if name != "confidence"]
    for table, rows in ((body, slice(1, None, 2)), (head, slice(19, None))):
        table.loc[table.index[rows], absent] = float("nan")
        table.loc[table.index[rows], ["tp", "fp", "fn"]] = 0
    body.loc[body.index[1::2], "confidence"] = float("nan")
    head.loc[19, "confidence"] = body.loc[19, "confidence"] = 0.0
    table = pd.concat([head, body]).sort_index(kind="stable")
    data = result.config.data.model_copy(update={"classes": {"skin": 0, "head": 1, "body": 2}})
    config = result.config.model_copy(update={"data": data})
    metrics = summarize_cross_validation(table, np.repeat(PIXELS, 2, axis=0), table.head(6), config.evaluate)
    return replace(result, config=config, per_image=average_classes(table), metrics=metrics)


def test_images_without_a_class_are_not_in_its_mean(three_classes: ReportData) -> None:
    html, markdown = page(three_classes, []), render_markdown(three_classes)

    assert re.search(r'<th scope="row">head</th><td>19</td><td>0\.\d{3}</td>', html)
    assert re.search(r'<th scope="row">body</th><td>10</td><td>0\.\d{3}</td>', html)
    for text in (html, markdown):
        assert "Classes that are neither in the mask nor in the prediction are left out." in text
        assert "A class that is predicted but not in the mask has a Dice and an IoU of 0." in text
        assert "1 masks are empty. 1 predictions are empty." in text
        assert "Images without a score, because mask and prediction are empty: 1 of 20." in text
        assert re.search(r"\d+ of 19 images have an IoU below 0\.65", text)
        assert re.search(r"\d of the 6 worst images are among the 4 least confident of 19\.", text)


def test_an_image_without_a_score_is_in_the_table_of_all_images_only(three_classes: ReportData) -> None:
    html, markdown = page(three_classes, []), render_markdown(three_classes)
    image_id = three_classes.per_image.image_id.iloc[19]

    assert f'data-dice="nan" data-area=""><th scope="row">{image_id}</th>' in html
    for text in (html[: html.index("<script>")].replace('data-dice="nan"', ""), markdown):
        assert not re.search(r"\bnan\b", text, re.IGNORECASE)
    assert image_id not in markdown
    assert image_id not in set(select_examples(three_classes.per_image).image_id)
    assert sum(scores["images"] for scores in three_classes.metrics["by_area"].values()) == 19
    assert draw_plots(three_classes)


def test_a_class_that_no_image_has_has_no_mean(result: ReportData) -> None:
    one = {"images": 20, "dice": 1.0, "low": 1.0, "high": 1.0, "iou": 1.0}
    classes = {"by_class": {"head": one, "body": {"images": 0}}}
    several = replace(result, metrics=result.metrics | classes | {"val": {}})

    markdown = render_markdown(several)

    assert "| body | 0 | n/a | n/a to n/a | n/a |" in markdown
    assert "| validation | n/a | n/a |" in markdown


def test_an_external_validation_names_its_model_and_has_no_folds(
    result: ReportData, examples: list[ExampleImage]
) -> None:
    metrics = {key: value for key, value in result.metrics.items() if key not in ("folds", "fold", "val")}
    model = model_json("all") | {"dataset": "ph2"}
    external = replace(result, metrics=metrics, curves=None, models=[model])

    html = page(external, examples)
    for text in (html, render_markdown(external)):
        assert "20 images, scored at their native size by the model all, which was trained on 20 images (PH2)." in text
        assert "It is unknown whether any of the tested images was used for training." in text
        assert "Learning curves" not in text
        assert "validation Dice" not in text
        assert "split.folds" not in text
        assert "no image is left to test it" not in text
    several = render_markdown(replace(external, models=[model | {"dataset": "HAM and PH2"}]))
    assert "which was trained on 20 images (HAM and PH2)." in several


def test_markdown_has_no_images(result: ReportData) -> None:
    text = render_markdown(result)

    assert "data:" not in text.replace("data.", "")
    assert "![" not in text
    assert "<img" not in text
    assert "\n\n\n" not in text


def test_markdown_tables_have_as_many_cells_in_each_row(result: ReportData) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", render_markdown(result), re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1
