"""Predict every image with the model that never saw it; write predictions, scores and the predictor."""

from naevi.config import load_config
from naevi.evaluation.cross_validation import cross_validate, learning_curves, remove_other_models
from naevi.evaluation.outputs import write_outputs
from naevi.evaluation.summary import summarize_cross_validation
from naevi.files import write_csv
from naevi.inference.predictor import write_predictor
from naevi.tables import read_image_table, read_split
from naevi.workspace import current_workspace
from stages.runner import run_stage


def main() -> None:
    workspace = current_workspace()
    config = load_config(workspace, "data.classes", "evaluate", "runtime", "cv")
    remove_other_models(workspace, config)
    image_table = read_image_table(workspace)
    split = read_split(workspace, image_table)
    test, validation = cross_validate(workspace, config, split, image_table)
    scores = summarize_cross_validation(test.rows, test.pixels, validation, config.evaluate)
    write_outputs(workspace, test, scores, config.data.names())
    write_csv(workspace.curves, learning_curves(workspace, config))
    write_predictor(workspace, config)


if __name__ == "__main__":
    run_stage(main)
