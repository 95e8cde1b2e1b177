"""dvc.yaml lists what each stage really uses. DVC doesn't follow Python's imports; these tests do.

The rules are functions of a parsed dvc.yaml, so that the tests can also show that they catch a wrong one.
"""

import ast
import copy
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from dvc.repo import Repo

from naevi.config import Config
from naevi.files import read_yaml
from tests import pipeline
from tests.helpers import HERE, ROOT

PIPELINE = read_yaml(ROOT / HERE.pipeline)
STAGES = list(PIPELINE["stages"])

# These can't change a result: parameters and paths are declared as params and outs, the others only print or decide
# where code runs. So an edit there must not retrain.
HARMLESS = {"config", "added_parameters", "workspace", "errors", "progress", "parallel"}
# Training logs to MLflow and takes nothing from it.
LOGGED_TO = {("train", "tracking")}
# Modules whose results depend on the versions of libraries, or that show them.
LOCKED = {"models.build", "reporting.report"}

# The manifest is read for PH2 only, and the stages are observed on synthetic images.
UNREAD_MANIFEST = f"download lists {HERE.relative(HERE.ph2_manifest)}, which it didn't read"
# The networks of these tests start with random weights.
UNREAD_WEIGHTS = "train lists data/weights/${model.weights}, which it didn't read"
UNREAD = {UNREAD_MANIFEST, UNREAD_WEIGHTS}
# Read without being written by a stage: they are in git.
START_WEIGHTS = "data/weights/${model.weights}"  # in git or tracked by DVC
KEPT_IN_GIT = {HERE.relative(HERE.ph2_manifest), HERE.relative(HERE.results), START_WEIGHTS}


def module_files() -> dict[str, Path]:
    """Return the file of each module of naevi by its dotted name, without `naevi.`."""
    files = sorted((ROOT / "naevi").rglob("*.py"))
    names = {".".join(file.relative_to(ROOT / "naevi").with_suffix("").parts): file for file in files}
    return {name: file for name, file in names.items() if not name.endswith(("__init__", "__main__"))}


MODULES = module_files()


@cache
def imports(file: Path) -> set[str]:
    """Return the modules of naevi that a file imports, anywhere in it."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "naevi":
            parent = (node.module or "").removeprefix("naevi").removeprefix(".")
            names = {f"{parent}.{alias.name}".removeprefix(".") for alias in node.names}
            modules |= ({parent} | names) & set(MODULES)
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("naevi") for alias in node.names), f"{file}: use from-imports"
    return modules


def package(module: str) -> str:
    return module.split(".")[0]


@cache
def modules(stage: str) -> set[str]:
    """Return the modules of naevi that can change what a stage writes."""
    skipped = HARMLESS | {name for of_stage, name in LOGGED_TO if of_stage == stage}
    seen: set[str] = set()
    waiting = {ROOT / "stages" / f"{stage}.py"}
    while waiting:
        new = {module for module in imports(waiting.pop()) if package(module) not in skipped} - seen
        seen |= new
        waiting |= {MODULES[module] for module in new}
    return seen


def code(stage: str) -> set[str]:
    """Return the code that a stage must list: its script, packages and root modules, and the lock of libraries."""
    used = modules(stage)
    names = {f"naevi/{package(module)}" + ".py" * (module == package(module)) for module in used}
    # The lock matters where results are made, not where they are logged.
    lock = {"requirements.lock"} if used & LOCKED and stage != "track" else set()
    return {f"stages/{stage}.py"} | names | lock


@cache
def sections(stage: str) -> list[str]:
    """Return the sections of params.yaml that a stage's load_config names; none means all."""
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "load_config"]
    assert len(calls) == 1, f"stages/{stage}.py loads the config once"
    return [ast.literal_eval(argument) for argument in calls[0].args[1:]]  # the first one is the workspace


def written(stage: dict) -> list[str]:
    """Return the paths that a stage of dvc.yaml writes."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def is_code(dep: str) -> bool:
    return dep.startswith(("stages/", "naevi/", "requirements"))


def code_problems(pipeline: dict) -> list[str]:
    """Return the differences between the code that dvc.yaml lists and the code that the stage uses."""
    problems = []
    for name, stage in pipeline["stages"].items():
        listed = {dep for dep in stage["deps"] if is_code(dep)}
        problems += [f"{name} uses {file}, which dvc.yaml doesn't list" for file in sorted(code(name) - listed)]
        problems += [f"{name} lists {file}, which it doesn't use" for file in sorted(listed - code(name))]
    return problems


def param_problems(pipeline: dict) -> list[str]:
    """Return where the parameters that dvc.yaml lists are not those that the stage can read."""
    whole = [{"params.yaml": None}]
    return [
        f"{name} reads {sections(name) or 'all'}, dvc.yaml lists {stage.get('params')}"
        for name, stage in pipeline["stages"].items()
        if stage.get("params") != (sections(name) or whole)
    ]


def path_problems(pipeline: dict) -> list[str]:
    """Return paths that are written twice, not in the workspace, or read but neither written by a stage nor in git."""
    stages = pipeline["stages"]
    outputs = [out.replace("/${item.model}", "") for stage in stages.values() for out in written(stage)]
    known = {path.as_posix() for path in vars(HERE).values() if isinstance(path, Path)}
    found = [f"{out} is written twice" for out in sorted(set(outputs)) if outputs.count(out) > 1]
    found += [f"{out} is written, but isn't in the workspace" for out in sorted(set(outputs) - known)]
    for name, stage in stages.items():
        for dep in stage["deps"]:
            dep = "data/ph2.csv" if dep == "${data.path}" else dep
            made = any(dep == out or dep.startswith(out + "/") for out in outputs)
            if not is_code(dep) and not made and dep not in KEPT_IN_GIT:
                found.append(f"{name} reads {dep}, which no stage writes")
    return found


def file_problems(pipeline: dict, opened: dict[str, dict[str, list[str]]]) -> list[str]:
    """Return where the files that stages opened are not those that dvc.yaml lists."""
    found = []
    for name, stage in pipeline["stages"].items():
        deps = [dep.replace("${data.path}", "data/ph2.csv") for dep in stage["deps"] if not is_code(dep)]
        outs = [out.replace("${item.model}", "0") for out in written(stage)]
        read, wrote = opened[name]["read"], opened[name]["write"]
        found += [f"{name} read {file}, undeclared" for file in read if not _under(file, deps + outs)]
        found += [f"{name} wrote {file}, undeclared" for file in wrote if not _under(file, outs)]
        found += [
            f"{name} lists {dep}, which it didn't read" for dep in deps if not any(_under(f, [dep]) for f in read)
        ]
        found += [
            f"{name} lists {out}, which it didn't write" for out in outs if not any(_under(f, [out]) for f in wrote)
        ]
    return found


def _under(file: str, places: list[str]) -> bool:
    return any(file == place or file.startswith(place + "/") for place in places)


def without(kind: str) -> list[tuple[str, str, int]]:
    return [(name, kind, i) for name, stage in PIPELINE["stages"].items() for i in range(len(stage.get(kind, [])))]


# Scripts, code, parameters and paths


def test_every_stage_has_a_script_and_every_script_a_stage() -> None:
    scripts = {file.stem for file in (ROOT / "stages").glob("*.py")} - {"__init__", "runner"}

    assert scripts == set(STAGES)
    for name, stage in PIPELINE["stages"].items():
        assert stage["cmd"] == f"python -m stages.{name}" + " ${item.model}" * ("matrix" in stage)


def test_the_code_that_each_stage_uses_is_listed_and_no_other() -> None:
    assert code_problems(PIPELINE) == []


def test_the_parameters_that_each_stage_reads_are_listed_and_no_others() -> None:
    assert param_problems(PIPELINE) == []
    assert set(read_yaml(ROOT / HERE.params)) == set(Config.model_fields)


def test_paths_are_written_once_and_are_in_the_workspace() -> None:
    assert path_problems(PIPELINE) == []


@pytest.mark.parametrize("stage", ["download", "preprocess", "split", "train", "evaluate"])
def test_a_stage_that_computes_lists_no_module_that_it_does_not_use(stage: str) -> None:
    """An edit of such a module would compute the stage again for nothing."""
    used = modules(stage)
    # The review page uses a part of rendering. An edit there writes the page again, which trains nothing.
    packages = {package(module) for module in used} - ({"rendering"} if stage == "preprocess" else set())

    assert {module for module in MODULES if package(module) in packages} == {
        module for module in used if package(module) in packages
    }


def test_packages_layers_and_mlflow_are_where_the_architecture_has_them() -> None:
    """The contracts are in pyproject.toml."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_dvc_yaml_lists_packages_instead_of_files() -> None:
    lines = [dep for stage in PIPELINE["stages"].values() for dep in stage["deps"] if is_code(dep)]

    assert len([dep for dep in lines if dep != "requirements.lock"]) <= 60
    assert len({package(module) for module in MODULES} - set(MODULES)) == 15
    assert len([module for module in MODULES if module == package(module)]) <= 15


@pytest.mark.parametrize("stage", ["download", "preprocess", "split", "report", "track"])
def test_a_stage_that_computes_nothing_with_torch_does_not_wait_for_it(stage: str) -> None:
    """Torch, smp and MLflow take seconds each to import."""
    heavy = "{'torch', 'timm', 'segmentation_models_pytorch', 'mlflow'}"
    script = f"import sys, stages.{stage}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_only_loads_calls_and_writes(stage: str) -> None:
    """Its main has no branch, no loop and no other function."""
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text(encoding="utf-8"))
    (main,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))

    assert main.name == "main"
    assert not [node for node in ast.walk(main) if isinstance(node, ast.If | ast.For | ast.While | ast.Try | ast.With)]


# The rules catch what is missing or too much


@pytest.mark.parametrize(("name", "kind", "index"), without("deps") + without("params"))
def test_a_missing_entry_is_noticed(name: str, kind: str, index: int, opened: dict) -> None:
    wrong = copy.deepcopy(PIPELINE)
    left_out = wrong["stages"][name][kind].pop(index)

    problems = set(code_problems(wrong) + param_problems(wrong) + file_problems(wrong, opened)) - UNREAD

    assert bool(problems) == (left_out not in ("${data.path}", START_WEIGHTS))


@pytest.mark.parametrize(("name", "kind", "index"), without("outs") + without("metrics") + without("plots"))
def test_a_missing_output_is_noticed(name: str, kind: str, index: int, opened: dict) -> None:
    wrong = copy.deepcopy(PIPELINE)
    wrong["stages"][name][kind].pop(index)

    assert file_problems(wrong, opened) + path_problems(wrong) != []


def test_an_entry_too_many_is_noticed() -> None:
    for name in STAGES:
        wrong = copy.deepcopy(PIPELINE)
        wrong["stages"][name]["deps"] += ["naevi/experiments"]
        wrong["stages"][name]["params"] += ["split.seed"]

        assert len(code_problems(wrong)) == 1
        assert len(param_problems(wrong)) == 1


def test_a_path_written_twice_is_noticed() -> None:
    wrong = copy.deepcopy(PIPELINE)
    wrong["stages"]["report"]["outs"].append("data/split.csv")

    assert path_problems(wrong) == ["data/split.csv is written twice"]


# What stages open while they run

AUDIT = """
import json, os, runpy, sys
seen = {"read": set(), "write": set()}
root = os.getcwd() + os.sep
def note(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path = os.path.abspath(os.fsdecode(arguments[0]))
        mode, flags = arguments[1], arguments[2] or 0
        writes = any(c in mode for c in "wax+") if mode else bool(flags & (os.O_WRONLY | os.O_RDWR))
        if path.startswith(root):
            seen["write" if writes else "read"].add(path[len(root):].replace(os.sep, "/"))
sys.addaudithook(note)
sys.argv = sys.argv[1:]
try:
    runpy.run_module("stages." + sys.argv[0], run_name="__main__", alter_sys=False)
finally:
    wanted = ("data/", "reports/")
    kept = {kind: sorted(p for p in files if p.startswith(wanted)) for kind, files in seen.items()}
    print("AUDIT " + json.dumps(kept))
"""


@pytest.fixture(scope="module")
def opened(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[str]]]:
    """Return the files under data/ and reports/ that each stage opens, in a run on synthetic images."""
    # A copy, whose empty store leaves `track` everything to do.
    repository = pipeline.copy(small_repository, tmp_path_factory.mktemp("opened") / "repository")
    store = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    found = {}
    for name in STAGES:
        item = ["0"] if name == "train" else []
        printed = pipeline.run(repository, sys.executable, "-c", AUDIT, name, *item, MLFLOW_TRACKING_URI=store)
        line = next(line for line in printed.splitlines() if line.startswith("AUDIT "))
        found[name] = json.loads(line.removeprefix("AUDIT "))
        # atomic_folder and atomic_file write to a partial path first.
        found[name]["write"] = [re.sub(r"(\.\d+)?\.partial", "", file) for file in found[name]["write"]]
    return found


def test_stages_open_the_files_that_are_listed_and_no_others(opened: dict) -> None:
    assert file_problems(PIPELINE, opened) == [UNREAD_MANIFEST, UNREAD_WEIGHTS]


def test_editing_any_module_makes_exactly_its_stages_stale(
    small_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_repository)  # DVC names stages relative to where it is
    with Repo() as repository:
        code_files = small_repository.glob("naevi/**/*.py")
        ignored = [file for file in code_files if repository.dvcignore.is_ignored_file(str(file))]
    assert ignored == []
    # DVC hashes all files of a package together, so one module stands for all of them.
    packages = [init.parent for init in sorted(small_repository.glob("naevi/*/__init__.py"))]
    in_packages = [sorted(package.glob("[!_]*.py"))[-1] for package in packages]
    for file in sorted([*small_repository.glob("naevi/*.py"), *small_repository.glob("stages/*.py"), *in_packages]):
        name = file.relative_to(small_repository).as_posix()
        before = file.read_text(encoding="utf-8")
        file.write_text(before + "# an edit\n", encoding="utf-8")

        with Repo() as repository:
            stale = {stage.partition("@")[0] for stage in repository.status()}

        file.write_text(before, encoding="utf-8")
        assert stale == {stage for stage in STAGES if _under(name, sorted(code(stage)))}, name


def test_only_the_file_of_weights_that_is_named_makes_training_stale(
    small_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With model.weights=imagenet; a file has its own name there."""
    folder = pipeline.copy(small_repository, tmp_path / "repository")
    monkeypatch.chdir(folder)
    stale = []
    for name in ("other.safetensors", "imagenet"):
        (folder / "data/weights" / name).write_text("other weights", encoding="utf-8")
        with Repo() as repository:
            stale.append(set(repository.status()))

    assert stale == [set(), {"train@0", "train@1", "train@all"}]


def test_a_stage_cannot_read_a_section_that_it_does_not_declare(small_repository: Path) -> None:
    script = (
        "from naevi.config import load_config; from naevi.workspace import current_workspace; "
        "load_config(current_workspace(), 'split').train"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=small_repository, capture_output=True, text=True)

    assert done.returncode == 1
    assert "has no attribute 'train'" in done.stderr
