"""What a user can cause is answered with one sentence and exit code 1, never with a traceback."""

import errno
import gc
import sys
from collections.abc import Callable, Iterable

# What the file system refuses, and what would do.
REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "allow larger files",
    errno.EACCES: "allow it",
    errno.EPERM: "allow it",
    errno.EROFS: "work where it can be written",
    errno.ENOENT: "bring back what has vanished",
    errno.ESTALE: "bring back what has vanished",
    errno.EIO: "look after the disk",
}


class Refusal(Exception):
    """What was wrong, what we got, what would do: one sentence for the user (or one with a list under it)."""


def reason(error: Exception) -> str:
    """What an error says, in one line, or its name if it says nothing: for a sentence of ours."""
    return " ".join(str(error).split()) or type(error).__name__


def some(names: Iterable[str]) -> str:
    """Ten names at most, for a sentence of ours."""
    names = list(names)
    return ", ".join(names[:10]) + ", …" * (len(names) > 10)


def run(main: Callable[[], None]) -> None:
    """Run a stage; a Refusal becomes its sentence on stderr and exit code 1, Ctrl-C exit code 130.

    So does what the file system refuses; any other error is ours, and keeps its traceback.
    """
    gc.freeze()  # what the imports made is no garbage, see stages/__init__.py
    gc.enable()
    try:
        main()
    except Refusal as refusal:
        sys.exit(f"naevi: {refusal}")
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        sys.exit(
            f"naevi: {error.filename or 'a file'} can't be written or read: {error.strerror}; "
            f"{REMEDIES[error.errno]} and run it again, since nothing half-made counts."
        )
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        gc.freeze()  # else Python looks for garbage in all that torch and MLflow hold once more before it ends
