"""Files are downloaded completely or not at all, from a local server that fails in various ways."""

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from naevi.datasets import download
from naevi.datasets.download import download_file
from naevi.errors import UserError
from tests.helpers import ROOT

CONTENT = np.random.default_rng(0).bytes(3 * 2**20 + 5)
CUT = download.CHUNK_BYTES  # a complete chunk is certainly written to the partial file


@dataclass
class Site:
    """A server of one file: its content, its abilities, and how it fails, request by request."""

    content: bytes = CONTENT
    version: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    supports_ranges: bool = True
    supports_if_range: bool = True
    statuses: list[int] = field(default_factory=list)  # of the first responses, which are 200 afterwards
    cuts: list[int] = field(default_factory=list)  # bytes that the first responses send before they break off
    requests: list[str] = field(default_factory=list)  # the Range of each request, or the status of an error
    release: Event = field(default_factory=Event)  # until it is set, a response that is cut off stays open
    url: str = ""

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Respond to one request."""
        status = self.statuses.pop(0) if self.statuses else 200
        if status != 200:
            self.requests.append(str(status))
            handler.send_error(status)
            return
        range_header = handler.headers.get("Range", "")
        self.requests.append(range_header)
        is_same = not self.supports_if_range or handler.headers.get("If-Range") in self.version.values()
        start = int(range_header[len("bytes=") : -1]) if range_header and self.supports_ranges and is_same else 0
        if start >= len(self.content):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        for name, value in {**self.version, "Content-Length": str(len(self.content) - start)}.items():
            handler.send_header(name, value)
        handler.end_headers()
        cut = self.cuts.pop(0) if self.cuts else None
        handler.wfile.write(self.content[start : None if cut is None else start + cut])
        if cut is not None:
            handler.wfile.flush()
            self.release.wait()


@pytest.fixture
def site() -> Iterator[Site]:
    """Yield a site that works unless a test changes it."""
    site = Site()
    site.release.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.serve(self)

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}/some/PH2%20data.tar.gz?dl=1"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield site
        site.release.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again without a delay, and use no proxy for this machine."""
    monkeypatch.setattr(download, "RETRY_DELAYS_S", (0.0, 0.0, 0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_downloaded_and_named_after_its_address(site: Site, tmp_path: Path) -> None:
    path = download_file(site.url, tmp_path / "new")

    digest = hashlib.sha256(site.url.encode()).hexdigest()[:8]
    assert path == tmp_path / "new" / f"PH2_data-{digest}.tar.gz"
    assert path.read_bytes() == CONTENT
    assert names(tmp_path / "new") == [path.name]


@pytest.mark.parametrize(
    ("end", "start"), [("", "download-"), ("..%2F..%2Fetc", "etc-"), ("a%0Ab%5C.rar", "a_b_-"), (200 * "x", 100 * "x")]
)
def test_no_address_gives_a_path_outside_the_folder(site: Site, tmp_path: Path, end: str, start: str) -> None:
    site.content = b"short"

    path = download_file(site.url.partition("some")[0] + end, tmp_path)

    assert path.parent == tmp_path
    assert path.name.startswith(start)


def test_an_existing_file_is_not_downloaded_again(site: Site, tmp_path: Path) -> None:
    assert download_file(site.url, tmp_path) == download_file(site.url, tmp_path)
    assert site.requests == [""]


@pytest.mark.parametrize("version", [{"ETag": '"one"'}, {"ETag": 'W/"one"', "Last-Modified": "some day"}])
def test_a_broken_download_is_resumed(
    site: Site, tmp_path: Path, version: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    site.version, site.cuts = version, [CUT, CUT]

    assert download_file(site.url, tmp_path).read_bytes() == CONTENT
    assert site.requests == ["", "bytes=1048576-", "bytes=2097152-"]
    assert len(caplog.messages) == 2
    for message in caplog.messages:
        assert re.fullmatch(rf"{re.escape(site.url)}: .*IncompleteRead.*\. Trying again in 0 s\.", message)


@pytest.mark.parametrize("version", [{}, {"ETag": 'W/"one"'}])
def test_without_a_strong_version_a_download_starts_again(site: Site, tmp_path: Path, version: dict[str, str]) -> None:
    site.version, site.cuts = version, [CUT]

    assert download_file(site.url, tmp_path).read_bytes() == CONTENT
    assert site.requests == ["", ""]


def test_without_ranges_a_download_starts_again(site: Site, tmp_path: Path) -> None:
    site.supports_ranges, site.cuts = False, [CUT]

    assert download_file(site.url, tmp_path).read_bytes() == CONTENT
    assert site.requests == ["", "bytes=1048576-"]


@pytest.mark.parametrize(("supports_if_range", "attempts"), [(True, 1), (False, 2)])
@pytest.mark.parametrize("content", [CONTENT[::-1], b"shorter"])
def test_a_file_that_has_changed_is_downloaded_from_the_start(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supports_if_range: bool, attempts: int, content: bytes
) -> None:
    site.cuts = [CUT]
    monkeypatch.setattr(download, "RETRY_DELAYS_S", ())
    with pytest.raises(UserError):
        download_file(site.url, tmp_path)

    site.content, site.version, site.supports_if_range = content, {"ETag": '"two"'}, supports_if_range
    monkeypatch.setattr(download, "RETRY_DELAYS_S", (0.0,))

    assert download_file(site.url, tmp_path).read_bytes() == content
    assert site.requests[1:] == ["bytes=1048576-", ""][:attempts]


@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_server_is_tried_again(
    site: Site, tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    site.statuses = [status]

    assert download_file(site.url, tmp_path).read_bytes() == CONTENT
    assert len(caplog.messages) == 1
    assert re.fullmatch(rf"{re.escape(site.url)}: {status} .+\. Trying again in 0 s\.", caplog.messages[0])


def test_a_server_that_stays_busy_is_an_error_after_the_last_attempt(site: Site, tmp_path: Path) -> None:
    site.statuses = 9 * [500]

    with pytest.raises(UserError) as error:
        download_file(site.url, tmp_path)

    assert str(error.value) == (
        f"{site.url} can't be downloaded (500 Internal Server Error, at the last of 5 attempts). "
        "Download it in another way and set NAEVI_SOURCE to the file."
    )
    assert site.requests == 5 * ["500"]


def test_a_silent_server_is_tried_again(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUTS_S", (5.0, 0.2))
    site.release.clear()
    site.cuts = [CUT, 0]

    assert download_file(site.url, tmp_path).read_bytes() == CONTENT
    assert site.requests == ["", "bytes=1048576-", "bytes=1048576-"]


@pytest.mark.parametrize(("status", "reason"), [(404, "404 Not Found"), (403, "403 Forbidden")])
def test_a_permanent_error_is_not_tried_again(site: Site, tmp_path: Path, status: int, reason: str) -> None:
    site.statuses = [status]

    with pytest.raises(
        UserError, match=rf"^{re.escape(site.url)} can't be downloaded \({reason}\)\. Download it in another way "
    ):
        download_file(site.url, tmp_path / "new")

    assert site.requests == [str(status)]
    assert not (tmp_path / "new").exists()


def unused_port() -> int:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port: int = reserved.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:{port}/a.zip", "Connection refused"),
        ("http://nowhere.invalid/a.zip", "(Failed to resolve|Unable to connect to proxy)"),
        ("http:///a.zip", "No host supplied"),
    ],
)
def test_without_a_connection_there_is_one_attempt(
    tmp_path: Path, address: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = address.format(port=unused_port())

    with pytest.raises(
        UserError, match=rf"^{re.escape(url)} can't be downloaded \([^\n]*{reason}[^\n]*\. Download it in another"
    ):
        download_file(url, tmp_path)

    assert caplog.messages == []


def test_a_missing_proxy_is_mentioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_port()}")

    with pytest.raises(
        UserError, match=r"^http://example.invalid/a.zip can't be downloaded \(.*[Pp]roxy.*Connection refused"
    ):
        download_file("http://example.invalid/a.zip", tmp_path)


def test_a_download_is_resumed_after_ctrl_c(site: Site, tmp_path: Path) -> None:
    site.release.clear()
    site.cuts = [CUT]
    program = (
        "import sys; from pathlib import Path; from naevi.datasets.download import download_file;"
        "from stages.runner import run_stage;"
        "run_stage(lambda: print(download_file(sys.argv[1], Path(sys.argv[2]))))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, site.url, str(tmp_path)], env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as process:
        deadline = time.monotonic() + 120
        while not any(path.stat().st_size for path in tmp_path.glob("*.gz.part")) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)

    assert process.returncode == 130
    assert [name.partition("-")[0] for name in names(tmp_path)] == ["PH2_data", "PH2_data"]
    assert all(name.endswith(".part") for name in names(tmp_path))
    assert download_file(site.url, tmp_path).read_bytes() == CONTENT
    assert site.requests == ["", "bytes=1048576-"]
    assert len(names(tmp_path)) == 1
