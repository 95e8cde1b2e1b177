"""What the report shows of single images."""

from typing import Any

import pandas as pd

from naevi.evaluation.summary import scored_images, subgroups
from naevi.rendering.overlays import to_data_uri
from naevi.rendering.tables import Table
from naevi.reporting.formatting import format_number, format_percent
from naevi.reporting.selection import ExampleImage, select_worst

EXAMPLE_SCORES = ["dice", "iou", "sensitivity", "specificity", "confidence"]


def image_rows(per_image: pd.DataFrame, ranks: dict[Any, Any]) -> list[dict[str, Any]]:
    """Return a row for each image, the worst first and those without a score last.

    `ranks` has the rank of each image that is an example.
    """
    area = subgroups(scored_images(per_image))["area"]
    order = per_image.assign(third=area.reindex(per_image.index, fill_value="")).sort_values(["dice", "image_id"])
    return [
        {
            "id": str(row["image_id"]),
            "rank": ranks.get(row["image_id"]),
            "diagnosis": str(row["diagnosis"]),
            "fold": str(row["fold"]),
            **{name: format_number(row[name]) for name in ("dice", "iou", "confidence")},
            "exact_dice": f"{row['dice']:.6f}",  # so that the filter finds 0.6996 below 0.7; it never finds nan
            "hd95": format_number(row["hd95"], 1),
            "area": f"{100 * row['lesion_fraction']:.1f}",
            "third": row["third"],
            "touches_frame": "yes" if row["touches_frame"] else "no",
            "dark_corners": str(row["dark_corners"]),
        }
        for row in order.to_dict("records")
    ]


def worst_table(per_image: pd.DataFrame) -> Table:
    """Return the scores of the worst images."""
    rows = []
    for score in select_worst(per_image).to_dict("records"):
        names = [str(score[name]) for name in ("image_id", "diagnosis", "fold")]
        rows.append([*names, *(format_number(score[name]) for name in EXAMPLE_SCORES), str(score["confidence_rank"])])
    head = ["image", "diagnosis", "fold", "Dice", "IoU", "sensitivity", "specificity", "confidence", "confidence rank"]
    return Table(head, rows)


def describe_worst(per_image: pd.DataFrame) -> str:
    """Return how many of the worst predictions are too large, and how many too small."""
    worst = select_worst(per_image)
    larger, smaller = int((worst.fp > worst.fn).sum()), int((worst.fp < worst.fn).sum())
    return (
        f"Of the {len(worst)} worst images, {larger} have more false than missed area and {smaller} more missed than "
        "false area."
    )


def example_content(example: ExampleImage) -> dict[str, Any]:
    """Return an example as the page shows it: images as data URIs, scores as text."""
    score = example.score
    mask_pixels = score["tp"] + score["fn"]
    return {
        "id": score["image_id"],
        "diagnosis": score["diagnosis"],
        "fold": score["fold"],
        "rank": score["rank"],
        "confidence_rank": score["confidence_rank"],
        **{name: format_number(score[name]) for name in EXAMPLE_SCORES},
        "missed": format_percent(score["fn"] / mask_pixels) if mask_pixels else "nothing",
        "false": f"{format_percent(score['fp'] / mask_pixels)} of its size" if mask_pixels else f"{score['fp']} pixels",
        "height": example.overlay.shape[0],
        "width": example.overlay.shape[1],
        "overlay": to_data_uri(example.overlay, lines=True),
        "image": to_data_uri(example.image, lines=False),
    }
