"""How a stage ends, seen from the shell."""

import subprocess
import sys
from pathlib import Path

import pytest

from naevi.errors import UserError, exit_message, first_ten, shorten
from stages.runner import run_stage
from tests.helpers import ROOT

STAGE = """
from naevi.errors import UserError
from stages.runner import run_stage

def main():
    {body}

run_stage(main)
"""


def ended(body: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a stage."""
    command = [sys.executable, "-c", STAGE.format(body=body)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("print('done')", (0, "done\n", "")),
        ("raise UserError('There is no mask. Add one.')", (1, "", "naevi: There is no mask. Add one.\n")),
        ("raise KeyboardInterrupt", (130, "", "")),
    ],
)
def test_a_stage_ends_with_a_code_and_a_sentence(body: str, expected: tuple[int, str, str]) -> None:
    assert ended(body) == expected


def test_a_message_names_ten_at_most() -> None:
    assert first_ten([]) == ""
    assert first_ten("abcdefghij") == "a, b, c, d, e, f, g, h, i, j"
    assert first_ten(iter("abcdefghijk")) == "a, b, c, d, e, f, g, h, i, j, …"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is played by Linux's /dev/full")
def test_a_full_disk_is_told_in_a_sentence() -> None:
    code, _, said = ended("file = open('/dev/full', 'w'); file.write('x'); file.flush()")

    assert (code, said.splitlines()[0]) == (
        1,
        "naevi: can't read or write a file: No space left on device. Please free some disk space and run the command "
        "again. No partial output was kept.",
    )


def test_a_folder_that_is_not_ours_is_told_in_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    become_nobody = "import os; os.geteuid() or os.seteuid(65534); "  # root may write everywhere

    assert ended(f"{become_nobody}open('{tmp_path}/x', 'w')") == (
        1,
        "",
        f"naevi: can't read or write {tmp_path}/x: Permission denied. Please grant access and run the command again. "
        "No partial output was kept.\n",
    )


def test_an_error_of_ours_keeps_its_traceback() -> None:
    def main() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run_stage(main)


@pytest.mark.parametrize(("started", "imported"), [("-m", "False"), ("pytest", "True")])
def test_python_looks_for_garbage_while_a_stage_runs_but_not_in_what_it_imported(started: str, imported: str) -> None:
    script = (
        f"import gc, sys; sys.argv[0] = '{started}'; import stages; print(gc.isenabled())\n"
        "from stages.runner import run_stage\n"
        "run_stage(lambda: print(gc.isenabled(), gc.get_freeze_count() > 1000))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == f"{imported}\nTrue True\n"


def test_long_values_are_cut_in_messages() -> None:
    """A cell of a table can have megabytes."""
    assert first_ten(["a" * 3_000_000]) == "a" * 49 + "…" + "a" * 50
    assert shorten("b" * 100) == "b" * 100
    message = exit_message(UserError("c" * 3_000_000))
    assert message is not None
    assert len(message) == 10_001


def test_a_stage_outside_the_environment_says_what_to_do() -> None:
    """Without site-packages, this Python is like the system's."""
    command = [sys.executable, "-S", "-m", "stages.split"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr == (
        f"naevi: the package pydantic is missing in this Python ({sys.executable}). Run `make setup` and "
        "`. .venv/bin/activate`, then the command again.\n"
    )


def test_messages_do_not_control_the_terminal() -> None:
    assert exit_message(UserError("a \x1b[2J b \u202e c \udcff\nä")) == "naevi: a \\x1b[2J b \\u202e c \\udcff\nä"
    script = "import logging; from naevi.progress import setup_logging; setup_logging(); " + (
        "logging.getLogger('naevi').warning('a %s', chr(27))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "naevi: a \\x1b\n"
