"""Run a stage and turn user errors into messages."""

import gc
import os
import sys
from collections.abc import Callable

from naevi.errors import exit_message
from naevi.parallel.processes import end_with_parent
from naevi.progress import setup_logging


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage. User errors become one message on stderr and exit code 1, Ctrl-C exit code 130."""
    setup_logging()
    if "DVC_STAGE" in os.environ:  # DVC has started it
        end_with_parent()
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
