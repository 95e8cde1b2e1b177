"""Each result in git has its run in MLflow, and each run there its result in git; what differs is repaired."""

import re
import sys
import tempfile
from pathlib import Path

from naevi import commands, history, paths, store
from naevi.refusal import Refusal, reason, some
from naevi.store import Held

FINGERPRINT = re.compile(r"tags\.fingerprint = '([0-9a-f]{64})'")
# What `tracking.reconcile` reads.
FILES = (
    paths.PARAMS,
    paths.LOCK,
    paths.LESIONS,
    paths.MODELS,
    paths.METRICS,
    paths.PER_IMAGE,
    paths.REPORT_HTML,
    paths.REPORT_MD,
    paths.FIGURES,
)


def main(commits: int) -> None:
    """Print what was amiss and what was done about it; raises Refusal where something can't be repaired."""
    closed, alive = store.close_dead(*store.connect())
    told = [f"{name}: its process is gone; it is KILLED now." for name in closed]
    told += [f"{name}: still running, here or on another machine." for name in alive]
    left, wanted = [], results(commits)
    for fingerprint, what in _amiss(wanted).items():
        names = some(wanted[fingerprint])
        try:
            _record(fingerprint, *next(iter(wanted[fingerprint].items())))
            told.append(f"{names}: {what} in MLflow; recorded from the files.")
        except Refusal as refusal:
            left.append(f"{names}: {what} in MLflow, and can't be recorded: {refusal}")
    held = store.held()  # with what was just recorded
    told += _made_one(wanted, held) + _orphans(held)
    print("".join(f"{line}\n" for line in told + left), end="")
    if left:
        raise Refusal(f"{len(left)} of {len(wanted)} results in git have no whole run in MLflow; see above.")
    print(f"verified: each of {len(wanted)} results in git stands in MLflow once, with its models.")


def results(commits: int) -> dict[str, dict[str, str]]:
    """The results of so many of the branch's newest commits, and of all DVC experiments: fingerprint → name → revision.

    The fingerprint is the one in report.md, which git keeps. Commits are named by their first seven digits.
    """
    report = paths.REPORT_MD.as_posix()
    changed = commands.run("git", "log", "--first-parent", "--format=%H", f"-{commits}", "--", report).split()
    named = [(revision[:7], revision) for revision in changed]
    named += [each for found in history.experiments().values() for each in found.items()]
    found: dict[str, dict[str, str]] = {}
    for name, revision in named:
        for fingerprint in _fingerprints(history.text_at(revision, report)):
            found.setdefault(fingerprint, {})[name] = revision
    return found


def _fingerprints(report: str | None) -> list[str]:
    """The one in a report; none where there is no report, or an experiment failed before it wrote one."""
    return FINGERPRINT.findall(report or "")[:1]


def _is_experiment(name: str, revision: str) -> bool:
    """Whether this is what `results` calls a DVC experiment: a commit has the beginning of its revision for a name."""
    return not revision.startswith(name)


def _amiss(wanted: dict[str, dict[str, str]]) -> dict[str, str]:
    """What the store lacks of the wanted results, by their fingerprints."""
    held, found = store.held(), {}
    for fingerprint in wanted:
        if fingerprint not in held:
            found[fingerprint] = "missing"
        elif lacking := held[fingerprint].lacking:
            found[fingerprint] = f"without {lacking} of its models"
    return found


def _made_one(wanted: dict[str, dict[str, str]], held: dict[str, Held]) -> list[str]:
    """Leave one run a result, with the names of all experiments that it was; say what was changed."""
    told = []
    for fingerprint, result in held.items():
        revisions = wanted.get(fingerprint, {})
        for double in result.runs[1:]:
            store.remove(double)
            told.append(f"{result.name}: stood there twice; run {double} is removed.")
        experiments = [name for name, revision in revisions.items() if _is_experiment(name, revision)]
        if missing := [name for name in experiments if name not in result.experiments]:
            store.tag(result.runs[0], "dvc.experiments", " ".join([*result.experiments, *missing]))
            told.append(f"{result.name}: {some(missing)} named in it now.")
    return told


def _record(fingerprint: str, name: str, revision: str) -> None:
    """Record a result from what git and DVC's cache or remote hold of it, by today's stage `track`."""
    from dvc.api import DVCFileSystem

    files = DVCFileSystem(rev=revision)
    with tempfile.TemporaryDirectory() as there:
        folder = Path(there)
        for path in FILES:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            try:
                files.get(path.as_posix(), str(folder / path), recursive=True)
            except Exception as error:  # caches and remotes fail in many ways without a common class
                raise Refusal(f"{path} is in no cache and no remote ({reason(error)[:100]}).") from error
        experiment = _is_experiment(name, revision)
        baseline = commands.run("git", "rev-parse", f"{revision}^").strip() if experiment else revision
        as_dvc_does = {
            "DVC_ROOT": str(paths.root()),
            "DVC_EXP_BASELINE_REV": baseline,
            "DVC_EXP_NAME": name if experiment else "",
            "PYTHONPATH": str(Path.cwd()),
        }
        commands.run(sys.executable, "-m", "stages.track", folder=folder, environment=as_dvc_does)
    if fingerprint not in store.held():
        raise Refusal(f"{name} was made with other code or parameters than today's can record.")


def _orphans(held: dict[str, Held]) -> list[str]:
    """Mark the runs whose result no commit, no experiment and not the workspace has, and say so; unmark the others.

    They are kept: an experiment that was removed was tried all the same. Those that started from a commit which this
    clone doesn't have are another's, and left alone.
    """
    report = paths.REPORT_MD.as_posix()
    changed = commands.run("git", "log", "--all", "--full-history", "--format=%H", "--", report).split()
    known = {fingerprint for each in changed for fingerprint in _fingerprints(history.text_at(each, report))}
    if paths.REPORT_MD.exists():
        known.update(_fingerprints(paths.REPORT_MD.read_text(encoding="utf-8")))
    commits = set(commands.run("git", "rev-list", "--all").split())
    told = []
    for fingerprint, result in held.items():
        orphan = fingerprint not in known
        if orphan and result.baseline not in commits:
            continue
        if orphan != result.orphan:
            store.tag(result.runs[0], "orphan", str(orphan).lower())
        if orphan:
            told.append(f"{result.name}: no commit and no experiment has it; it is tagged orphan = true.")
    return told
