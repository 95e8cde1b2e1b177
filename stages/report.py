"""Show the result to people: report.html, report.md and figures."""

from naevi.config import load_config
from naevi.provenance import read_description
from naevi.record import check_result, read_record
from naevi.reporting.report import publish_report, shown_files
from naevi.tables import read_curves
from naevi.workspace import current_workspace
from stages.runner import run_stage


def main() -> None:
    workspace = current_workspace()
    config = load_config(workspace)
    record = read_record(workspace).computing  # while this stage runs, its own entry is missing or out of date
    check_result(workspace, record, config, shown_files(workspace, record.config))
    models = [read_description(workspace.model(name)) for name in config.model_names()]
    publish_report(workspace, config, models, read_curves(workspace), record.lacking)


if __name__ == "__main__":
    run_stage(main)
