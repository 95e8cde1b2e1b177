"""README and docs name what exists."""

import re
from pathlib import Path

import networkx as nx
import pytest

from naevi.config import flatten
from naevi.experiments.published import BEGIN_MARK, END_MARK, results_table
from naevi.files import read_yaml
from naevi.workspace import Workspace
from tests.helpers import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= 1400


def test_every_package_has_its_line_and_every_module_a_place_in_the_architecture() -> None:
    cells = " ".join(line.split("|")[1] for line in README.splitlines() if line.startswith("| `"))
    architecture = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line for line in architecture.splitlines() if line.startswith("| `")}
    for folder in (ROOT / "naevi").iterdir():
        if (folder / "__init__.py").exists():
            assert f"`naevi/{folder.name}/`" in cells, f"README: no line for {folder.name}"
            for file in folder.glob("*.py"):
                named = f"`{file.stem}`" in rows[f"`naevi/{folder.name}/`"]
                assert named or file.stem == "__init__", f"architecture.md: no {file.stem} in the line of {folder.name}"
    for file in (ROOT / "naevi").glob("*.py"):
        assert f"`{file.stem}`" in rows["`naevi/`"] or file.stem.startswith("__"), file.name
    for file in (ROOT / "benchmarks").glob("*.py"):
        assert f"`{file.name}`" in rows["`benchmarks/`"]


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.name: page.read_text(encoding="utf-8") for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:naevi|stages|benchmarks|tests)/[\w./]+)`", text):
        assert (ROOT / name).exists(), name
    for link in re.findall(r"\]\(((?!https?:|#)[^)#]+)", text):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_parameter_that_a_page_sets_exists(page: Path) -> None:
    known = set(flatten(read_yaml(ROOT / "params.yaml")))
    named = set(re.findall(r"-S '?([a-z_]+\.[\w.]+)=", TEXTS[page.name]))

    assert named <= known, named - known


def test_the_pages_set_parameters() -> None:
    """Otherwise the test above would show nothing."""
    assert sum(len(re.findall(r"-S '?[a-z_]+\.[\w.]+=", text)) for text in TEXTS.values()) > 20


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))

    named = {name for text in TEXTS.values() for name in re.findall(r"`make ([a-z-]+)", text)}
    assert named <= targets, named - targets
    commands = set(re.findall(r"`make ([a-z-]+)", TEXTS["commands.md"]))
    assert targets - {"lock"} <= commands, targets - commands


def test_the_picture_shows_the_pipeline_of_dvc_yaml() -> None:
    stages = read_yaml(ROOT / "dvc.yaml")["stages"]
    writer = {}
    for name, stage in stages.items():
        for kind in ("outs", "metrics", "plots"):
            for out in stage.get(kind, []):
                path = out if isinstance(out, str) else next(iter(out))
                writer[path.removesuffix("/${item.model}")] = name
    graph = nx.DiGraph()
    for name, stage in stages.items():
        for dep in stage["deps"]:
            graph.add_edges_from(
                (made_by, name) for path, made_by in writer.items() if (dep + "/").startswith(path + "/")
            )

    drawn = set(re.findall(r"(\w+)(?:\[.*?\])? --> (\w+)", README))

    assert drawn == set(nx.transitive_reduction(graph).edges)


def test_the_table_of_results_is_the_one_of_the_files() -> None:
    begin, end = README.index(BEGIN_MARK) + len(BEGIN_MARK), README.index(END_MARK)

    assert README[begin:end] == results_table(Workspace(ROOT))


def test_the_versions_in_the_docs_are_those_of_the_lock() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace(" \\\n", "\n").splitlines()

    pins = re.findall(r"\b(torch(?:vision)?==[\d.]+)", TEXTS["install.md"])
    assert len(pins) >= 2
    for pin in pins:
        assert pin in lock
