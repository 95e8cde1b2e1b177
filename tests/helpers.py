"""What several test modules share."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from naevi.config import Config
from naevi.digests import path_md5
from naevi.workspace import Workspace

ROOT = Path(__file__).parents[1]
HERE = Workspace(Path())  # the current folder, which the fixture `folder` sets


def write_lock(workspace: Workspace, config: Config) -> None:
    """Write the dvc.lock of a workspace that was made by hand. It lists what exists, and no code."""
    (workspace.root / "dvc.lock").write_text(json.dumps({"stages": lock_entries(workspace, config)}), encoding="utf-8")


def lock_entries(workspace: Workspace, config: Config) -> dict[str, Any]:
    """Return the entries of dvc.lock by stage. JSON is YAML, too."""
    values = config.model_dump(mode="json")
    scores = [workspace.metrics, workspace.per_image, workspace.curves]
    scores += [workspace.thresholds, workspace.reliability, workspace.risk_coverage]
    copies = [workspace.data_statistics, workspace.details]
    outs = {
        "download": [workspace.raw],
        "preprocess": [workspace.prepared, workspace.checks, workspace.review_html],
        "split": [workspace.split],
        **{f"train@{name}": [workspace.model(name)] for name in config.model_names()},
        "evaluate": [workspace.predictions, workspace.predictor, workspace.details_source, *scores],
        "report": [workspace.report_html, workspace.figures, workspace.report_md, *copies],
    }
    deps = {"split": [workspace.image_table]}
    sections = {
        "download": ["data"],
        "preprocess": ["preprocess"],
        "split": ["split"],
        "evaluate": ["evaluate", "runtime", "cv"],
        "report": list(values),
    }
    return {
        stage: {
            "deps": _entries(workspace, deps.get(stage, [])),
            "params": {"params.yaml": {name: values[name] for name in sections.get(stage, ["model", "train"])}},
            "outs": _entries(workspace, paths),
        }
        for stage, paths in outs.items()
    }


def _entries(workspace: Workspace, paths: list[Path]) -> list[dict[str, str]]:
    names = [workspace.relative(path) for path in paths if path.exists()]
    return [{"path": name, "hash": "md5", "md5": path_md5(workspace, name)} for name in names]


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until a condition is met, at most a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
