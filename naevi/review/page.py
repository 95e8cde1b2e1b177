"""Write reports/review.html: one offline file that shows the images and masks, the most suspicious first."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from naevi.files import write_text
from naevi.images.files import resize_mask
from naevi.images.folders import stored_image, stored_mask
from naevi.rendering.overlays import to_data_uri
from naevi.rendering.pages import environment
from naevi.rendering.tables import Table
from naevi.review.outlines import class_color, outline_paths
from naevi.review.places import page_order, sample_places
from naevi.review.suspicion import RARE, count_reasons, not_compared, number_flagged

MAX_SIDE = 256  # px, of an image on the page


def write_review(
    path: Path,
    prepared: Path,
    image_table: pd.DataFrame,
    checks: pd.DataFrame,
    pairs: pd.DataFrame,
    decisions: pd.DataFrame,
    *,
    name: str,
    classes: list[str],
    synthetic_label: str,
) -> None:
    """Write the page for the images in data/prepared. Equal data gives equal bytes.

    `checks` is the result of `image_checks` for the same table and the same `pairs` of near-duplicates. `decisions` has
    a row for each decision about the data: decision, count, examples, parameter. `classes` are the names of the
    classes, background first. `synthetic_label` is empty if the images are real.
    """
    first, others = sample_places(page_order(checks, pairs))
    content = {
        "name": name,
        "synthetic_label": synthetic_label,
        "classes": [(class_color(index), text) for index, text in enumerate(classes) if index],
        "number": len(checks),
        "shown": sum(map(len, first + others)),
        "first": sum(map(len, first)),
        "others": sum(map(len, others)),
        "reasons": count_reasons(checks),
        "flagged": number_flagged(checks),
        "diagnoses": sorted(image_table.diagnosis.unique()),
        "not_compared": not_compared(checks),
        "too_common": _too_common(image_table),
        "decisions": _decision_table(decisions),
        "places": _places(first + others, checks, image_table, prepared),
    }
    write_text(path, environment(__package__).get_template("review.html.j2").render(content))


def _too_common(image_table: pd.DataFrame) -> str:
    """Return a sentence about lesions that touch the border, if they are too common to be a reason."""
    number = int(image_table.touches_frame.sum())
    if number <= RARE * len(image_table):
        return ""
    return f"{number} of {len(image_table)} lesions touch the border. That is common here, so it isn't a reason."


def _decision_table(decisions: pd.DataFrame) -> Table | None:
    if decisions.empty:
        return None
    rows = [
        [str(row[key]) for key in ("decision", "count", "examples", "parameter")]
        for row in decisions.to_dict("records")
    ]
    return Table(["decision", "number", "examples", "parameter"], rows)


def _places(
    places: list[list[int]], checks: pd.DataFrame, image_table: pd.DataFrame, prepared: Path
) -> list[dict[str, Any]]:
    ranks: dict[int, int] = {}
    for place in places:
        for row in place:
            ranks[row] = len(ranks) + 1
    rows = checks.assign(**image_table[["diagnosis", "height", "width", "lesion_fraction"]]).to_dict("records")
    return [{"images": [_image(rows[row], prepared, ranks[row]) for row in place]} for place in places]


def _image(row: dict[Any, Any], prepared: Path, rank: int) -> dict[str, Any]:
    """Return the values of an image that the page shows."""
    image_id = row["image_id"]
    image, mask = stored_image(prepared / "images", image_id), stored_mask(prepared / "masks", image_id)
    width, height = _shown_size(int(row["width"]), int(row["height"]))
    shown = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
    return {
        "id": image_id,
        "rank": rank,
        "diagnosis": row["diagnosis"],
        "reasons": [name for name in row["reasons"].split("; ") if name],
        "details": row["details"],
        "suspicion": f"{row['suspicion']:.2f}",
        "fit": "" if np.isnan(row["fit"]) else f"{row['fit']:.2f}",
        "area": f"{100 * row['lesion_fraction']:.1f}",
        "native": f"{row['width']} x {row['height']}",
        "width": width,
        "height": height,
        "image": to_data_uri(np.asarray(shown), lines=False),
        "paths": outline_paths(resize_mask(mask, (width, height)) if mask.any() else mask),
    }


def _shown_size(width: int, height: int) -> tuple[int, int]:
    """Return the width and height in px with the native proportions and MAX_SIDE as the longer side."""
    scale = MAX_SIDE / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))
