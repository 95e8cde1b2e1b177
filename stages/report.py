"""Show the result to people: report.html, report.md and figures."""

from naevi.config import load_config
from naevi.files import read_csv
from naevi.provenance import read_description
from naevi.reporting.report import publish_report
from naevi.workspace import current_workspace
from stages.runner import run_stage


def main() -> None:
    workspace = current_workspace()
    config = load_config(workspace)
    models = [read_description(workspace.model(name)) for name in config.model_names()]
    publish_report(workspace, config, models, read_csv(workspace.curves))


if __name__ == "__main__":
    run_stage(main)
