"""Readers of params.yaml, other YAML and the tables of results and stages, with inputs to try."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import strategies as st

from naevi import tables
from naevi.config import parse_config
from naevi.experiments.named_results import NamedResult
from naevi.experiments.statistics import compare_scores, pair_results
from naevi.files import parse_yaml, read_yaml
from naevi.results.per_image import parse_per_image
from naevi.workspace import Workspace
from tests.faults.damaged_bytes import spoilt
from tests.faults.reader import Reader
from tests.faults.values import YAML_TREES, changed_values
from tests.helpers import HERE, ROOT


def params_text(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """params.yaml as bytes."""
    valid = [(ROOT / HERE.params).read_bytes()]

    def read(data: bytes) -> None:
        (folder / "params.yaml").write_bytes(data)
        parse_config(read_yaml(folder / "params.yaml"))

    return Reader(read, valid, spoilt(valid))


# What YAML consists of, and what has a meaning of its own in it.
PIECES = [
    *["a: ", "- ", "? ", ": ", ", ", "[", "]", "{", "}", "&a ", "*a", "<<: *a", "!!int ", "!!binary ", "!!set ", "!x "],
    *["|", ">", '"', "'", "~", "#", "@", "`", "---\n", "...\n", "%YAML 1.1\n", "\n", "\n  ", "\n    "],
    *["2026-01-01", "1e400", "0x1F", ".nan", "data:\n  ", "classes:\n    ", "seed: "],
]


def yaml_documents(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Anything that looks like YAML: nesting, anchors, tags, long numbers, and aliases that grow."""

    def read(text: str) -> None:
        parse_config(parse_yaml(text, "x.yaml"))

    def bomb(levels: int, width: int) -> str:
        lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels + 1)]
        return "\n".join(["a0: &a0 x", *lines])

    pieces = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=60).map("".join)
    deep = st.builds(
        lambda sign, depth: sign * depth, st.sampled_from(["[", "{a: ", "- ", "? ", "&a "]), st.integers(1, 5000)
    )
    numbers = st.integers(1, 20_000).map(lambda digits: f"a: {'9' * digits}")
    bombs = st.builds(bomb, st.integers(1, 30), st.integers(1, 20))
    valid = [(ROOT / HERE.params).read_text(encoding="utf-8")]
    return Reader(read, valid, pieces | pieces | deep | numbers | bombs)


def params_values(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Other values at some places of params.yaml, of all types that YAML has."""
    committed = read_yaml(ROOT / HERE.params)
    return Reader(parse_config, [committed], changed_values(committed, YAML_TREES) | YAML_TREES)


def result(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """The per_image.csv of one of two results that are compared."""
    monkeypatch.chdir(folder)
    rows = "image_id,dataset,diagnosis,fold,class,dice,iou,tp,fn\n" + "".join(
        f"i{row},ph2,common,{row % 2},lesion,0.{row}5,0.{row},{row},1\n" for row in range(6)
    )
    valid = [rows.encode()]
    other = NamedResult("x", parse_per_image("x", "per_image.csv", valid[0]))
    settings = parse_config(read_yaml(ROOT / HERE.params)).evaluate.model_copy(update={"resamples": 100})

    def read(data: bytes) -> None:
        result = NamedResult("x", parse_per_image("x", "per_image.csv", data))
        compare_scores(pair_results(result, other), settings)

    return Reader(read, valid, spoilt(valid))


IMAGES = (
    b"image_id,dataset,diagnosis,group,height,width,lesion_fraction,touches_frame,dark_corners,sha256\n"
    + b"".join(b"%s,folder,nevus,%s,4,6,0.25,False,0,%s\n" % (name, name, b"ab" * 32) for name in (b"a", b"b"))
)
# The tables that stages pass on to each other, by the path in a workspace.
STAGE_TABLES = {
    "data/raw/labels.csv": b"image_id,diagnosis,group,fold\na,nevus,p1,0\nb,nevus,p2,1\n",
    "data/raw/decisions.csv": b"decision,item,parameter\nAlpha is used,a,data.reading.mask_alpha\n",
    "data/prepared/lesions.csv": IMAGES,
    "data/checks/near_duplicates.csv": b"first,second,correlation\na,b,0.99\n",
    "data/checks/vanished.csv": b"image_id,class,pixels,pixels_at_size\na,lesion,9,0\n",
    "data/split.csv": b"image_id,diagnosis,group,0,1,all\na,nevus,p1,test,train,train\nb,nevus,p2,train,test,train\n",
    "history.csv": b"epoch,lr,train_loss,val_dice\n1,0.1,0.5,\n2,0.1,0.4,0.9\n",
}


def stage_tables(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """The tables between stages."""
    workspace = Workspace(folder)
    image_table = folder / "images.csv"
    image_table.write_bytes(IMAGES)
    readers = {
        "data/raw/labels.csv": tables.read_labels,
        "data/raw/decisions.csv": tables.read_decisions,
        "data/prepared/lesions.csv": tables.read_image_table,
        "data/checks/near_duplicates.csv": tables.read_near_duplicates,
        "data/checks/vanished.csv": tables.read_vanished,
        "data/split.csv": lambda workspace: tables.read_split(workspace, pd.read_csv(image_table)),
        "history.csv": lambda workspace: tables.read_history(workspace.root / "history.csv"),
    }

    def read(table: tuple[str, bytes]) -> None:
        name, data = table
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        readers[name](workspace)

    spoilt_tables = [st.tuples(st.just(name), spoilt([content])) for name, content in STAGE_TABLES.items()]
    return Reader(read, list(STAGE_TABLES.items()), st.one_of(spoilt_tables))
