"""The command line: help, exit codes and messages."""

import errno
import importlib.metadata
import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from naevi import cli, workspace
from naevi.errors import UserError, check_output
from tests.conftest import ROOT

COMMANDS = dict(cli.main.commands)
USE_MODELS = ["predict", "cutout", "validate", "export"]
NEED_REPOSITORY = {
    "demo": [],
    "repro": [],
    "compare": ["a", "b"],
    "publish": ["name"],
    "update-readme": [],
    "history": [],
    "verify": [],
    "promote": ["name"],
    "rollback": [],
    "serve": [],
    "ui": [],
    "unlock": [],
}
EXISTS = "--out {} already exists. Choose a new name, or overwrite it with --force."


def run(*arguments: str) -> Result:
    """Run naevi in this process."""
    return CliRunner().invoke(cli.main, arguments, prog_name="naevi")


def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a new process, in the repository."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def example(command: click.Command) -> list[str]:
    """Return the words of the example in a command's help."""
    assert command.epilog
    heading, line = command.epilog.removeprefix("\b\n").splitlines()
    assert heading == "Example:"
    return shlex.split(line)


def test_every_command_is_listed_with_a_whole_summary() -> None:
    result = run("--help")

    assert result.exit_code == 0
    assert set(COMMANDS) == {*USE_MODELS, *NEED_REPOSITORY}
    for name, command in COMMANDS.items():
        summary = (command.help or "").splitlines()[0]
        assert summary.endswith(".")
        assert f"{name} {summary}" in " ".join(result.output.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example_that_is_valid(name: str) -> None:
    program, command_name, *arguments = example(COMMANDS[name])

    result = run(name, "-h")

    assert (program, command_name) == ("naevi", name)
    assert result.exit_code == 0
    assert result.output == run(name, "--help").output
    assert result.output.endswith(f"Example:\n  {shlex.join(['naevi', name, *arguments])}\n".replace("\n  ", "\n    "))
    COMMANDS[name].make_context(name, arguments)  # raises click.UsageError if it is wrong


@pytest.mark.parametrize("name", USE_MODELS)
def test_commands_for_models_share_their_options(name: str) -> None:
    options = {option.name: option for option in COMMANDS[name].params}

    assert options["model"].default == "data/predictor"
    assert options["force"].help == "Overwrite the file or folder that --out names."


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["predict", "--out", "out"],
        ["predict", "image.png"],
        ["export", "--out", "model.onnx", "--fast"],
        ["history", "-n", "0"],
        ["publish"],
    ],
)
def test_wrong_usage_has_exit_code_2(arguments: list[str]) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: naevi ")


@pytest.mark.parametrize("name", NEED_REPOSITORY)
def test_commands_that_need_the_repository_say_so(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    result = run(name, *NEED_REPOSITORY[name])

    assert result.exit_code == 1
    assert result.stderr == (
        "naevi: This command needs the pipeline's repository, and there is no params.yaml with dvc.yaml here. "
        "Change to a clone of the repository and run it again.\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", USE_MODELS)
def test_commands_for_models_need_a_predictor(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photograph.jpg").touch()
    arguments = {
        "predict": ["photograph.jpg", "--out", "out"],
        "cutout": ["photograph.jpg", "--over", "photograph.jpg", "--out", "out.png"],
        "validate": [".", ".", "--out", "out"],
        "export": ["--out", "out.onnx"],
    }

    result = run(name, *arguments[name])

    assert result.exit_code == 1
    assert "naevi: data/predictor " in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photograph.jpg"]


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (UserError("It is broken. Repair it."), 1, "naevi: It is broken. Repair it.\n"),
        (OSError(errno.ENOSPC, "No space left on device", "out"), 1, "free some disk space"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_has_an_exit_code_and_a_message(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, exit_code: int, message: str
) -> None:
    def fail() -> workspace.Workspace:
        raise error

    monkeypatch.setattr(cli, "require_workspace", fail)

    result = run("unlock")

    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == bool(message)


def test_an_unexpected_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "require_workspace", lambda: 1 / 0)

    assert isinstance(run("unlock").exception, ZeroDivisionError)


def test_the_version_is_that_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", {"naevi": "1.2.3"}.__getitem__)

    result = run("--version")

    assert (result.exit_code, result.output) == (0, "naevi, version 1.2.3\n")


def test_the_module_completes_names_in_a_shell() -> None:
    script = start("-m", "naevi", _NAEVI_COMPLETE="zsh_source")
    words = start("-m", "naevi", _NAEVI_COMPLETE="bash_complete", COMP_WORDS="naevi pr", COMP_CWORD="1")

    assert script.stdout.startswith("#compdef naevi\n")
    assert words.stdout.split() == ["plain,predict", "plain,promote"]


def test_help_imports_nothing_slow() -> None:
    code = "import sys, naevi.cli; print(*{name.split('.')[0] for name in sys.modules})"

    imported = set(start("-c", code).stdout.split())

    assert "click" in imported
    assert not imported & {"torch", "scipy", "mlflow", "pandas", "numpy", "matplotlib", "dvc", "PIL", "pydantic"}


@pytest.mark.parametrize(
    ("name", "suffixes", "force", "message"),
    [
        ("new.png", (".png",), False, None),
        ("new.PNG", (".png",), False, None),
        ("new", (), False, None),
        ("empty", (), False, None),
        (
            "file.png",
            (".png",),
            False,
            "--out file.png already exists. Choose a new name, or overwrite it with --force.",
        ),
        ("file.png", (".png",), True, None),
        ("folder", (), False, EXISTS.format("folder")),
        ("folder", (), True, None),
        ("new.jpg", (".png",), True, "--out new.jpg doesn't end in .png. Choose a file name that does."),
        (
            "new.no",
            (".md", ".html"),
            False,
            "--out new.no doesn't end in .md or .html. Choose a file name that does.",
        ),
        ("folder.md", (".md",), True, "--out folder.md is a folder. Choose the name of a file."),
        ("file.png", (), True, "--out file.png is a file. Choose the name of a folder."),
    ],
)
def test_out_names_something_new_unless_forced(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    suffixes: tuple[str, ...],
    force: bool,
    message: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("folder", "empty", "folder.md"):
        Path(folder).mkdir()
    for file in ("file.png", "folder/file"):
        Path(file).touch()

    if message is None:
        check_output(Path(name), force=force, suffixes=suffixes)
        return
    with pytest.raises(UserError) as raised:
        check_output(Path(name), force=force, suffixes=suffixes)
    assert str(raised.value) == message
