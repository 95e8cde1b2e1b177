"""Download files: resume broken downloads, and put a file in place only when it is complete."""

import hashlib
import logging
import math
import re
import time
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import requests
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from naevi.errors import UserError, describe_error
from naevi.progress import progress

logger = logging.getLogger(__name__)

RETRY_DELAYS_S = (1.0, 2.0, 4.0, 8.0)  # before the second attempt, the third, ...
TIMEOUTS_S = (10.0, 60.0)  # to connect, and without receiving a byte
CHUNK_BYTES = 2**20
PARTIAL_SUFFIX = ".part"  # of the names of incomplete files
DOWNLOAD_ADVICE = "Download it in another way and set NAEVI_SOURCE to the file."


class RetryableError(Exception):
    """A problem that another attempt may solve."""


class PermanentError(Exception):
    """A problem that another attempt can't solve."""


def download_file(url: str, folder: Path) -> Path:
    """Download to <folder>/<stem>-<8 digits of the URL's hash><suffixes> unless that file exists; return its path.

    A broken download is tried again, and resumed if the server supports it. Until the file is complete, <name>.part
    and <name>.etag.part are beside it, so that a later call can resume too.

    Raises UserError if there is no connection, the server refuses, or the last attempt fails.
    """
    name = re.sub(r"[^\w.-]", "_", PurePosixPath(unquote(urlsplit(url).path)).name)[-100:] or "download"
    stem, dot, suffixes = name.partition(".")
    target = folder / f"{stem}-{hashlib.sha256(url.encode()).hexdigest()[:8]}{dot}{suffixes}"
    if target.exists():
        return target
    partial = folder / f"{target.name}{PARTIAL_SUFFIX}"
    version_file = folder / f"{target.name}.etag{PARTIAL_SUFFIX}"
    try:
        for delay in (*RETRY_DELAYS_S, None):
            try:
                _download(url, partial, version_file)
                break
            except RetryableError as error:
                if delay is None:
                    attempts = len(RETRY_DELAYS_S) + 1
                    raise PermanentError(f"{describe_error(error)}, at the last of {attempts} attempts") from error
                logger.warning("%s: %s. Trying again in %g s.", url, describe_error(error), delay)
                time.sleep(delay)
        partial.replace(target)
        version_file.unlink(missing_ok=True)
    except PermanentError as error:
        raise UserError(f"{url} can't be downloaded ({describe_error(error)}). {DOWNLOAD_ADVICE}") from error
    return target


def _download(url: str, partial: Path, version_file: Path) -> None:
    """Make one attempt: download the file, or the rest if the server still has the version in `version_file`."""
    version = version_file.read_text() if version_file.exists() and partial.exists() else ""
    size = partial.stat().st_size if version else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={size}-", "If-Range": version} if size else {})
    with _send_request(url, headers) as response:
        status = response.status_code
        content_range = response.headers.get("Content-Range", "")
        is_rest = content_range.startswith(f"bytes {size}-") and _file_version(response) in ("", version)
        if status == 416 or (status == 206 and not is_rest):
            version_file.unlink(missing_ok=True)
            raise RetryableError("the file on the server has changed")
        if not response.ok:
            raise (RetryableError if status == 429 or status >= 500 else PermanentError)(f"{status} {response.reason}")
        if status != 206:
            version_file.unlink(missing_ok=True)  # first, so that it never describes the bytes of another version
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(b"")
            version_file.write_text(_file_version(response))
            size = 0
        _append(response, partial, size)


def _append(response: requests.Response, partial: Path, size: int) -> None:
    """Append the content of a response to a file of `size` bytes; raise RetryableError if it is incomplete."""
    length = int(response.headers.get("Content-Length", 0))
    chunks = response.raw.stream(CHUNK_BYTES, decode_content=False)
    number = math.ceil(length / CHUNK_BYTES) or None
    try:
        with partial.open("ab") as file:
            for chunk in progress(chunks, total=number, label="download", unit="MiB"):
                file.write(chunk)
    except HTTPError as error:
        raise RetryableError(describe_error(error)) from error
    received = partial.stat().st_size - size
    if length and received != length:
        raise RetryableError(f"{received} of {length} bytes")


def _send_request(url: str, headers: dict[str, str]) -> requests.Response:
    """Return the response with its body unread.

    Raises RetryableError if the server was reached but broke off, and PermanentError otherwise.
    """
    try:
        return requests.get(url, headers=headers, stream=True, timeout=TIMEOUTS_S)
    except requests.RequestException as error:
        inner = error.args[0] if error.args else error
        if isinstance(inner, ProtocolError | ReadTimeoutError):
            raise RetryableError(describe_error(inner)) from error
        raise PermanentError(str(getattr(inner, "reason", inner))) from error


def _file_version(response: requests.Response) -> str:
    """Return what identifies this version of the file on the server: a strong ETag, otherwise the date."""
    etag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified", "") if etag.startswith("W/") else etag
