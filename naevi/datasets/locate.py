"""Find the folder or archive that contains the data set."""

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from naevi.datasets.archives import ARCHIVE_SUFFIXES, HTML_PAGE, read_head
from naevi.datasets.download import DOWNLOAD_ADVICE, PARTIAL_SUFFIX, download_file
from naevi.errors import UserError
from naevi.workspace import Workspace

logger = logging.getLogger(__name__)


def find_source(workspace: Workspace, addresses: Sequence[str], missing: str) -> Path:
    """Return the folder or archive to read.

    It is the one that NAEVI_SOURCE names, otherwise data/external/ if it contains anything, otherwise a download from
    the first of `addresses` that works.

    Raises UserError if NAEVI_SOURCE names nothing that exists, and with the message `missing` if there is no source.
    """
    named = os.environ.get("NAEVI_SOURCE")
    if named and re.match("https?://", named):
        return _download_archive(named, workspace.external_data)
    if named:
        if not Path(named).exists():
            raise UserError(
                f"NAEVI_SOURCE is {named}, which doesn't exist. "
                f"Set it to a folder or an archive ({', '.join(ARCHIVE_SUFFIXES)})."
            )
        return Path(named)
    external = workspace.external_data
    if any(not path.name.startswith(".") and path.suffix != PARTIAL_SUFFIX for path in external.glob("*")):
        return external
    for address in addresses:
        try:
            return _download_archive(address, external)
        except UserError as error:
            logger.warning("%s", error)
    raise UserError(missing)


def _download_archive(address: str, folder: Path) -> Path:
    path = download_file(address, folder)
    if HTML_PAGE.match(read_head(path)):
        path.unlink()  # otherwise the next call would use it as the archive
        raise UserError(f"{address} is a web page (a login or a list of links), not an archive. {DOWNLOAD_ADVICE}")
    return path
