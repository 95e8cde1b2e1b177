"""Predict images and score them at their own size."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor

from naevi.dataset import load_images
from naevi.evaluation.calibration import Counts, brier_score, count_by_probability, dice_confidence
from naevi.evaluation.summary import ALL_SCORES
from naevi.evaluation.surface_distance import SURFACE_SCORES, surface_distances
from naevi.images.files import VOID, write_mask
from naevi.images.folders import stored_mask
from naevi.inference.postprocessing import resize_probabilities, to_mask
from naevi.inference.segmenter import Segmenter, with_one_thread
from naevi.metrics import confusion_counts, overlap_scores
from naevi.parallel.workers import parallel_map
from naevi.progress import progress
from naevi.workspace import Workspace

IMAGE_COLUMNS = ["image_id", "dataset", "diagnosis", "lesion_fraction", "touches_frame", "dark_corners"]
PER_IMAGE_COLUMNS = [*IMAGE_COLUMNS, "fold", "class", *ALL_SCORES, "tp", "fp", "fn", "tn"]
CHUNK_SIZE = 16  # images that a worker scores at a time


class Part(NamedTuple):
    """Images to score with one model."""

    segmenter: Segmenter
    ids: list[str]
    keep: Path | None  # the folder for predictions, if they are wanted


class ImageScores(NamedTuple):
    """The scores of images.

    rows: one row for each image and foreground class. pixels: the pixels of all images by probability, for each
    foreground class, int64 (K - 1, 2, N_BINS), see `calibration.count_by_probability`.
    """

    rows: pd.DataFrame
    pixels: Counts


def score_images(workspace: Workspace, parts: Sequence[Part]) -> list[ImageScores]:
    """Return the scores of prepared images at native size, for each part. Workers score them at the same time.

    With `keep`, predictions are written to that folder and surface distances are computed. Columns of rows: image_id,
    class, those of `confusion_counts` and `overlap_scores`, brier, confidence and, with `keep`, SURFACE_SCORES.

    VOID pixels of masks are in no score. For surface distances, nothing is predicted there.

    With more than two classes, a class that is neither in the mask nor in the prediction has no score, so all of them
    are NaN. Confidence is computed without the mask: it is NaN for a class that is not predicted. If no class is
    predicted it is 0, because the Dice of such an image is 0 unless its mask is empty too.
    """
    chunks = [
        (number, part._replace(segmenter=with_one_thread(part.segmenter), ids=part.ids[first : first + CHUNK_SIZE]))
        for number, part in enumerate(parts)
        for first in range(0, len(part.ids), CHUNK_SIZE)
    ]
    found: list[list[ImageScores]] = [[] for _ in parts]
    scored = parallel_map(partial(_score_chunk, workspace), [chunk for _, chunk in chunks])
    number_of_images = sum(len(part.ids) for part in parts)
    pairs = zip(chunks, scored, strict=True)
    for (number, _), scores in progress(
        pairs, total=number_of_images, label="evaluate", unit="images", size=lambda pair: len(pair[0][1].ids)
    ):
        found[number].append(scores)
    return [concatenate_scores(scores) for scores in found]


def _score_chunk(workspace: Workspace, part: Part) -> ImageScores:
    segmenter, ids, keep = part
    images = load_images(workspace.prepared, ids, classes=len(segmenter.names), device=segmenter.compute.device).images
    probabilities = segmenter.predict_prepared(images)
    return concatenate_scores(
        [
            _score_image(image_id, probability, segmenter, workspace, keep)
            for image_id, probability in zip(ids, probabilities, strict=True)
        ]
    )


def concatenate_scores(parts: list[ImageScores]) -> ImageScores:
    """Return the scores of all parts together."""
    return ImageScores(pd.concat([part.rows for part in parts]), np.sum([part.pixels for part in parts], axis=0))


def per_image_table(rows: pd.DataFrame, image_table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `score_images`, with `fold`, in the order of the image table and with its columns."""
    table = image_table[IMAGE_COLUMNS].merge(rows, on="image_id")
    return table[[column for column in PER_IMAGE_COLUMNS if column in table]]


def _score_image(
    image_id: str, probability: Tensor, segmenter: Segmenter, workspace: Workspace, keep: Path | None
) -> ImageScores:
    mask = stored_mask(workspace.raw / "masks", image_id)
    height, width = mask.shape
    native = resize_probabilities(probability, height=height, width=width)
    prediction = to_mask(native, segmenter.settings)
    if keep:
        write_mask(keep / f"{image_id}.png", prediction)
    names = segmenter.names
    counts = confusion_counts(mask[None], prediction[None], classes=len(names))
    more, pixels, known = [], [], mask != VOID
    # With two classes there is only the foreground's probability.
    for class_index, class_probability in enumerate(native.numpy()[-(len(names) - 1) :], start=1):
        area, predicted = mask == class_index, (prediction == class_index) & known
        pixels.append(count_by_probability(class_probability[known], area[known]))
        more.append(
            {
                "class": names[class_index],
                "brier": brier_score(class_probability[known], area[known]),
                "confidence": dice_confidence(class_probability, prediction == class_index),
            }
            | (surface_distances(area, predicted) if keep else {})
        )
    rows = counts.join(overlap_scores(counts, classes=len(names))).join(pd.DataFrame(more)).assign(image_id=image_id)
    return ImageScores(_without_absent_classes(rows) if len(names) > 2 else rows, np.stack(pixels))


def _without_absent_classes(rows: pd.DataFrame) -> pd.DataFrame:
    """Return an image's rows for several classes, with NaN for what an absent class doesn't have."""
    unpredicted = rows.tp + rows.fp == 0
    rows = rows.assign(confidence=rows.confidence.mask(unpredicted, 0 if unpredicted.all() else np.nan))
    without_score = [name for name in ("brier", *SURFACE_SCORES) if name in rows]
    rows.loc[rows.dice.isna(), without_score] = np.nan
    return rows
