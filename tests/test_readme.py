"""The README is held against what it describes."""

import re
from pathlib import Path

import networkx as nx
import pytest

from naevi.config import flatten, read_yaml
from naevi.experiments.published import BEGIN_MARK, END_MARK, results_table
from tests.helpers import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_file_of_code_has_its_line() -> None:
    cells = " ".join(line.split("|")[1] for line in README.splitlines() if line.startswith("| `"))
    for folder in ("naevi", "stages", "benchmarks"):
        for file in (ROOT / folder).glob("*.py"):
            assert file.name in cells or file.name == "__init__.py", f"README: no line for {folder}/{file.name}"


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


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
    named = re.findall(r"-S '?([a-z_]+\.[\w.]+)=", page.read_text(encoding="utf-8"))

    assert named or page.name == "reliability.md"
    assert set(named) <= known, set(named) - known


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))

    named = set(re.findall(r"make ([a-z-]+)", README)) - {"sure"}
    assert named <= targets, named - targets
    assert targets - {"setup", "lock"} <= named, targets - named


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

    assert README[begin:end] == results_table()


def test_the_versions_in_the_readme_are_those_of_the_lock() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace(" \\\n", "\n").splitlines()

    for pin in re.findall(r"\b(torch(?:vision)?==[\d.]+)", README):
        assert pin in lock
