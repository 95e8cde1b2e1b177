"""dvc.yaml tells the truth: about modules, parameters, paths and stages. DVC doesn't look into Python; this does.

The rules are functions of a parsed dvc.yaml, so that the tests can also show that a wrong one is caught.
"""

import ast
import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from naevi import paths
from naevi.config import Config, read_yaml
from tests import pipeline
from tests.conftest import ROOT

PIPELINE = read_yaml(ROOT / paths.PIPELINE)
STAGES = list(PIPELINE["stages"])

# No line of these can change a result that a stage writes: parameters and paths count as params and outs, the others
# only speak to people. So an edit there must not retrain.
HARMLESS = {"config", "paths", "progress", "refusal"}
# Training tells MLflow what it does and takes nothing from it.
ONLY_TOLD = {("train", "tracking"), ("train", "store")}
# Read through a module rather than imported; and who needs the versions of libraries.
COMPANIONS = {"reporting": ["naevi/templates"], "figures": ["requirements.lock"], "networks": ["requirements.lock"]}

# Read without being written by a stage: they are in git.
KEPT_IN_GIT = {paths.MANIFEST.as_posix(), paths.RESULTS.as_posix()}


def imports(file: Path) -> set[str]:
    """The modules of naevi that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "naevi":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("naevi."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("naevi") for alias in node.names), (
                f"{file}: write `from naevi import …`"
            )
    return found


def modules(stage: str) -> set[str]:
    """The modules of naevi whose text can change what a stage writes."""
    skipped = HARMLESS | {module for name, module in ONLY_TOLD if name == stage}
    seen: set[str] = set()
    waiting = imports(ROOT / "stages" / f"{stage}.py") - skipped
    while waiting:
        module = waiting.pop()
        seen.add(module)
        waiting |= imports(ROOT / "naevi" / f"{module}.py") - skipped - seen
    return seen


def code(stage: str) -> set[str]:
    """What a stage must list of code: its script, its modules, and what these read of the repository."""
    used = modules(stage)
    companions = {file for module in used for file in COMPANIONS.get(module, [])}
    # Matters where results are made, not where they are told to MLflow.
    companions -= {"requirements.lock"} if stage == "track" else set()
    return {f"stages/{stage}.py"} | {f"naevi/{module}.py" for module in used} | companions


def sections(stage: str) -> list[str]:
    """The sections of params.yaml that a stage's load_config names: all when it names none."""
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "load_config"]
    assert len(calls) == 1, f"stages/{stage}.py loads the config once"
    return [ast.literal_eval(argument) for argument in calls[0].args]


def written(stage: dict) -> list[str]:
    """The paths that a stage of dvc.yaml declares to write."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def is_code(dep: str) -> bool:
    return dep.startswith(("stages/", "naevi/", "requirements"))


def code_problems(pipeline: dict) -> list[str]:
    """Where the code that dvc.yaml lists is not the code that the stage uses."""
    found = []
    for name, stage in pipeline["stages"].items():
        listed = {dep for dep in stage["deps"] if is_code(dep)}
        found += [f"{name} uses {file}, which dvc.yaml doesn't list" for file in sorted(code(name) - listed)]
        found += [f"{name} lists {file}, which it doesn't use" for file in sorted(listed - code(name))]
    return found


def param_problems(pipeline: dict) -> list[str]:
    """Where the parameters that dvc.yaml lists are not those that the stage's config lets it read."""
    whole = [{"params.yaml": None}]
    return [
        f"{name} reads {sections(name) or 'all'}, dvc.yaml lists {stage.get('params')}"
        for name, stage in pipeline["stages"].items()
        if stage.get("params") != (sections(name) or whole)
    ]


def path_problems(pipeline: dict) -> list[str]:
    """Where a path is written twice, isn't in paths.py, or is read without being written by anyone or kept in git."""
    stages = pipeline["stages"]
    outputs = [out.replace("/${item.model}", "") for stage in stages.values() for out in written(stage)]
    known = {path.as_posix() for path in vars(paths).values() if isinstance(path, Path)}
    found = [f"{out} is written twice" for out in sorted(set(outputs)) if outputs.count(out) > 1]
    found += [f"{out} is written, but isn't in paths.py" for out in sorted(set(outputs) - known)]
    for name, stage in stages.items():
        for dep in stage["deps"]:
            made = any(dep == out or dep.startswith(out + "/") for out in outputs)
            if not is_code(dep) and not made and dep not in KEPT_IN_GIT:
                found.append(f"{name} reads {dep}, which no stage writes")
    return found


def file_problems(pipeline: dict, opened: dict[str, dict[str, list[str]]]) -> list[str]:
    """Where the files that stages were seen to open are not those that dvc.yaml lists."""
    found = []
    for name, stage in pipeline["stages"].items():
        deps = [dep for dep in stage["deps"] if not is_code(dep) or dep == "naevi/templates"]
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


# A stage's script and its modules


def test_every_stage_has_a_script_and_every_script_a_stage() -> None:
    scripts = {file.stem for file in (ROOT / "stages").glob("*.py")} - {"__init__"}

    assert scripts == set(STAGES)
    for name, stage in PIPELINE["stages"].items():
        assert stage["cmd"] == f"python -m stages.{name}" + " ${item.model}" * ("matrix" in stage)


def test_the_code_that_each_stage_uses_is_listed_and_no_other() -> None:
    assert code_problems(PIPELINE) == []


def test_the_parameters_that_each_stage_reads_are_listed_and_no_others() -> None:
    assert param_problems(PIPELINE) == []
    assert set(read_yaml(ROOT / paths.PARAMS)) == set(Config.model_fields)


def test_paths_are_written_once_and_stand_in_paths() -> None:
    assert path_problems(PIPELINE) == []


def test_arrows_go_one_way() -> None:
    for file in [*(ROOT / "naevi").glob("*.py"), *(ROOT / "stages").glob("*.py")]:
        assert not re.search(r"(import|from) stages", file.read_text(encoding="utf-8")), file


def test_only_the_store_its_users_and_what_mlflow_runs_import_mlflow() -> None:
    users = {
        file.relative_to(ROOT).as_posix()
        for folder in ("naevi", "stages")
        for file in (ROOT / folder).glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom) and "mlflow" in ast.unparse(node)
    }

    assert users == {f"naevi/{name}.py" for name in ("store", "tracking", "registry", "serving")}


@pytest.mark.parametrize("stage", ["download", "preprocess", "split", "report", "track"])
def test_a_stage_that_computes_nothing_with_torch_does_not_wait_for_it(stage: str) -> None:
    """Torch, smp and MLflow take seconds each to import."""
    heavy = "{'torch', 'timm', 'segmentation_models_pytorch', 'mlflow'}"
    script = f"import sys, stages.{stage}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_a_stage_is_short() -> None:
    for name in STAGES:
        assert len((ROOT / "stages" / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 40


# The test of the test: what is left out or added is noticed


@pytest.mark.parametrize(("name", "kind", "index"), without("deps") + without("params"))
def test_a_missing_entry_is_noticed(name: str, kind: str, index: int, opened: dict) -> None:
    wrong = copy.deepcopy(PIPELINE)
    left_out = wrong["stages"][name][kind].pop(index)

    problems = code_problems(wrong) + param_problems(wrong) + file_problems(wrong, opened)

    # data/ph2.csv is read for PH2 only; the audited run is on phantoms.
    assert problems != [] or left_out == paths.MANIFEST.as_posix()


@pytest.mark.parametrize(("name", "kind", "index"), without("outs") + without("metrics") + without("plots"))
def test_a_missing_output_is_noticed(name: str, kind: str, index: int, opened: dict) -> None:
    wrong = copy.deepcopy(PIPELINE)
    wrong["stages"][name][kind].pop(index)

    assert file_problems(wrong, opened) + path_problems(wrong) != []


def test_an_entry_too_many_is_noticed() -> None:
    for name in STAGES:
        wrong = copy.deepcopy(PIPELINE)
        wrong["stages"][name]["deps"] += ["naevi/demo.py"]
        wrong["stages"][name]["params"] += ["split.seed"]

        assert len(code_problems(wrong)) == 1
        assert len(param_problems(wrong)) == 1


def test_a_path_written_twice_is_noticed() -> None:
    wrong = copy.deepcopy(PIPELINE)
    wrong["stages"]["report"]["outs"].append("data/split.csv")

    assert path_problems(wrong) == ["data/split.csv is written twice"]


# Seen while it runs

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
    wanted = ("data/", "reports/", "naevi/templates/")
    kept = {kind: sorted(p for p in files if p.startswith(wanted)) for kind, files in seen.items()}
    print("AUDIT " + json.dumps(kept))
"""


@pytest.fixture(scope="module")
def opened(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[str]]]:
    """For each stage, run on phantoms: the files under data/, reports/ and templates/ that it opened."""
    # An empty store, so that `track` has everything to do.
    store = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    found = {}
    for name in STAGES:
        item = ["0"] if name == "train" else []
        printed = pipeline.run(small_repository, sys.executable, "-c", AUDIT, name, *item, MLFLOW_TRACKING_URI=store)
        line = next(line for line in printed.splitlines() if line.startswith("AUDIT "))
        found[name] = json.loads(line.removeprefix("AUDIT "))
        # `whole` writes beside a folder or a file and moves the whole into place.
        found[name]["write"] = [re.sub(r"(\.\d+)?\.partial", "", file) for file in found[name]["write"]]
    return found


def test_stages_open_the_files_that_are_listed_and_no_others(opened: dict) -> None:
    phantoms_need_no_manifest = [f"download lists {paths.MANIFEST.as_posix()}, which it didn't read"]

    assert file_problems(PIPELINE, opened) == phantoms_need_no_manifest


def test_editing_any_module_makes_exactly_its_stages_stale(
    small_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_repository)  # DVC names stages relative to where it is
    files = [*small_repository.glob("naevi/*.py"), *small_repository.glob("stages/*.py")]
    for file in sorted(files):
        name = file.relative_to(small_repository).as_posix()
        before = file.read_text(encoding="utf-8")
        file.write_text(before + "# an edit\n", encoding="utf-8")

        with Repo() as repository:
            stale = {stage.partition("@")[0] for stage in repository.status()}

        file.write_text(before, encoding="utf-8")
        assert stale == {stage for stage in STAGES if name in code(stage)}, name


def test_a_stage_cannot_read_a_section_that_it_does_not_declare(small_repository: Path) -> None:
    script = "from naevi.config import load_config; load_config('split').train"
    done = subprocess.run([sys.executable, "-c", script], cwd=small_repository, capture_output=True, text=True)

    assert done.returncode == 1
    assert "has no attribute 'train'" in done.stderr
