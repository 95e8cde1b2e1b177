"""Open a page in the browser as soon as its server answers: python -m naevi.tracking.browser ADDRESS."""

import os
import sys
import time
import urllib.request
import webbrowser
from urllib.error import URLError

SECONDS = 120  # a server that hasn't started by then has failed, and has said why
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


def has_display() -> bool:
    """Return whether this machine can show a browser."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in DISPLAYS)


def open_when_up(address: str) -> None:
    """Open a page once its server answers, or do nothing if it doesn't start."""
    for _ in range(SECONDS):
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except (URLError, TimeoutError, ConnectionError):
            time.sleep(1)
        else:
            webbrowser.open(address)
            return


if __name__ == "__main__":
    open_when_up(sys.argv[1])
