"""Plant mistakes in a data set and count how many of them the review page shows first.

    python -m benchmarks.planted_mistakes data/raw
    python -m benchmarks.planted_mistakes data/raw --number 20 --seeds 3 --sample 2000

The folder has the layout of data/raw: images/, masks/<id>.png with class indices, labels.csv. It isn't changed.
Each kind of mistake is planted alone, then all together. With n planted mistakes, a mistake is found if it is in the
first 2 n places of the page. A place shows one image, or images that belong side by side: near-duplicates and swapped
masks.

swapped    two images have each other's mask, which counts as two mistakes
turned     the image is mirrored or turned by 180 degrees, as after the loss of an EXIF tag, and the mask isn't
copied     there is a copy of the image and the mask under another name
vanished   the mask is three by three pixels at the native size
shifted    the mask is shifted by 15 to 25 % of the lesion's diameter
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.random import Generator
from PIL import Image

from naevi.config import load_config
from naevi.files import read_csv, write_csv
from naevi.images.files import Pixels, resize_mask, write_image, write_mask
from naevi.images.folders import stored_image, stored_mask
from naevi.preprocessing.prepare import prepare
from naevi.review.places import page_order
from naevi.review.suspicion import image_checks
from naevi.workspace import Workspace, current_workspace

KINDS = ("swapped", "turned", "copied", "vanished", "shifted")
SHIFT = (0.15, 0.25)  # of the diameter of a disk with the lesion's area
VANISHED_SIDE = 3  # px


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--number", type=int, default=20, help="mistakes of each kind; even, because swaps are pairs")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sample", type=int, default=None, help="number of images; all by default")
    options = parser.parse_args()
    print(f"found in the first 2 n places with n planted mistakes, for {options.seeds} seed(s)\n")
    print("| planted | mistakes | found | places |\n|---|---|---|---|")
    for kinds in (*((kind,) for kind in KINDS), KINDS):
        founds = []
        for seed in range(options.seeds):
            with tempfile.TemporaryDirectory() as name:
                workspace = Workspace(Path(name))
                planted = plant(options.folder, workspace.raw, kinds, options.number, seed, options.sample)
                founds.append(found(workspace, planted))
        places = 2 * options.number * len(kinds)
        for kind in kinds:
            text = ", ".join(str(each[kind]) for each in founds)
            print(
                f"| {kind}{' (all together)' * (len(kinds) > 1)} | {options.number} | {text} | {places} |", flush=True
            )


def plant(raw: Path, out: Path, kinds: tuple[str, ...], number: int, seed: int, sample: int | None) -> pd.DataFrame:
    """Write a copy of a data set with mistakes to `out`; return a row for each mistake: image_id, kind."""
    rng = np.random.default_rng(seed)
    labels = read_csv(raw / "labels.csv")
    if sample is not None:
        labels = labels.iloc[sorted(rng.permutation(len(labels))[:sample])]
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True)
    for image_id in labels.image_id:
        _write(out, image_id, *_read(raw, image_id))
    ids = rng.permutation(labels.image_id.to_numpy()).tolist()
    chosen = {kind: [ids.pop() for _ in range(number)] for kind in kinds}
    for kind, names in chosen.items():
        for image_id, image, mask in _changed(kind, names, raw, rng):
            _write(out, image_id, image, mask)
    copies = labels[labels.image_id.isin(chosen.get("copied", []))]
    write_csv(out / "labels.csv", pd.concat([labels, copies.assign(image_id="copy-of-" + copies.image_id)]))
    return pd.DataFrame(
        [(name, kind) for kind, names in chosen.items() for name in names], columns=["image_id", "kind"]
    )


def _changed(kind: str, names: list[str], raw: Path, rng: Generator) -> Iterator[tuple[str, Pixels, Pixels]]:
    """Yield the id, image and mask of each image that is changed or added."""
    for position, name in enumerate(names):
        image, mask = _read(raw, name)
        if kind == "swapped":
            yield name, image, _fitted(_read(raw, names[position ^ 1])[1], mask.shape)
        elif kind == "turned":
            yield name, (image[:, ::-1], image[::-1], image[::-1, ::-1])[rng.integers(3)], mask
        elif kind == "copied":
            yield f"copy-of-{name}", image, mask
        elif kind == "vanished":
            yield name, image, _vanished(mask)
        else:
            yield name, image, _shifted(mask, rng)


def _read(raw: Path, name: str) -> tuple[Pixels, Pixels]:
    return stored_image(raw / "images", name), stored_mask(raw / "masks", name)


def _write(raw: Path, name: str, image: Pixels, mask: Pixels) -> None:
    write_image(raw / "images" / f"{name}.png", image)
    write_mask(raw / "masks" / f"{name}.png", mask)


def _fitted(mask: Pixels, shape: tuple[int, ...]) -> Pixels:
    return mask if mask.shape == shape else resize_mask(mask, (shape[1], shape[0]))


def _vanished(mask: Pixels) -> Pixels:
    rows, columns = np.nonzero(mask)
    middle = len(rows) // 2
    small = np.zeros_like(mask)
    corner = (slice(start, start + VANISHED_SIDE) for start in (rows[middle], columns[middle]))
    small[tuple(corner)] = mask[rows[middle], columns[middle]]
    return small


def _shifted(mask: Pixels, rng: Generator) -> Pixels:
    distance = rng.uniform(*SHIFT) * 2 * np.sqrt(np.count_nonzero(mask) / np.pi)
    angle = rng.uniform(0, 2 * np.pi)
    down, right = round(distance * np.sin(angle)), round(distance * np.cos(angle))
    moved = Image.fromarray(mask).transform(mask.shape[::-1], Image.Transform.AFFINE, (1, 0, -right, 0, 1, -down))
    return np.asarray(moved)


def found(workspace: Workspace, planted: pd.DataFrame) -> dict[str, int]:
    """Return how many of n planted mistakes of each kind are in the first 2 n places of the page."""
    config = load_config(current_workspace())
    prepared = prepare(workspace, config.data, config.preprocess)
    pairs = prepared.near_duplicates
    checks = image_checks(prepared.reviewed, prepared.image_table, pairs, prepared.vanished)
    places = page_order(checks, pairs)[: 2 * len(planted)]
    seen = {checks.image_id[row] for place in places for row in place}
    return planted.image_id.isin(seen).groupby(planted.kind).sum().to_dict()


if __name__ == "__main__":
    main()
