"""`naevi predict` in forked processes, each of which gets a signal at another step. Fork is faster than a new Python.

A step is a line of the record, or a file that is complete but not in its place yet. The line is only half written.
"""

import itertools
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from naevi.cli import main
from naevi.deploy import prediction_folder
from naevi.deploy.prediction_folder import PredictionFolder


def arm(step: int, number: signal.Signals) -> None:
    """End this process at a step, which is counted from 1."""
    steps = itertools.count(1)
    append, atomic_file = PredictionFolder._append, prediction_folder.atomic_file

    def append_or_die(folder: PredictionFolder, line: bytes) -> int:
        if next(steps) == step:
            append(folder, line[: len(line) // 2])
            os.kill(os.getpid(), number)
        return append(folder, line)

    @contextmanager
    def write_or_die(path: Path) -> Iterator[Path]:
        with atomic_file(path) as partial:
            yield partial
            if next(steps) == step:
                os.kill(os.getpid(), number)

    PredictionFolder._append = append_or_die  # type: ignore[method-assign]
    prediction_folder.atomic_file = write_or_die


def predict(arguments: list[str], step: int = 0, number: signal.Signals = signal.SIGKILL) -> int:
    """Return the exit code of `naevi predict`, negative for a signal that ended it."""
    if not (child := os.fork()):
        arm(step, number)
        try:
            main(["predict", *arguments])
        except SystemExit as error:
            sys.stderr.flush()
            os._exit(int(error.code or 0))  # without the second that torch takes to leave
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    import naevi.deploy.predict  # once for all processes
    import naevi.inference.segmenter  # noqa: F401

    *given, base = sys.argv[1:]
    print("whole", predict([*given, "--out", f"{base}/whole"]), flush=True)
    given += ["--out", f"{base}/interrupted"]
    print("SIGINT", predict(given, 6, signal.SIGINT), flush=True)
    print("SIGTERM", predict(given, 5, signal.SIGTERM), flush=True)
    # A line, a mask, an overlay and the next line, again and again, and at the end the record and both tables.
    for step in itertools.cycle(range(1, 5)):
        print(step, code := predict(given, step), flush=True)
        if code >= 0:
            break
