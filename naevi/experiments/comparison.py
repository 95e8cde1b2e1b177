"""Compare two results image by image, as text, Markdown or an HTML page with images."""

from pathlib import Path
from typing import Any

import pandas as pd

from naevi.config import load_config
from naevi.errors import UserError, check_output
from naevi.experiments import statistics
from naevi.experiments.changed_images import changed_images, describe_missing, most_changed
from naevi.experiments.named_results import NamedResult, check_data_sets, load_result
from naevi.experiments.repository import run_command
from naevi.experiments.statistics import (
    ALPHA,
    COMPARED_SCORES,
    Comparison,
    bonferroni,
    compare_data_sets,
    compare_scores,
    count_comparisons,
    describe_unscored,
    format_p,
    pair_results,
)
from naevi.files import write_text
from naevi.rendering.tables import Table, escape_cell, markdown_table, text_table
from naevi.results.data_sets import are_versions
from naevi.workspace import Workspace

SUFFIXES = (".md", ".html")


def write_comparison(
    workspace: Workspace, name_a: str, name_b: str, out: Path | None = None, *, force: bool = False
) -> None:
    """Compare two results by name. Print the comparison, or write a .md file or a .html file with images.

    Raises UserError if the file exists and `force` isn't set, for another suffix, and for HTML that git would track.
    """
    if out is not None:
        _check_out(workspace, out, force=force)
    comparison = compare_results(workspace, load_result(workspace, name_a), load_result(workspace, name_b))
    if out is None:
        print(comparison_text(comparison), end="")
        return
    if out.suffix == ".md":
        page = comparison_markdown(comparison)
    else:
        page = comparison_html(comparison, changed_images(workspace, comparison))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, page)
    print(f"{_verdict(comparison)}\n{out}")


def compare_results(workspace: Workspace, a: NamedResult, b: NamedResult) -> Comparison:
    """Return the comparison of two results, with the bootstrap settings of params.yaml.

    Raises UserError if they are of different data sets or have no image in common.
    """
    check_data_sets(a, b)
    settings = load_config(workspace, "evaluate").evaluate
    pairs = pair_results(a, b)
    differences, by_dataset = compare_scores(pairs, settings), compare_data_sets(pairs, settings)
    return Comparison(a, b, pairs, differences, count_comparisons(workspace, a, b), settings.resamples, by_dataset)


def comparison_text(comparison: Comparison) -> str:
    """Return the comparison for a terminal."""
    content = _content(comparison)
    parts = [content["title"], content["verdict"], text_table(content["scores"])]
    parts += [f"{label}\n{text_table(table)}" for _, label, table in content["changed"]]
    return "\n\n".join([*parts, *content["notes"]]) + "\n"


def comparison_markdown(comparison: Comparison) -> str:
    """Return the comparison as Markdown for a pull request, without images."""
    from naevi.rendering.pages import environment  # not needed for text

    content = _content(comparison)
    values = {
        "title": escape_cell(content["title"]),
        "verdict": escape_cell(content["verdict"]),
        "scores": markdown_table(content["scores"]),
        "changed": [(escape_cell(label), markdown_table(table)) for _, label, table in content["changed"]],
        "notes": [escape_cell(note) for note in content["notes"]],
    }
    return environment(__package__).get_template("comparison.md.j2").render(values)


def comparison_html(comparison: Comparison, images: dict[str, list[dict[str, Any]]]) -> str:
    """Return the comparison as an HTML page without links to other files; `images` are those of changed_images."""
    from naevi.rendering.overlays import OUTCOMES
    from naevi.rendering.pages import environment

    page = environment(__package__).get_template("comparison.html.j2")
    colors = {name: color for name, (color, _) in OUTCOMES.items()}
    return page.render(_content(comparison), images=images, colors=colors, missing=describe_missing(comparison, images))


def _verdict(comparison: Comparison) -> str:
    dice = comparison.differences["dice"]
    return statistics.verdict(comparison.a.name, comparison.b.name, dice, comparison.n_comparisons)


def _content(comparison: Comparison) -> dict[str, Any]:
    """Return what all three formats show, numbers as text."""
    a, b = comparison.a.name, comparison.b.name
    labels = {"improved": f"Largest gains of {b}", "worsened": f"Largest losses of {b}"}
    changed = most_changed(comparison.pairs)
    return {
        "title": f"{b} compared with {a}",
        "verdict": _verdict(comparison),
        "scores": _score_table(comparison),
        "changed": [(key, labels[key], _changed_table(rows, a, b)) for key, rows in changed.items() if len(rows)],
        "notes": _record_notes(comparison) + _notes(comparison),
    }


def _score_table(comparison: Comparison) -> Table:
    p_factors = {"Wilcoxon p": 1}
    if comparison.n_comparisons > 1:
        p_factors["corrected p"] = comparison.n_comparisons
    names = [comparison.a.name, comparison.b.name]
    head = ["mean", *names, "difference", "95 % interval", *p_factors, "better", "worse", "equal"]
    groups = {"": comparison.differences} | {f", {name}": found for name, found in comparison.by_dataset.items()}
    compared = [
        (label + suffix, found[score]) for suffix, found in groups.items() for score, label in COMPARED_SCORES.items()
    ]
    rows = []
    for label, difference in compared:
        row = [label, f"{difference.a:.4f}", f"{difference.b:.4f}", f"{difference.mean:+.4f}"]
        row.append(f"{difference.low:+.4f} to {difference.high:+.4f}")
        row += [format_p(bonferroni(difference.p, factor)) for factor in p_factors.values()]
        rows.append([*row, str(difference.better), str(difference.worse), str(difference.equal)])
    return Table(head, rows)


def _changed_table(images: pd.DataFrame, a: str, b: str) -> Table:
    names = [column for column in ("image_id", "diagnosis") if column in images]
    rows = [
        [*(str(row[name]) for name in names), f"{row['dice_a']:.4f}", f"{row['dice_b']:.4f}", f"{row['change']:+.4f}"]
        for row in images.to_dict("records")
    ]
    return Table(["image", *names[1:], f"Dice, {a}", f"Dice, {b}", "change"], rows)


def _record_notes(comparison: Comparison) -> list[str]:
    """Return notes about the data sets and records of both results."""
    results = (comparison.a, comparison.b)
    notes = []
    if are_versions(*(result.data_set for result in results)):
        notes.append(
            f"The results are of two versions of the data set {results[0].data_set.label}. Images or masks were added, "
            "removed or changed between them."
        )
    notes += [
        f"{result.name} has no record, so its scores were checked only against each other."
        for result in results
        if not result.has_record
    ]
    return notes


def _notes(comparison: Comparison) -> list[str]:
    pairs, n_comparisons = comparison.pairs, comparison.n_comparisons
    a, b = comparison.a.name, comparison.b.name
    notes = []
    if pairs.only_a or pairs.only_b:
        notes.append(
            f"Only images that are in both results are compared: {len(pairs.images)}. "
            f"{a} has {pairs.only_a} more and {b} has {pairs.only_b} more."
        )
    if pairs.unscored:
        notes.append(describe_unscored(pairs))
    if n_comparisons > 1:
        notes.append(
            f"This repository has {n_comparisons + 1} different results: the default, the published results, the DVC "
            f"experiments and the two compared here. One result can be compared with {n_comparisons} others, so p is "
            f"multiplied by {n_comparisons} (Bonferroni). Removed results are not counted."
        )
    else:
        notes.append("This repository has no other results, so p is not corrected.")
    if comparison.by_dataset:
        numbers = ", ".join(f"{name} ({found['dice'].images})" for name, found in comparison.by_dataset.items())
        notes.append(f"Images of each data set: {numbers}. p isn't corrected for the number of data sets.")
    p = "the corrected p" if n_comparisons > 1 else "p"
    notes.append(
        f"The scores are compared image by image. A difference is significant if {p} is below {ALPHA}. The interval, "
        f"from {comparison.resamples:,} bootstrap samples of the images, shows how large the difference is. Both "
        "measure chance over images, not over training runs: another seed can change the difference."
    )
    return notes


def _check_out(workspace: Workspace, out: Path, *, force: bool) -> None:
    check_output(out, force=force, suffixes=SUFFIXES)
    if out.suffix == ".html" and out.resolve().is_relative_to(workspace.root.resolve()):
        try:
            run_command("git", "check-ignore", "--quiet", "--", str(out.resolve()), folder=workspace.root)
        except UserError:
            raise UserError(
                f"{out} would contain images, and git doesn't ignore it. Use a path that git ignores, such as "
                f".cache/{out.name}, or one outside the repository."
            ) from None
