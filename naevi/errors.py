"""User errors: a one-line message and exit code 1, no traceback. Checks of the paths that a user names."""

import errno
from collections.abc import Iterable
from pathlib import Path

# Errors of the file system that a user can fix, and how.
REMEDIES = {
    errno.ENOSPC: "free some disk space",
    errno.EDQUOT: "free some disk space",
    errno.EFBIG: "allow larger files",
    errno.EACCES: "grant access",
    errno.EPERM: "grant access",
    errno.EROFS: "work in a writable folder",
    errno.ENOENT: "restore what has disappeared",
    errno.ESTALE: "restore what has disappeared",
    errno.EIO: "check the disk",
}


MAX_VALUE_CHARACTERS = 100  # of a value in a message
MAX_MESSAGE_CHARACTERS = 10_000


class UserError(Exception):
    """A problem that the user can fix. The message says what is wrong, what was found, and what to do."""


def describe_error(error: Exception) -> str:
    """Return the message of an error on one line, or the name of its class if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def shorten(value: str) -> str:
    """Return a value for a message. Of a long one keep the start and the end, MAX_VALUE_CHARACTERS in all."""
    half = MAX_VALUE_CHARACTERS // 2
    return value if len(value) <= MAX_VALUE_CHARACTERS else f"{value[: half - 1]}…{value[-half:]}"


def cut(text: str, length: int) -> str:
    """Return the start of a text, with an ellipsis if more follows."""
    return text if len(text) <= length else f"{text[:length]}…"


def first_ten(names: Iterable[str]) -> str:
    """Return up to ten names as text, each cut by `shorten`, followed by an ellipsis if there are more."""
    names = list(names)
    return ", ".join(map(shorten, names[:10])) + ", …" * (len(names) > 10)


def list_problems(head: str, lines: list[str]) -> str:
    """Return a message with up to ten lines below its head, and an ellipsis if there are more."""
    return "\n  ".join([head, *lines[:10], *["…"] * (len(lines) > 10)])


def visible(text: str) -> str:
    """Return text for a terminal: characters that could control it, such as those of a file name, become escapes."""
    return "".join(sign if sign.isprintable() or sign == "\n" else ascii(sign)[1:-1] for sign in text)


def exit_message(error: Exception) -> str | None:
    """Return the message for an error that a user can fix, or None for any other error."""
    if isinstance(error, UserError):
        return visible(cut(f"naevi: {error}", MAX_MESSAGE_CHARACTERS))
    if problem := describe_file_error(error):
        return visible(f"naevi: {problem} No partial output was kept.")
    return None


def describe_file_error(error: Exception) -> str | None:
    """Return sentences about an error of the file system that a user can fix, or None for any other error."""
    if not isinstance(error, OSError) or error.errno not in REMEDIES:
        return None
    place, remedy = error.filename or "a file", REMEDIES[error.errno]
    return f"can't read or write {place}: {error.strerror}. Please {remedy} and run the command again."


def check_inputs(paths: Iterable[Path]) -> None:
    """Raise UserError if one of the files and folders that a user names doesn't exist."""
    if missing := [str(path) for path in paths if not path.exists()]:
        raise UserError(f"There is no {first_ten(missing)}. Check the spelling and the current folder.")


def check_output(out: Path, *, force: bool, suffixes: tuple[str, ...] = ()) -> None:
    """Raise UserError if --out names something that exists, unless `force`, or something of another kind.

    `suffixes` are those of the file that will be written, such as ".png". Without suffixes it will be a folder.
    """
    if suffixes and out.suffix.lower() not in suffixes:
        raise UserError(f"--out {out} doesn't end in {' or '.join(suffixes)}. Choose a file name that does.")
    if suffixes and out.is_dir():
        raise UserError(f"--out {out} is a folder. Choose the name of a file.")
    if not suffixes and out.is_file():
        raise UserError(f"--out {out} is a file. Choose the name of a folder.")
    if not force and out.exists() and (suffixes or any(out.iterdir())):
        raise UserError(f"--out {out} already exists. Choose a new name, or overwrite it with --force.")
