"""The subgroups of the images, such as diagnoses, and the scores of each."""

from typing import Any, NamedTuple

from naevi.evaluation.summary import scored_images, subgroups
from naevi.metrics import FAILURE_IOU
from naevi.rendering.plots import DotPlotRow, order_diagnoses
from naevi.rendering.tables import Table
from naevi.reporting.formatting import format_interval, format_number, format_percent
from naevi.reporting.result import ReportData

# What divides the images, by the names of evaluation.summary.subgroups, and the names of the subgroups if they have
# other ones than there.
SUBGROUP_LABELS: dict[str, tuple[str, dict[str, str]]] = {
    "dataset": ("Data set", {}),
    "diagnosis": ("Diagnosis", {}),
    "area": ("Mask area", {"small": "smallest third", "middle": "middle third", "large": "largest third"}),
    "frame": ("Frame", {"inside": "inside the frame", "touching": "touching the frame"}),
    "corners": ("Image corners", {"bright": "no dark corner", "dark": "dark corners"}),
    "fold": ("Fold", {}),
}
SUBGROUP_NOTE = (
    f"Failed means an IoU below {FAILURE_IOU}. Intervals are bootstraps over the images of the subgroup. With this "
    "many subgroups, one is low by chance. If intervals overlap, there may be no difference. A corner is dark if the "
    "round view of the dermatoscope doesn't cover it."
)


class Subgroup(NamedTuple):
    """Some of the images.

    Attributes:
        divided_by: the heading in SUBGROUP_LABELS.
        name: the name of the subgroup.
        details: more about it, to print after the name.
        scores: its entry in the scores.
        failed: the number of failed images.
    """

    divided_by: str
    name: str
    details: str
    scores: dict[str, Any]
    failed: int


def list_subgroups(result: ReportData) -> list[Subgroup]:
    """Return the subgroups in the order of SUBGROUP_LABELS. An external validation has no folds.

    Images without a score belong to no subgroup.
    """
    images = scored_images(result.per_image)
    labels = subgroups(images) | {"fold": images.fold.astype(str)}
    listed = []
    for key, (heading, names) in SUBGROUP_LABELS.items():
        scores = result.metrics.get("fold" if key == "fold" else f"by_{key}", {})
        order = names or (order_diagnoses(scores) if key == "diagnosis" else scores)
        for name in (name for name in order if name in scores):
            rows = images[labels[key] == name]
            low, high = (format_percent(end) for end in (rows.lesion_fraction.min(), rows.lesion_fraction.max()))
            details = f", {low} to {high} of the image" if key == "area" else ""
            failed = int((rows.iou < FAILURE_IOU).sum())
            listed.append(Subgroup(heading, names.get(name, name), details, scores[name], failed))
    return listed


def describe_weakest(result: ReportData) -> str:
    """Return a sentence about the subgroup with the lowest mean Dice.

    Folds don't count, because they are not a property of an image. Neither does a subgroup of all images.
    """
    listed = [subgroup for subgroup in list_subgroups(result) if subgroup.divided_by != SUBGROUP_LABELS["fold"][0]]
    headings = [subgroup.divided_by for subgroup in listed]
    compared = [subgroup for subgroup in listed if headings.count(subgroup.divided_by) > 1]
    if not compared:
        return "The images have no property that divides them into subgroups."
    weakest = min(compared, key=lambda subgroup: float(subgroup.scores["dice"]))
    return (
        f"Lowest mean Dice: {weakest.name}{weakest.details} ({weakest.divided_by.lower()}), "
        f"{format_number(weakest.scores['dice'])}, 95 % interval {format_interval(weakest.scores)}, "
        f"{weakest.scores['images']} images. The mean of all images is {format_number(result.metrics['dice']['mean'])}."
    )


def subgroup_tables(result: ReportData) -> dict[str, Table]:
    """Return a table for each property that divides the images, by its heading."""
    tables: dict[str, Table] = {}
    for subgroup in list_subgroups(result):
        head = ["subgroup", "images", "Dice", "95 % interval", "failed", "IoU"]
        table = tables.setdefault(subgroup.divided_by, Table(head, []))
        dice, iou = (format_number(subgroup.scores[name]) for name in ("dice", "iou"))
        number, interval = str(subgroup.scores["images"]), format_interval(subgroup.scores)
        table.rows.append([subgroup.name + subgroup.details, number, dice, interval, str(subgroup.failed), iou])
    return tables


def subgroup_dots(result: ReportData) -> list[DotPlotRow]:
    """Return a row of the dot plot for each subgroup, with headings."""
    rows: list[DotPlotRow] = []
    headings = set()
    for subgroup in list_subgroups(result):
        if subgroup.divided_by not in headings:
            headings.add(subgroup.divided_by)
            rows.append(DotPlotRow(subgroup.divided_by))
        name = f"{subgroup.name} ({subgroup.scores['images']})"
        rows.append(DotPlotRow(name, *(subgroup.scores[key] for key in ("dice", "low", "high"))))
    return rows
