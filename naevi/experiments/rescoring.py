"""Score the champion on the images that were added to its data set after its training.

Only images that its model has not seen are predicted. Unchanged images keep their scores of the cross-validation, in
which each image was predicted by a model that had not seen it.
"""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pandas as pd

from naevi.digests import file_digest
from naevi.errors import UserError, first_ten
from naevi.experiments.named_results import NamedResult
from naevi.experiments.repository import cache_folder, cached_file, cached_listing
from naevi.files import read_csv, read_json
from naevi.images.files import pixel_sha256, read_image
from naevi.images.folders import SHARD_SUFFIX, stored_image, stored_mask, unpacked_md5
from naevi.inference.segmenter import Segmenter, load_segmenter
from naevi.metrics import confusion_counts, overlap_scores
from naevi.progress import progress
from naevi.record import read_record
from naevi.tracking.registry import Champion, download_model
from naevi.workspace import Workspace

IMAGES, MASKS = "images", "masks"  # folders of data/raw
COLUMNS = ["image_id", "fold", "class", "dice", "iou", "tp", "fp", "fn", "tn"]  # of per_image.csv


class Rescored(NamedTuple):
    """The champion's scores on another version of its data set, and how they were measured, as sentences."""

    per_image: pd.DataFrame
    description: str


class Versions(NamedTuple):
    """Image ids of the present version of a data set. `seen` are neither the same as before nor new."""

    same: list[str]  # image and mask have the same bytes in both versions
    new: list[str]
    seen: list[str]  # known by name, by content, or by an image of the same group


def rescore(workspace: Workspace, champion: Champion, per_image: pd.DataFrame, candidate: NamedResult) -> Rescored:
    """Return the champion's scores on the data set of the candidate, a later version of its own. It must be here.

    `per_image` has the champion's scores on its own version. Both have the same classes.

    Raises UserError if files of one of the versions are missing.
    """
    versions = compare_versions(*_listings(workspace, champion, candidate), read_csv(workspace.image_table))
    scored = [per_image[per_image.image_id.isin(versions.same)].filter(COLUMNS)]
    if not versions.same and not versions.new:
        raise UserError("every image has changed, and the champion has seen them all before.")
    if versions.new:
        model = load_segmenter(download_model(workspace, f"models:/{champion.model}/{champion.version}"), workspace)
        images = progress(versions.new, total=len(versions.new), label="champion", unit="images")
        scored += [_score(model, workspace.raw, image_id) for image_id in images]
    return Rescored(pd.concat(scored, ignore_index=True), _describe(versions))


def compare_versions(before: dict[str, str], after: dict[str, str], image_table: pd.DataFrame) -> Versions:
    """Return which images of the later version the model of the earlier one has not seen.

    `before` and `after` map each path in data/raw, such as images/a.png, to its MD5. `image_table` is that of the later
    version. Its groups hold images of one patient or lesion and near-duplicates. An image may have another suffix in
    one version.
    """
    before, after = (
        {str(PurePosixPath(path).with_suffix("")): md5 for path, md5 in files.items()} for files in (before, after)
    )
    known = {md5 for path, md5 in before.items() if path.startswith(f"{IMAGES}/")}
    groups = dict(zip(image_table.image_id, image_table.group, strict=True))

    def is_known(image_id: str) -> bool:
        path = f"{IMAGES}/{image_id}"
        return path in before or after[path] in known

    known_groups = {group for image_id, group in groups.items() if is_known(image_id)}
    versions = Versions([], [], [])
    for image_id, group in groups.items():
        paths = [f"{folder}/{image_id}" for folder in (IMAGES, MASKS)]
        if all(path in before and before[path] == after[path] for path in paths):
            versions.same.append(image_id)
        elif group in known_groups:
            versions.seen.append(image_id)
        else:
            versions.new.append(image_id)
    return versions


def _listings(
    workspace: Workspace, champion: Champion, candidate: NamedResult
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the MD5 of each file in data/raw, for the champion's version of the data set and for the candidate's."""
    if read_json(workspace.data_statistics).get("digest") != candidate.data_set.digest:
        raise UserError(
            f"the images of {candidate.name} are not in the workspace. Get them with `dvc exp apply {candidate.name}` "
            f"if it is an experiment, otherwise with `git checkout {candidate.name}` and `dvc checkout`."
        )
    cache, record = cache_folder(workspace), read_record(workspace)
    before = cached_listing(cache, champion.raw)
    after = cached_listing(cache, record.md5(workspace, workspace.raw))
    if before is None or after is None:
        raise UserError("DVC's cache doesn't have the list of its images. Get it with `dvc fetch --all-commits`.")
    changed = [path for path, md5 in after.items() if not _has_md5(workspace.raw / path, md5)]
    if changed:
        raise UserError(f"files in {workspace.relative(workspace.raw)} have changed: {first_ten(changed)}.")
    before = _unpack(before, lambda _, md5: cached_file(cache, md5))
    after = _unpack(after, lambda path, _: workspace.raw / path)
    return _with_present_md5(before, after, cache, workspace.raw), after


def _unpack(files: dict[str, str], locate: Callable[[str, str], Path]) -> dict[str, str]:
    """Return the MD5 of each file by path, with the content of shards instead of shards.

    `locate` returns the file that has a path and an MD5.
    """
    unpacked: dict[str, str] = {}
    for path, md5 in files.items():
        if path.endswith(SHARD_SUFFIX):
            folder = PurePosixPath(path).parent
            unpacked |= {f"{folder}/{name}": inner for name, inner in unpacked_md5(locate(path, md5)).items()}
        else:
            unpacked[path] = md5
    return unpacked


def _with_present_md5(before: dict[str, str], after: dict[str, str], cache: Path, raw: Path) -> dict[str, str]:
    """Return `before` with the MD5 of `after` for each image that has the same pixels in another format.

    Earlier versions of this package stored all images as PNG. An image is read only if the other version doesn't have
    its bytes, and an earlier one only if it is in DVC's cache.
    """
    old, new = (
        [path for path in files if path.startswith(f"{IMAGES}/") and files[path] not in others]
        for files, others in ((before, set(after.values())), (after, set(before.values())))
    )
    earlier = {path: cached_file(cache, before[path]) for path in old if cached_file(cache, before[path]).is_file()}
    if not earlier:
        return before
    present = {pixel_sha256(stored_image(raw / IMAGES, PurePosixPath(path).stem)): after[path] for path in new}
    found = {path: present.get(pixel_sha256(read_image(file))) for path, file in earlier.items()}
    return before | {path: md5 for path, md5 in found.items() if md5}


def _has_md5(path: Path, md5: str) -> bool:
    return path.is_file() and file_digest(path, "md5") == md5


def _score(model: Segmenter, raw: Path, image_id: str) -> pd.DataFrame:
    """Return the overlap scores of one image at native size, a row for each foreground class."""
    prediction = model.mask(model.probabilities([stored_image(raw / IMAGES, image_id)])[0])
    mask = stored_mask(raw / MASKS, image_id)
    counts = confusion_counts(mask[None], prediction[None], classes=len(model.names))
    row: dict[str, Any] = {"image_id": image_id, "fold": "all", "class": model.names[1:]}
    return counts.join(overlap_scores(counts, classes=len(model.names))).assign(**row)[COLUMNS]


def _describe(versions: Versions) -> str:
    sentences = [
        "The data set has changed since the champion was trained.",
        f"{len(versions.same)} images are the same.",
    ]
    if versions.new:
        sentences.append(f"{len(versions.new)} are new to the champion, and its model has predicted them now.")
    if versions.seen:
        sentences.append(
            f"{len(versions.seen)} are left out, because the champion has seen them with another mask, under another "
            f"name, or an image of their group: {first_ten(versions.seen)}."
        )
    return " ".join(sentences)
