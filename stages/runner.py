"""Run a stage and turn user errors into messages."""

import gc
import sys
from collections.abc import Callable

from naevi.errors import exit_message
from naevi.progress import setup_logging


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage. User errors become one message on stderr and exit code 1, Ctrl-C exit code 130."""
    setup_logging()
    gc.freeze()  # objects of the imports are never garbage, see stages/__init__.py
    gc.enable()
    try:
        main()
    except Exception as error:
        message = exit_message(error)
        if message is None:
            raise
        sys.exit(message)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        gc.freeze()  # otherwise Python searches everything once more before it exits
