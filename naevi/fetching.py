"""Files from the network: fetched once, resumed where a connection broke, in place only when whole."""

import hashlib
import math
import re
import sys
import time
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import requests
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from naevi.progress import progress
from naevi.refusal import Refusal, reason

WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before the second try, the third, ...
TIMEOUTS = (10.0, 60.0)  # seconds to connect, and without a byte
PIECE = 2**20
PART = ".part"  # ends the name of all that isn't whole
WAY_ON = "fetch it in another way and name the file by NAEVI_SOURCE"


class _Passing(Exception):
    """What may be gone at the next try."""


class _Final(Exception):
    """What won't."""


def fetch(url: str, folder: Path) -> Path:
    """Download into <folder>/<stem>-<8 digits of the address' hash><suffixes>, unless it is there; return its path.

    What breaks is tried again, from where it broke if the server and the file allow it. Beside the file lie meanwhile
    <name>.part and <name>.etag.part, which a later call goes on with.

    Raises Refusal where there is no connection, the server says no, or the last try breaks.
    """
    name = re.sub(r"[^\w.-]", "_", PurePosixPath(unquote(urlsplit(url).path)).name)[-100:] or "download"
    stem, dot, suffixes = name.partition(".")
    target = folder / f"{stem}-{hashlib.sha256(url.encode()).hexdigest()[:8]}{dot}{suffixes}"
    if target.exists():
        return target
    part, mark = folder / f"{target.name}{PART}", folder / f"{target.name}.etag{PART}"
    try:
        for wait in (*WAITS, None):
            try:
                _download(url, part, mark)
                break
            except _Passing as error:
                if wait is None:
                    raise _Final(f"{reason(error)}, at the last of {len(WAITS) + 1} tries") from error
                print(f"{url}: {reason(error)}; next try in {wait:g} s", file=sys.stderr, flush=True)
                time.sleep(wait)
        part.replace(target)
        mark.unlink(missing_ok=True)
    except _Final as error:
        raise Refusal(f"{url} can't be fetched ({reason(error)}); {WAY_ON}.") from error
    return target


def _download(url: str, part: Path, mark: Path) -> None:
    """One try: the whole file into `part`, or the rest of it if `mark` holds what the server calls the same file."""
    known = mark.read_text() if mark.exists() and part.exists() else ""
    done = part.stat().st_size if known else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-", "If-Range": known} if done else {})
    with _answer(url, headers) as response:
        status = response.status_code
        place = response.headers.get("Content-Range", "")
        is_rest = place.startswith(f"bytes {done}-") and _mark(response) in ("", known)
        if status == 416 or (status == 206 and not is_rest):
            mark.unlink(missing_ok=True)
            raise _Passing("the file there has changed")
        if not response.ok:
            raise (_Passing if status == 429 or status >= 500 else _Final)(f"{status} {response.reason}")
        if status != 206:
            mark.unlink(missing_ok=True)  # first, lest it vouch for bytes of another file
            part.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(b"")
            mark.write_text(_mark(response))
            done = 0
        length = int(response.headers.get("Content-Length", 0))
        pieces = response.raw.stream(PIECE, decode_content=False)
        try:
            with part.open("ab") as file:
                for piece in progress(pieces, total=math.ceil(length / PIECE) or None, label="fetch", unit="MiB"):
                    file.write(piece)
        except HTTPError as error:
            raise _Passing(reason(error)) from error
    if length and part.stat().st_size != done + length:
        raise _Passing(f"{part.stat().st_size - done} of {length} bytes")


def _answer(url: str, headers: dict[str, str]) -> requests.Response:
    """The head of the server's answer; raises _Passing where the server was reached and broke off, else _Final."""
    try:
        return requests.get(url, headers=headers, stream=True, timeout=TIMEOUTS)
    except requests.RequestException as error:
        inner = error.args[0] if error.args else error
        if isinstance(inner, ProtocolError | ReadTimeoutError):
            raise _Passing(reason(inner)) from error
        raise _Final(str(getattr(inner, "reason", inner))) from error


def _mark(response: requests.Response) -> str:
    """By what the server knows this very file again; weak ETags don't."""
    etag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified", "") if etag.startswith("W/") else etag
