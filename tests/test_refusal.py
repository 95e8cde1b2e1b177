"""How a stage ends, seen from the shell."""

import subprocess
import sys
from pathlib import Path

import pytest

from naevi import refusal
from tests.conftest import ROOT

STAGE = """
from naevi import refusal

def main():
    {body}

refusal.run(main)
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
        ("raise refusal.Refusal('no mask; add one.')", (1, "", "naevi: no mask; add one.\n")),
        ("raise KeyboardInterrupt", (130, "", "")),
    ],
)
def test_a_stage_ends_with_a_code_and_a_sentence(body: str, expected: tuple[int, str, str]) -> None:
    assert ended(body) == expected


def test_a_message_names_ten_at_most() -> None:
    assert refusal.some([]) == ""
    assert refusal.some("abcdefghij") == "a, b, c, d, e, f, g, h, i, j"
    assert refusal.some(iter("abcdefghijk")) == "a, b, c, d, e, f, g, h, i, j, …"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is played by Linux's /dev/full")
def test_a_full_disk_is_told_in_a_sentence() -> None:
    code, _, said = ended("file = open('/dev/full', 'w'); file.write('x'); file.flush()")

    assert (code, said.splitlines()[0]) == (
        1,
        "naevi: a file can't be written or read: No space left on device; make room and run it again, since nothing "
        "half-made counts.",
    )


def test_a_folder_that_is_not_ours_is_told_in_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    become_nobody = "import os; os.geteuid() or os.seteuid(65534); "  # root may write everywhere

    assert ended(f"{become_nobody}open('{tmp_path}/x', 'w')") == (
        1,
        "",
        f"naevi: {tmp_path}/x can't be written or read: Permission denied; allow it and run it again, since nothing "
        "half-made counts.\n",
    )


def test_an_error_of_ours_keeps_its_traceback() -> None:
    def main() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        refusal.run(main)


@pytest.mark.parametrize(("started", "imported"), [("-m", "False"), ("pytest", "True")])
def test_python_looks_for_garbage_while_a_stage_runs_but_not_in_what_it_imported(started: str, imported: str) -> None:
    script = (
        f"import gc, sys; sys.argv[0] = '{started}'; import stages; print(gc.isenabled()); from naevi import refusal\n"
        "refusal.run(lambda: print(gc.isenabled(), gc.get_freeze_count() > 1000))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == f"{imported}\nTrue True\n"
