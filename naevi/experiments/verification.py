"""Check that MLflow and git have the same results and that the files match their records, and repair MLflow."""

import re
import tempfile
from pathlib import Path

from naevi.errors import UserError, describe_error, first_ten
from naevi.experiments.data_verification import verify_data
from naevi.experiments.repository import experiment_revisions, run_command, text_at
from naevi.record import MAX_PROBLEMS, read_record
from naevi.tracking.registry import restore_versions
from naevi.tracking.source import RESULT_COMMIT
from naevi.tracking.store import StoredResult, close_stale_runs, connect, delete_run, set_tag, stored_results
from naevi.tracking.stored_files import DamagedRun, damaged_runs, restore_unreplaced
from naevi.tracking.sync import DvcExperiment, result_files, sync_result
from naevi.workspace import Workspace

FINGERPRINT = re.compile(r"tags\.fingerprint = '([0-9a-f]{64})'")


def verify(workspace: Workspace, commits: int, *, data: bool = False) -> None:
    """Print the differences between MLflow and git and the repairs; raise UserError if a repair is impossible.

    The results of the branch's newest `commits` commits and of all DVC experiments are checked, with the files of their
    runs. With `data`, the files that dvc.lock names (see `verify_data`) and all files on a server are read too.
    """
    wrong = _print_data_check(workspace) if data else 0
    closed, alive = close_stale_runs(*connect(workspace))
    repaired = [f"{name}: its process has ended, so it is KILLED now." for name in closed]
    repaired += [f"{name}: still running, here or on another machine." for name in alive]
    results = results_in_git(workspace, commits)
    damaged = damaged_runs(workspace, data=data)
    in_git = [run for run in damaged if set(run.results) & set(results)]
    failed = [
        f"{_describe([run])} in MLflow. It can't be recorded again, because its result is in no experiment and in none "
        f"of the last {commits} commits. Delete the run if nobody needs it."
        for run in damaged
        if run not in in_git
    ]
    again, impossible = _record_incomplete(workspace, results, in_git)
    repaired += again
    failed += impossible
    stored = stored_results(workspace)  # again, because results were recorded
    repaired += _remove_duplicates(workspace, results, stored) + _mark_orphans(workspace, stored)
    repaired += restore_versions(workspace)
    print("".join(f"{line}\n" for line in repaired + failed), end="")
    if impossible:
        raise UserError(
            f"{len(impossible)} of {len(results)} results in git have no complete run in MLflow. See above. To check "
            f"fewer than {commits} commits, use COMMITS=…."
        )
    if failed:
        raise UserError(f"{len(failed)} run(s) in MLflow have wrong files. See above.")
    print(f"verified: all {len(results)} results in git have one complete run in MLflow.")
    if wrong:
        raise UserError(f"{wrong} file(s) or folder(s) differ from dvc.lock. See above.")


def _print_data_check(workspace: Workspace) -> int:
    """Print which files differ from dvc.lock and return the number of lines."""
    check = verify_data(workspace)
    for problem in check.problems:
        print(problem)
    absent = f" Not on this machine: {first_ten(check.absent)}. Get them with `dvc pull`." if check.absent else ""
    print(f"hashed: {check.files} files of dvc.lock and of DVC's cache.{absent}")
    return len(check.problems)


def _record_incomplete(
    workspace: Workspace, results: dict[str, dict[str, str]], damaged: list[DamagedRun]
) -> tuple[list[str], list[str]]:
    """Delete damaged runs and record incomplete results. Return messages about repairs and about failures.

    Damaged runs that can't be recorded again are kept.
    """
    for run in damaged:
        delete_run(workspace, run.run)
    repaired, failed, reported = [], [], set()
    try:
        for fingerprint, lacking in _find_incomplete(workspace, results).items():
            reported.add(fingerprint)
            runs = [run for run in damaged if fingerprint in run.results]
            problem = f"damaged in MLflow ({_describe(runs)})" if runs else f"{lacking} in MLflow"
            names = first_ten(results[fingerprint])
            try:
                _record_result(workspace, fingerprint, *next(iter(results[fingerprint].items())))
                repaired.append(f"{names}: {problem}. Recorded from the files.")
            except UserError as error:
                failed.append(f"{names}: {problem}. It can't be recorded: {describe_error(error)}")
    finally:
        restore_unreplaced(workspace, damaged)
    repaired += [
        f"{run.name}: recorded twice. Run {run.run} was deleted." for run in damaged if not set(run.results) & reported
    ]
    return repaired, failed


def _describe(runs: list[DamagedRun]) -> str:
    problems = [f"{run.name}: {problem}" for run in runs for problem in run.problems]
    return "; ".join(
        [*problems[:MAX_PROBLEMS], *[f"{len(problems) - MAX_PROBLEMS} more"] * (len(problems) > MAX_PROBLEMS)]
    )


def results_in_git(workspace: Workspace, commits: int) -> dict[str, dict[str, str]]:
    """Return fingerprint → name → revision for the branch's newest `commits` results and all DVC experiments.

    The fingerprint comes from report.md, which is in git. The name of a commit is its first seven digits.
    """
    report = workspace.relative(workspace.report_md)
    command = ("git", "log", "--first-parent", "--format=%H", f"-{commits}", "--", report)
    named = [(revision[:7], revision) for revision in run_command(*command, folder=workspace.root).split()]
    named += experiment_revisions(workspace)
    results: dict[str, dict[str, str]] = {}
    for name, revision in named:
        for fingerprint in _fingerprints(text_at(workspace, revision, report)):
            results.setdefault(fingerprint, {})[name] = revision
    return results


def _fingerprints(report: str | None) -> list[str]:
    """Return the fingerprint in a report as a list, empty without one, such as of an experiment that failed."""
    return FINGERPRINT.findall(report or "")[:1]


def _is_experiment(name: str, revision: str) -> bool:
    """Return whether a name of results_in_git is a DVC experiment. The name of a commit is the start of its hash."""
    return not revision.startswith(name)


def _find_incomplete(workspace: Workspace, results: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return a description of what MLflow lacks, by fingerprint."""
    stored, incomplete = stored_results(workspace), {}
    for fingerprint in results:
        if fingerprint not in stored:
            incomplete[fingerprint] = "missing"
        elif lacking := stored[fingerprint].lacking:
            incomplete[fingerprint] = f"{lacking} of its models missing"
    return incomplete


def _remove_duplicates(
    workspace: Workspace, results: dict[str, dict[str, str]], stored: dict[str, StoredResult]
) -> list[str]:
    """Keep one run of each result, tagged with its commit and its experiments; return messages about changes."""
    messages = []
    for fingerprint, result in stored.items():
        for duplicate in result.runs[1:]:
            delete_run(workspace, duplicate)
            messages.append(f"{result.name}: recorded twice. Run {duplicate} was deleted.")
        revisions = results.get(fingerprint, {})
        experiments = [name for name, revision in revisions.items() if _is_experiment(name, revision)]
        commits = [revision for name, revision in revisions.items() if not _is_experiment(name, revision)]
        if commits and not result.commit:
            set_tag(workspace, result.runs[0], RESULT_COMMIT, commits[-1])
        if missing := [name for name in experiments if name not in result.experiments]:
            set_tag(workspace, result.runs[0], "dvc.experiments", " ".join([*result.experiments, *missing]))
            messages.append(f"{result.name}: added the experiment names {first_ten(missing)}.")
    return messages


def _record_result(workspace: Workspace, fingerprint: str, name: str, revision: str) -> None:
    """Record a result in MLflow from its files in git and in DVC's cache or remote."""
    experiment = DvcExperiment("", revision)
    if _is_experiment(name, revision):
        baseline = run_command("git", "rev-parse", f"{revision}^", folder=workspace.root).strip()
        experiment = DvcExperiment(name, baseline)
    with tempfile.TemporaryDirectory() as folder:
        copy = Workspace(Path(folder), main_repository=workspace.main_repository)
        _copy_result(workspace, revision, copy)
        sync_result(copy, experiment, present=None)
    if fingerprint not in stored_results(workspace):
        raise UserError(f"{name} was made with code or parameters that this version can't record.")


def _copy_result(workspace: Workspace, revision: str, copy: Workspace) -> None:
    """Copy the files that sync_result reads from a revision to another workspace."""
    from dvc.api import DVCFileSystem

    from naevi.inference.predictor import write_predictor  # lazy, because it imports torch

    files = DVCFileSystem(str(workspace.root), rev=revision)

    def fetch(path: Path) -> None:
        name = copy.relative(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            files.get(name, str(path), recursive=True)
        except Exception as error:  # caches and remotes raise many kinds of errors
            raise UserError(f"{name} is in no cache and no remote ({describe_error(error)[:100]}).") from error

    fetch(copy.lock)
    if files.exists(".dvcignore"):
        fetch(copy.root / ".dvcignore")
    record = read_record(copy)
    for path in result_files(copy, record.config):
        if path == copy.predictor and copy.relative(path) not in record.files:  # an older commit
            write_predictor(copy, record.config)
        elif path != copy.details or copy.relative(path) in record.files:  # older commits have none
            fetch(path)


def _mark_orphans(workspace: Workspace, stored: dict[str, StoredResult]) -> list[str]:
    """Tag the runs whose result is in no commit, no experiment and not in the workspace; return messages about them.

    They are not deleted, because a removed experiment still happened. Results that started from a commit of another
    clone don't change.
    """
    report = workspace.relative(workspace.report_md)
    command = ("git", "log", "--all", "--full-history", "--format=%H", "--", report)
    revisions = run_command(*command, folder=workspace.root).split()
    known = {
        fingerprint for revision in revisions for fingerprint in _fingerprints(text_at(workspace, revision, report))
    }
    if workspace.report_md.exists():
        known.update(_fingerprints(workspace.report_md.read_text(encoding="utf-8")))
    commits = set(run_command("git", "rev-list", "--all", folder=workspace.root).split())
    messages = []
    for fingerprint, result in stored.items():
        orphan = fingerprint not in known
        if orphan and result.baseline not in commits:
            continue
        if orphan != result.orphan:
            set_tag(workspace, result.runs[0], "orphan", str(orphan).lower())
        if orphan:
            messages.append(f"{result.name}: in no commit and no experiment. It is tagged orphan = true.")
    return messages
