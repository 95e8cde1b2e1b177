"""How a stage ends, seen from the shell."""

import subprocess
import sys
from pathlib import Path

import pytest

from naevi import refusal

STAGE = """
from naevi import refusal

def main():
    {body}

refusal.run(main)
"""


def ended(body: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a stage."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", STAGE.format(body=body)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
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


def test_an_error_of_ours_keeps_its_traceback() -> None:
    def main() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        refusal.run(main)
