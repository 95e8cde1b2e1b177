"""The record of predictions in their folder, predictions.jsonl, by which a later run knows what is done.

The first line describes the model, the settings and the code. Each other line lists files of the folder with their
SHA-256. The line of an image also has the SHA-256 of its file and its rows of lesions.csv.
"""

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from naevi.config import PredictConfig
from naevi.digests import file_digest
from naevi.errors import UserError, describe_error
from naevi.inference.segmenter import Segmenter
from naevi.provenance import PACKAGES, digest

RECORD = "predictions.jsonl"
# What can change a byte of the predictions, as a message calls it if it differs.
RUN = {
    "weights": "another model",
    "classes": "other names of classes",
    "size": "another training size",
    "settings": "other settings",
    "reading": "another way to read images",
    "compute": "another device, precision or number of threads",
    "code": "another version of naevi",
    "packages": "other versions of packages",
}


class RecordedImage(NamedTuple):
    """An image in a record."""

    sha256: str  # of the image file
    place: int  # the byte at which its line begins


class Record(NamedTuple):
    """The content of a record, without the rows of lesions.csv."""

    run: dict[str, Any]  # the first line, empty if there is none
    images: dict[str, RecordedImage]  # by name
    files: dict[str, str]  # SHA-256 by path below the folder
    size: int  # bytes of its lines, without one at the end that a killed run didn't finish


def read_record(folder: Path) -> Record:
    """Return the record of a folder, an empty one if there is none. If an image has several lines, the last one counts.

    Raises UserError if it isn't a record.
    """
    run: dict[str, Any] = {}
    images: dict[str, RecordedImage] = {}
    files: dict[str, str] = {}
    size = 0
    file = folder / RECORD
    try:
        with file.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                entry = json.loads(line)
                if not size:
                    run = dict(entry["run"])
                else:
                    files |= {str(path): str(sha256) for path, sha256 in entry["files"].items()}
                    if "image" in entry:
                        images[str(entry["image"])] = RecordedImage(str(entry["sha256"]), size)
                size += len(line)
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{file} is damaged ({describe_error(error)[:100]}). Choose a new name for --out, or delete {folder}."
        ) from error
    return Record(run, images, files, size)


def describe_run(segmenter: Segmenter) -> dict[str, Any]:
    """Return everything except the images that determines the bytes of predictions. Its keys are those of RUN."""
    code = Path(__file__).parents[1]
    return {
        "weights": segmenter.weights,
        "classes": segmenter.names,
        "size": segmenter.size,
        "settings": segmenter.settings.model_dump(include=set(PredictConfig.model_fields)),
        "reading": segmenter.reading.model_dump(),
        "compute": asdict(segmenter.compute),
        "code": digest({file.relative_to(code).as_posix(): file_digest(file, "sha256") for file in code.rglob("*.py")}),
        "packages": {name: version(name) for name in [*PACKAGES, "scipy", "contourpy"]},
    }
