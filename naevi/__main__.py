"""`python -m naevi …`: what people run beside the pipeline; `make` has a target for those without files to name."""

import argparse
from pathlib import Path

from naevi import demo, history, paths, refusal, results


def main() -> None:
    """Read the command line and run what it names."""
    parser = argparse.ArgumentParser(prog="python -m naevi", description=__doc__)
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("demo", help="run the whole pipeline on phantoms, in .demo/")
    command.set_defaults(run=lambda _: demo.main())

    command = commands.add_parser("result", help="run an experiment and keep its figures under reports/results/NAME")
    command.add_argument("name")
    command.add_argument("-S", "--set-param", action="append", default=[], metavar="PARAM=VALUE")
    command.set_defaults(run=lambda arguments: results.publish(arguments.name, arguments.set_param))

    command = commands.add_parser("table", help="write the table of results into the README")
    command.set_defaults(run=lambda _: results.write_table())

    command = commands.add_parser("compare", help="say how B differs from A, image by image, and whether by chance")
    command.add_argument("a", help="workspace, default, a published result, a DVC experiment or a git revision")
    command.add_argument("b", help="the same")
    command.add_argument("--out", type=Path, metavar="FILE", help="a .md, or a .html with pictures; else it is printed")
    command.set_defaults(run=_compare)

    command = commands.add_parser("history", help="Dice and IoU over the commits of the branch and their experiments")
    command.add_argument("-n", "--commits", type=_number, default=history.COMMITS, help="at most, the newest first")
    command.set_defaults(run=lambda arguments: print(history.table(arguments.commits), end=""))

    command = commands.add_parser("verify", help="hold MLflow against git's results, both ways, and repair it")
    command.add_argument("-n", "--commits", type=_number, default=history.COMMITS, help="at most, the newest first")
    command.set_defaults(run=_verify)

    command = commands.add_parser("unlock", help="remove what a kill has torn of DVC's own lock, so that it runs again")
    command.set_defaults(run=_unlock)

    command = commands.add_parser("score", help="test a model on other labelled images, with a report")
    command.add_argument("images", type=Path, help="folder or archive of images")
    command.add_argument("masks", type=Path, help="folder or archive of masks with the names of the images")
    command.add_argument("--labels", type=Path, help="CSV file with image_id and diagnosis")
    command.add_argument("--model", type=Path, default=paths.model("all"), help="folder of the model")
    command.add_argument("--out", type=Path, default=paths.EXTERNAL_TEST, help="new folder for figures and report")
    command.set_defaults(run=_score)

    command = commands.add_parser("promote", help="make the model of a result champion, if it is better than chance")
    command.add_argument("name", help="workspace, default, a published result, a DVC experiment or a git revision")
    command.add_argument("--force", action="store_true", help="even if it is not better; that is recorded")
    command.set_defaults(run=_promote)

    command = commands.add_parser("rollback", help="make the champion before this one champion again")
    command.set_defaults(run=_roll_back)

    command = commands.add_parser("predict", help="write masks, pictures and a table of what a model finds in images")
    command.add_argument("images", type=Path, nargs="+", help="images, folders or archives of them")
    command.add_argument(
        "--model", default=str(paths.model("all")), help="its folder, or MLflow's models:/… or runs:/…"
    )
    command.add_argument("--out", type=Path, required=True, help="folder for masks/, overlays/ and lesions.csv")
    command.add_argument("--force", action="store_true", help="overwrite what --out holds of the same names")
    command.set_defaults(run=_predict)

    command = commands.add_parser("export", help="write a model as ONNX, for other programs")
    command.add_argument(
        "--model", default=str(paths.model("all")), help="its folder, or MLflow's models:/… or runs:/…"
    )
    command.add_argument("--out", type=Path, required=True, help="a new .onnx")
    command.add_argument("--force", action="store_true", help="overwrite it")
    command.set_defaults(run=_export)

    command = commands.add_parser("cutout", help="lay what a model finds in an image over another image")
    command.add_argument("image", type=Path)
    command.add_argument("--over", type=Path, required=True, help="the other image")
    command.add_argument("--model", type=Path, default=paths.model("all"), help="folder of the model")
    command.add_argument("--out", type=Path, required=True, help="a new .png")
    command.set_defaults(run=_cutout)

    arguments = parser.parse_args()
    arguments.run(arguments)


def _number(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of commits: name one from 1 on")
    return int(text)


# Imported where they run: torch and scipy take seconds, which the other commands can do without.


def _compare(arguments: argparse.Namespace) -> None:
    from naevi import comparison

    comparison.main(arguments.a, arguments.b, arguments.out)


def _promote(arguments: argparse.Namespace) -> None:
    from naevi import promotion

    print(promotion.promote(arguments.name, force=arguments.force))


def _roll_back(_: argparse.Namespace) -> None:
    from naevi import promotion

    print(promotion.roll_back())


def _unlock(_: argparse.Namespace) -> None:
    from naevi import commands

    commands.unlock()


def _verify(arguments: argparse.Namespace) -> None:
    from naevi import verification

    verification.main(arguments.commits)


def _score(arguments: argparse.Namespace) -> None:
    from naevi import external

    external.test(arguments.model, arguments.images, arguments.masks, arguments.labels, arguments.out)


def _predict(arguments: argparse.Namespace) -> None:
    from naevi import findings

    skipped = findings.write(_model(arguments.model), arguments.images, arguments.out, force=arguments.force)
    if skipped:
        raise refusal.Refusal(f"{len(skipped)} file(s) were skipped, since they can't be read; see above.")


def _export(arguments: argparse.Namespace) -> None:
    from naevi import export

    export.write(_model(arguments.model), arguments.out, force=arguments.force)


def _model(name: str) -> Path:
    """The folder of a model; one that MLflow holds is brought here."""
    if not name.startswith(("runs:/", "models:/")):
        return Path(name)
    from naevi import registry

    return registry.fetched(name)


def _cutout(arguments: argparse.Namespace) -> None:
    from naevi import cutout

    cutout.write(arguments.model, arguments.image, arguments.over, arguments.out)


if __name__ == "__main__":
    refusal.run(main)
