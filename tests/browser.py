"""A real browser without a screen."""

import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(NAMES)} is installed")


def load(address: str, folder: Path, size: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Load a page in a window of this size, in px. The standard output is the page after its scripts have run.

    `folder` gets the profile of the browser.
    """
    return subprocess.run(
        [
            str(BROWSER),
            *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={size}"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--enable-logging=stderr", "--v=0", f"--user-data-dir={folder / 'profile'}"),
            *("--virtual-time-budget=20000", *options, "--dump-dom", address),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
