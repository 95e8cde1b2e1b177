"""The command line: parse, call, print. `python -m naevi` is the same as `naevi`.

Each command imports its modules when it runs, because torch, scipy and MLflow take seconds. All commands are in one
module, because each is only its options, its help and a call, and their order here is that of `naevi --help`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from naevi.errors import UserError, exit_message, first_ten
from naevi.workspace import current_workspace, require_workspace

PATH = click.Path(path_type=Path)

F = TypeVar("F", bound=Callable[..., Any])


class NaeviGroup(click.Group):
    """Commands in the order of this file. Exit codes: 1 for user errors, 2 for wrong usage, 130 for Ctrl-C."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. User errors become one message on stderr."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(130)
        except Exception as error:
            if (message := exit_message(error)) is None:
                raise
            click.echo(message, err=True)
            ctx.exit(1)


@click.group(
    cls=NaeviGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True},
    epilog="\b\nShell completion for bash (zsh_source and fish_source for other shells), in ~/.bashrc:\n"
    '  eval "$(_NAEVI_COMPLETE=bash_source naevi)"',
)
@click.version_option(package_name="naevi", prog_name="naevi")
def main() -> None:
    """Segment skin lesions or other objects in images.

    predict, cutout, validate and export work in any folder. They need only a predictor folder. The other commands
    need a clone of the repository. For an explanation and an example, run `naevi COMMAND --help`.
    """
    from naevi.progress import setup_logging

    setup_logging()


def command(example: str) -> Callable[[Callable[..., None]], click.Command]:
    """Return a decorator that adds a command whose help ends with an example."""
    return main.command(epilog=f"\b\nExample:\n  {example}")


model_option = click.option(
    "--model", type=click.Path(), default="data/predictor", help="Predictor folder, or MLflow's models:/… or runs:/…."
)
commits_option = click.option(
    "-n", "--commits", type=click.IntRange(min=1), default=20, help="Maximum number of commits, newest first."
)


def output_option(text: str, **settings: Any) -> Callable[[F], F]:
    """Return a decorator that adds --out, with these settings of click, and --force. See `errors.check_output`."""
    out_option = click.option("--out", type=PATH, help=text, **settings)
    force_option = click.option("--force", is_flag=True, help="Overwrite the file or folder that --out names.")
    return lambda function: out_option(force_option(function))


@command("naevi predict photograph.jpg holiday/ more.zip --out predicted")
@click.argument("images", type=PATH, nargs=-1, required=True)
@model_option
@click.option("--coco", is_flag=True, help="Also write coco.json, to correct the masks in CVAT or Label Studio.")
@output_option("New folder for masks/, overlays/ and lesions.csv, or one to continue.", required=True)
def predict(images: tuple[Path, ...], model: str, coco: bool, out: Path, force: bool) -> None:
    """Write masks, overlays and a table of regions.

    IMAGES are images, folders and archives. Unreadable files are skipped with a warning and listed in skipped.csv, and
    the exit code is then 1.

    After an interruption, the same command goes on where it stopped. Images that were added to a folder are predicted
    in the same way, and the others are not predicted again. Without --force, no mask or table is lost: predictions of
    another model or of other images, and changed masks, are an error.
    """
    from naevi.deploy.predict import predict_images
    from naevi.deploy.prediction_folder import SKIPPED_TABLE
    from naevi.inference.segmenter import load_segmenter

    segmenter = load_segmenter(_model_folder(model), current_workspace())
    if skipped := predict_images(segmenter, images, out, force=force, coco=coco):
        raise UserError(
            f"{len(skipped)} file(s) were skipped because they can't be read as images: {first_ten(skipped)}. "
            f"{out / SKIPPED_TABLE} has the reasons."
        )


@command("naevi cutout photograph.jpg --over beach.jpg --out there.png")
@click.argument("image", type=PATH)
@click.option("--over", type=PATH, required=True, help="Image for the background.")
@model_option
@output_option("New .png file.", required=True)
def cutout(image: Path, over: Path, model: str, out: Path, force: bool) -> None:
    """Put the foreground of an image over another image."""
    from naevi.deploy.cutout import write_cutout
    from naevi.inference.segmenter import load_segmenter

    segmenter = load_segmenter(_model_folder(model), current_workspace())
    write_cutout(segmenter, image, over, out, force=force)


@command("naevi validate clinic/images clinic/masks --labels clinic/labels.csv --out clinic-report")
@click.argument("images", type=PATH)
@click.argument("masks", type=PATH)
@click.option(
    "--labels",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV file with the names of the images and their diagnoses.",
)
@click.option(
    "-S",
    "--set-param",
    "assignments",
    multiple=True,
    metavar="PARAM=VALUE",
    help="Read the files in another way, such as preprocess.empty_masks=keep. Repeatable.",
)
@model_option
@output_option("New folder for scores and report.", default="external")
def validate(
    images: Path, masks: Path, labels: Path | None, assignments: tuple[str, ...], model: str, out: Path, force: bool
) -> None:
    """Score a model on other labeled images and write a report.

    IMAGES and MASKS are folders or archives. A mask has the same name as its image. Make sure that the model was not
    trained on any of these images.
    """
    from naevi.deploy.external_validation import validate_model

    folder, workspace = _model_folder(model), current_workspace()
    validate_model(workspace, folder, images, masks, labels, out, force=force, assignments=assignments)


@command("naevi export --out naevi.onnx")
@model_option
@output_option("New .onnx or .safetensors file.", required=True)
def export(model: str, out: Path, force: bool) -> None:
    """Write a model as an ONNX file for other programs.

    A .safetensors file contains only the weights. Put it into data/weights to train from it, see model.weights.
    """
    from naevi.deploy.export import export_model

    export_model(_model_folder(model), out, force=force)


@command("naevi repro --jobs 2")
@click.option("--jobs", type=click.IntRange(min=1), default=1, help="Models to train at the same time.")
def repro(jobs: int) -> None:
    """Run the stages that are out of date, as `dvc repro` does.

    With --jobs, several models are trained at the same time, each with its share of the processors and on one of the
    GPUs. After an interruption, the same command goes on where it stopped.
    """
    from naevi.experiments import parallel_training

    parallel_training.repro(require_workspace(), jobs)


@command("naevi demo")
def demo() -> None:
    """Run the whole pipeline on synthetic images, in .demo/."""
    from naevi.experiments.demo import run_demo

    run_demo(require_workspace())


@command("naevi compare default workspace --out comparison.md")
@click.argument("a")
@click.argument("b")
@output_option("New .md file, or .html file with images. Without --out, the comparison is printed.")
def compare(a: str, b: str, out: Path | None, force: bool) -> None:
    """Compare two results image by image.

    A and B are `workspace`, `default` (the last commit), a published result, a DVC experiment or a git revision. Both
    must be of the same data set, and their files must match their records.
    """
    from naevi.experiments.comparison import write_comparison

    write_comparison(require_workspace(), a, b, out, force=force)


@command("naevi publish slow-learning -S train.lr=0.0005 -S train.epochs=96")
@click.argument("name")
@click.option(
    "-S", "--set-param", "assignments", multiple=True, metavar="PARAM=VALUE", help="Parameter to change. Repeatable."
)
def publish(name: str, assignments: tuple[str, ...]) -> None:
    """Run an experiment and keep its scores.

    reports/results/NAME then contains the scores, the changed parameters and a record of code, data and files.
    """
    from naevi.experiments.published import publish_result

    publish_result(require_workspace(), name, list(assignments))


@command("naevi update-readme")
def update_readme() -> None:
    """Write the table of results into README.md."""
    from naevi.experiments.published import update_readme as update

    update(require_workspace())


@command("naevi history -n 5")
@commits_option
def history(commits: int) -> None:
    """Show Dice and IoU over the commits of this branch.

    Each commit is followed by the experiments that started from it.
    """
    from naevi.experiments.history import history_table

    click.echo(history_table(require_workspace(), commits), nl=False)


@command("naevi verify --data")
@commits_option
@click.option("--data", is_flag=True, help="Also hash every file that dvc.lock names, here and in DVC's cache.")
def verify(commits: int, data: bool) -> None:
    """Check results in MLflow against git, and repair MLflow.

    The files of each run must match dvc.lock. With --data, files that were changed by a damaged disk or an edit are
    listed, and the exit code is then 1. DVC itself doesn't notice a change that keeps a file's time and size.
    """
    from naevi.experiments import verification

    verification.verify(require_workspace(), commits, data=data)


@command("naevi ui --port 5001")
@click.option("--port", type=click.IntRange(1, 65535), help="Default: the first free port from 5000 on.")
@click.option("--browser/--no-browser", "show", default=True, help="Open a browser if there is a display.")
def ui(port: int | None, show: bool) -> None:
    """Open MLflow's pages on the results.

    They are sorted by Dice, with a column for each parameter in which they differ. If MLFLOW_TRACKING_URI names a
    server, its address is printed and nothing is started.
    """
    from naevi.experiments.promotion import describe_lost_champion
    from naevi.tracking.registry import restore_versions
    from naevi.tracking.ui import open_ui

    workspace = require_workspace()
    for message in restore_versions(workspace):
        click.echo(message, err=True)
    try:
        click.echo(describe_lost_champion(workspace), err=True, nl=False)
    except UserError as error:  # such as an invalid params.yaml, which the pages don't need
        click.echo(exit_message(error), err=True)
    open_ui(workspace, port, show=show)


@command("naevi serve --model models:/ph2@champion --port 5001")
@click.option("--model", help="MLflow's models:/… or runs:/…. Default: the champion of the data set in params.yaml.")
@click.option("--port", type=click.IntRange(1, 65535), default=5001)
def serve(model: str | None, port: int) -> None:
    """Serve a model over HTTP, with limits for requests.

    It is MLflow's own server behind a check of each request.
    """
    from naevi.experiments.promotion import champion_address
    from naevi.tracking import server

    workspace = require_workspace()
    server.serve(workspace, model or champion_address(workspace), port)


@command("naevi promote workspace")
@click.argument("name")
@click.option("--force", is_flag=True, help="Promote it even if it is not better. MLflow records this.")
def promote(name: str, force: bool) -> None:
    """Promote the model of a result to champion.

    It must be significantly better than the current champion on the same images. NAME is `workspace`, `default` (the
    last commit), a published result, a DVC experiment or a git revision. The registered model has the name of the data
    set, or the one in NAEVI_REGISTERED_MODEL.
    """
    from naevi.experiments import promotion

    click.echo(promotion.promote(require_workspace(), name, force=force))


@command("naevi rollback")
def rollback() -> None:
    """Make the previous champion the champion again.

    It is the one of the data set in params.yaml.
    """
    from naevi.experiments import promotion

    click.echo(promotion.roll_back(require_workspace()))


@command("naevi unlock")
def unlock() -> None:
    """Remove lock files that DVC left corrupt."""
    from naevi.experiments import repository

    repository.unlock(require_workspace())


def _model_folder(model: str) -> Path:
    """Return the folder of a model. A model in MLflow is downloaded first."""
    if not model.startswith(("models:/", "runs:/")):
        return Path(model)
    from naevi.tracking.registry import download_model

    return download_model(current_workspace(), model)
