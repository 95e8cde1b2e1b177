"""Files come whole from a real server on this machine, however it behaves, or not at all."""

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

from naevi import fetching
from naevi.fetching import fetch
from naevi.refusal import Refusal
from tests.conftest import ROOT

CONTENT = np.random.default_rng(0).bytes(3 * 2**20 + 5)
CUT = 2**20  # a piece of fetching, which keeps whole pieces for sure


@dataclass
class Site:
    """A server of one file: what it holds, what it can, and how it fails, request by request."""

    content: bytes = CONTENT
    marks: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    has_ranges: bool = True
    heeds_if_range: bool = True
    statuses: list[int] = field(default_factory=list)  # of the first requests; 200 after them
    cuts: list[int] = field(default_factory=list)  # bytes that the first answers give before the line breaks
    asked: list[str] = field(default_factory=list)  # the Range of each request, or what was answered without a file
    hold: Event = field(default_factory=Event)  # unless it is set, an answer that is cut off stays open
    url: str = ""

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        status = self.statuses.pop(0) if self.statuses else 200
        if status != 200:
            self.asked.append(str(status))
            handler.send_error(status)
            return
        wanted = handler.headers.get("Range", "")
        self.asked.append(wanted)
        is_same = not self.heeds_if_range or handler.headers.get("If-Range") in self.marks.values()
        start = int(wanted[len("bytes=") : -1]) if wanted and self.has_ranges and is_same else 0
        if start >= len(self.content):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        for name, value in {**self.marks, "Content-Length": str(len(self.content) - start)}.items():
            handler.send_header(name, value)
        handler.end_headers()
        cut = self.cuts.pop(0) if self.cuts else None
        handler.wfile.write(self.content[start : None if cut is None else start + cut])
        if cut is not None:
            handler.wfile.flush()
            self.hold.wait()


@pytest.fixture
def site() -> Iterator[Site]:
    """A site that behaves well until a test says otherwise."""
    site = Site()
    site.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.serve(self)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}/some/PH2%20data.tar.gz?dl=1"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield site
        site.hold.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once, and ask no proxy for this machine."""
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0, 0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole_under_the_name_of_its_address(site: Site, tmp_path: Path) -> None:
    path = fetch(site.url, tmp_path / "new")

    digest = hashlib.sha256(site.url.encode()).hexdigest()[:8]
    assert path == tmp_path / "new" / f"PH2_data-{digest}.tar.gz"
    assert path.read_bytes() == CONTENT
    assert names(tmp_path / "new") == [path.name]


@pytest.mark.parametrize(
    ("end", "start"), [("", "download-"), ("..%2F..%2Fetc", "etc-"), ("a%0Ab%5C.rar", "a_b_-"), (200 * "x", 100 * "x")]
)
def test_no_address_gives_a_name_that_leads_elsewhere(site: Site, tmp_path: Path, end: str, start: str) -> None:
    site.content = b"short"

    path = fetch(site.url.partition("some")[0] + end, tmp_path)

    assert path.parent == tmp_path
    assert path.name.startswith(start)


def test_what_is_there_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    assert fetch(site.url, tmp_path) == fetch(site.url, tmp_path)
    assert site.asked == [""]


@pytest.mark.parametrize("marks", [{"ETag": '"one"'}, {"ETag": 'W/"one"', "Last-Modified": "some day"}])
def test_a_broken_line_is_taken_up_where_it_broke(
    site: Site, tmp_path: Path, marks: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    site.marks, site.cuts = marks, [CUT, CUT]

    assert fetch(site.url, tmp_path).read_bytes() == CONTENT
    assert site.asked == ["", "bytes=1048576-", "bytes=2097152-"]
    assert re.fullmatch(
        rf"({re.escape(site.url)}: .*IncompleteRead.*; next try in 0 s\n){{2}}", capsys.readouterr().err
    )


@pytest.mark.parametrize("marks", [{}, {"ETag": 'W/"one"'}])
def test_what_no_server_vouches_for_is_begun_again(site: Site, tmp_path: Path, marks: dict[str, str]) -> None:
    site.marks, site.cuts = marks, [CUT]

    assert fetch(site.url, tmp_path).read_bytes() == CONTENT
    assert site.asked == ["", ""]


def test_a_server_without_ranges_is_asked_from_the_start(site: Site, tmp_path: Path) -> None:
    site.has_ranges, site.cuts = False, [CUT]

    assert fetch(site.url, tmp_path).read_bytes() == CONTENT
    assert site.asked == ["", "bytes=1048576-"]


@pytest.mark.parametrize(("heeds_if_range", "asked"), [(True, 1), (False, 2)])
@pytest.mark.parametrize("content", [CONTENT[::-1], b"shorter"])
def test_a_file_that_changed_meanwhile_is_begun_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heeds_if_range: bool, asked: int, content: bytes
) -> None:
    site.cuts = [CUT]
    monkeypatch.setattr(fetching, "WAITS", ())
    with pytest.raises(Refusal):
        fetch(site.url, tmp_path)

    site.content, site.marks, site.heeds_if_range = content, {"ETag": '"two"'}, heeds_if_range
    monkeypatch.setattr(fetching, "WAITS", (0.0,))

    assert fetch(site.url, tmp_path).read_bytes() == content
    assert site.asked[1:] == ["bytes=1048576-", ""][:asked]


@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_server_is_asked_again(
    site: Site, tmp_path: Path, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    site.statuses = [status]

    assert fetch(site.url, tmp_path).read_bytes() == CONTENT
    assert re.fullmatch(rf"{re.escape(site.url)}: {status} .+; next try in 0 s\n", capsys.readouterr().err)


def test_a_server_that_stays_busy_is_refused_after_the_last_try(site: Site, tmp_path: Path) -> None:
    site.statuses = 9 * [500]

    with pytest.raises(Refusal) as refusal:
        fetch(site.url, tmp_path)

    assert str(refusal.value) == (
        f"{site.url} can't be fetched (500 Internal Server Error, at the last of 5 tries); "
        "fetch it in another way and name the file by NAEVI_SOURCE."
    )
    assert site.asked == 5 * ["500"]


def test_a_silent_server_is_asked_again(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TIMEOUTS", (5.0, 0.2))
    site.hold.clear()
    site.cuts = [CUT, 0]

    assert fetch(site.url, tmp_path).read_bytes() == CONTENT
    assert site.asked == ["", "bytes=1048576-", "bytes=1048576-"]


@pytest.mark.parametrize(("status", "said"), [(404, "404 Not Found"), (403, "403 Forbidden")])
def test_a_no_is_taken_at_once(site: Site, tmp_path: Path, status: int, said: str) -> None:
    site.statuses = [status]

    with pytest.raises(Refusal, match=rf"^{re.escape(site.url)} can't be fetched \({said}\); fetch it in another way "):
        fetch(site.url, tmp_path / "new")

    assert site.asked == [str(status)]
    assert not (tmp_path / "new").exists()


def unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:{port}/a.zip", "Connection refused"),
        ("http://nowhere.invalid/a.zip", "(Failed to resolve|Unable to connect to proxy)"),
        ("http:///a.zip", "No host supplied"),
    ],
)
def test_without_a_connection_there_is_one_try(
    tmp_path: Path, address: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = address.format(port=unused_port())

    with pytest.raises(Refusal, match=rf"^{re.escape(url)} can't be fetched \([^\n]*{said}[^\n]*; fetch it in another"):
        fetch(url, tmp_path)

    assert capsys.readouterr().err == ""


def test_a_proxy_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_port()}")

    with pytest.raises(
        Refusal, match=r"^http://example.invalid/a.zip can't be fetched \(.*[Pp]roxy.*Connection refused"
    ):
        fetch("http://example.invalid/a.zip", tmp_path)


def test_ctrl_c_leaves_what_a_later_call_goes_on_with(site: Site, tmp_path: Path) -> None:
    site.hold.clear()
    site.cuts = [CUT]
    program = (
        "import sys; from pathlib import Path; from naevi.fetching import fetch; from naevi.refusal import run;"
        "run(lambda: print(fetch(sys.argv[1], Path(sys.argv[2]))))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, site.url, str(tmp_path)], env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as running:
        until = time.monotonic() + 120
        while not any(path.stat().st_size for path in tmp_path.glob("*.gz.part")) and time.monotonic() < until:
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)

    assert running.returncode == 130
    assert [name.partition("-")[0] for name in names(tmp_path)] == ["PH2_data", "PH2_data"]
    assert all(name.endswith(".part") for name in names(tmp_path))
    assert fetch(site.url, tmp_path).read_bytes() == CONTENT
    assert site.asked == ["", "bytes=1048576-"]
    assert len(names(tmp_path)) == 1
