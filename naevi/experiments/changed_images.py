"""The images that changed most from one result to another, with overlays of both predictions."""

from typing import Any

import pandas as pd

from naevi.experiments.named_results import NamedResult
from naevi.experiments.statistics import DECIMALS, Comparison, PairedImages, image_scores
from naevi.images.files import Pixels
from naevi.images.folders import is_stored, stored_image, stored_mask
from naevi.metrics import confusion_counts, overlap_scores
from naevi.workspace import Workspace

MAX_CHANGED = 6  # images in each direction
DICE_TOLERANCE = 1e-5  # per_image.csv has six digits


def most_changed(pairs: PairedImages) -> dict[str, pd.DataFrame]:
    """Return the rows of the images that improved and worsened most, up to MAX_CHANGED each, with a column `change`."""
    images = pairs.images.assign(change=(pairs.images.dice_b - pairs.images.dice_a).round(DECIMALS))
    improved = images[images.change > 0].sort_values(["change", "image_id"], ascending=[False, True])
    worsened = images[images.change < 0].sort_values(["change", "image_id"])
    return {"improved": improved.head(MAX_CHANGED), "worsened": worsened.head(MAX_CHANGED)}


def changed_images(workspace: Workspace, comparison: Comparison) -> dict[str, list[dict[str, Any]]]:
    """Return the overlays of A and B for the images that `improved` and `worsened` most, as data URIs."""
    return {
        direction: [_changed_image(workspace, comparison, row) for row in rows.to_dict("records")]
        for direction, rows in most_changed(comparison.pairs).items()
    }


def _changed_image(workspace: Workspace, comparison: Comparison, row: dict[Any, Any]) -> dict[str, Any]:
    image_id = str(row["image_id"])
    return {
        "id": image_id,
        "diagnosis": row.get("diagnosis", ""),
        "change": f"{row['change']:+.3f}",
        "results": [
            {"name": result.name, "dice": f"{row[column]:.3f}", **_overlay(workspace, image_id, result)}
            for column, result in (("dice_a", comparison.a), ("dice_b", comparison.b))
        ],
    }


def _overlay(workspace: Workspace, image_id: str, result: NamedResult) -> dict[str, Any]:
    """Return overlay, width and height; the overlay is None if image or prediction are missing or don't fit."""
    from naevi.rendering.overlays import draw_overlay, shrink_image, shrink_mask, to_data_uri

    missing: dict[str, Any] = {"overlay": None, "width": 0, "height": 0}
    images, masks = workspace.raw / "images", workspace.raw / "masks"
    if not (result.predictions and is_stored(images, image_id) and is_stored(masks, image_id)):
        return missing
    mask, prediction = stored_mask(masks, image_id), result.predictions(image_id)
    if prediction is None or not _has_its_score(image_id, result, mask, prediction):
        return missing
    pixels = draw_overlay(shrink_image(stored_image(images, image_id)), shrink_mask(mask), shrink_mask(prediction))
    return {"overlay": to_data_uri(pixels, lines=True), "width": pixels.shape[1], "height": pixels.shape[0]}


def _has_its_score(image_id: str, result: NamedResult, mask: Pixels, prediction: Pixels) -> bool:
    """Return whether the files give the Dice of the result's table. They may belong to another run."""
    if mask.shape != prediction.shape:
        return False
    rows = result.per_image[result.per_image.image_id == image_id]
    classes = len(rows) + 1
    scores = overlap_scores(confusion_counts(mask[None], prediction[None], classes=classes), classes=classes)
    return bool(abs(scores.dice.mean() - image_scores(rows).dice.mean()) < DICE_TOLERANCE)


def describe_missing(comparison: Comparison, images: dict[str, list[dict[str, Any]]]) -> str:
    """Return a message about the results whose overlays are missing, or an empty string if none are."""
    shown = [result for group in images.values() for image in group for result in image["results"]]
    without_overlay = {result["name"] for result in shown if result["overlay"] is None}
    names = dict.fromkeys(name for name in (comparison.a.name, comparison.b.name) if name in without_overlay)
    if not names:
        return ""
    return (
        f"Some images of {' and '.join(names)} are missing, because images or predictions are not on this machine. "
        "Run dvc pull or repeat the experiment to get them."
    )
