"""Find the folder or archive that contains the data set."""

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from naevi.datasets.archives import ARCHIVE_SUFFIXES, HTML_PAGE, is_archive, read_head
from naevi.datasets.download import DOWNLOAD_ADVICE, PARTIAL_SUFFIX, download_file
from naevi.datasets.members import HIDDEN
from naevi.errors import UserError, first_ten
from naevi.workspace import Workspace

logger = logging.getLogger(__name__)

LAYOUT = (
    "They are a folder or an archive with images/<id>.png, masks/<id>.png (or other image formats) and, optionally, "
    "labels.csv."
)


def find_own_images(workspace: Workspace, path: str) -> Path:
    """Return the folder or archive that data.path names. Warns if others can't get it through DVC.

    Raises UserError if it doesn't exist, and if it contains links to folders or to nothing. DVC doesn't follow these,
    so it wouldn't notice changed images.
    """
    source = workspace.root / path
    if named := os.environ.get("NAEVI_SOURCE"):
        logger.warning("NAEVI_SOURCE (%s) is used for PH2 only. Your images are read from data.path, %s.", named, path)
    if not source.exists():
        remedy = "Run `dvc pull`, or set" if is_tracked(workspace, source) else "Set"
        raise UserError(f"data.path is {path}, which doesn't exist. {remedy} data.path to your images. {LAYOUT}")
    if links := _links_to_folders(source):
        raise UserError(
            f"data.path contains links to folders or to nothing, which DVC doesn't follow: {first_ten(links)}. Replace "
            "each with the folder itself. data.path may be a link, and so may single files in it."
        )
    if not source.resolve().is_relative_to(workspace.root.resolve()):
        logger.warning(
            "data.path is %s, outside this repository. dvc.lock will contain this path, so others can't reproduce the "
            "result. To avoid this, copy it to data/%s, run `dvc add data/%s` and set data.path to data/%s.",
            path,
            *[source.resolve().name] * 3,
        )
    elif not is_tracked(workspace, source):
        logger.warning(
            "data.path, %s, isn't tracked by DVC yet. Run `dvc add %s` and commit %s.dvc, so that each result can be "
            "reproduced.",
            *[path.rstrip("/")] * 3,
        )
    return source


def _links_to_folders(source: Path) -> list[str]:
    """Return the links in a folder that don't lead to a file. Hidden ones are left out."""
    links = [path for path in sorted(source.rglob("*")) if path.is_symlink() and not path.is_file()]
    return [str(path) for path in links if not HIDDEN.search(path.relative_to(source).as_posix())]


def is_tracked(workspace: Workspace, source: Path) -> bool:
    """Return whether `dvc add` has tracked a path or a folder above it."""
    return any(path.with_name(f"{path.name}.dvc").exists() for path in (source, *source.parents) if path.name)


def find_source(workspace: Workspace, addresses: Sequence[str], missing: str) -> Path:
    """Return the folder or archive of a public data set.

    It is what NAEVI_SOURCE names, otherwise what data/external/ contains, except a user's own data sets that `dvc add`
    has tracked there, otherwise a download from the first of `addresses` that works. Inside an experiment, both are
    also looked up in the repository that it was started from.

    Raises UserError if NAEVI_SOURCE doesn't exist, and with the message `missing` if there is no source.
    """
    named = os.environ.get("NAEVI_SOURCE")
    if named and re.match("https?://", named):
        return _download_archive(named, workspace.external_data)
    if named:
        found = [folder / named for folder in (Path(), workspace.main_repository) if (folder / named).exists()]
        if not found:
            raise UserError(
                f"NAEVI_SOURCE is {named}, which doesn't exist. "
                f"Set it to a folder or an archive ({', '.join(ARCHIVE_SUFFIXES)})."
            )
        return found[0]
    external = workspace.external_data
    if found := _public_data_sets(external):
        only_one = len(found) == 1 and (found[0].is_dir() or is_archive(found[0].name))
        return found[0] if only_one else external
    for address in addresses:
        try:
            return _download_archive(address, external)
        except UserError as error:
            logger.warning("%s", error)
    raise UserError(missing)


def _public_data_sets(external: Path) -> list[Path]:
    """Return what data/external/ contains, except a user's own data sets: what `dvc add` tracks and isn't named PH2."""
    tracked = {path.stem for path in external.glob("*.dvc")}
    return [
        path
        for path in sorted(external.glob("*"))
        if not path.name.startswith(".") and path.suffix not in (PARTIAL_SUFFIX, ".dvc")
        if path.name not in tracked or "ph2" in path.name.lower()
    ]


def _download_archive(address: str, folder: Path) -> Path:
    path = download_file(address, folder)
    if HTML_PAGE.match(read_head(path)):
        path.unlink()  # otherwise the next call would use it as the archive
        raise UserError(f"{address} is a web page (a login or a list of links), not an archive. {DOWNLOAD_ADVICE}")
    return path
