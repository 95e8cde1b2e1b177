"""What a user can cause is answered with one sentence and exit code 1, never with a traceback."""

import sys
from collections.abc import Callable


class Refusal(Exception):
    """What was wrong, what we got, what would do: one sentence for the user (or one with a list under it)."""


def reason(error: Exception) -> str:
    """What an error says, in one line: for a sentence of ours."""
    return " ".join(str(error).split())


def run(main: Callable[[], None]) -> None:
    """Run a stage; a Refusal becomes its sentence on stderr and exit code 1, Ctrl-C exit code 130."""
    try:
        main()
    except Refusal as refusal:
        sys.exit(f"naevi: {refusal}")
    except KeyboardInterrupt:
        sys.exit(130)
