"""The guard before MLflow's scoring server, alone and around the real server."""

import asyncio
import base64
import contextlib
import io
import json
import socket
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
import uvicorn
from PIL import Image

from benchmarks.served_requests import measure
from naevi.tracking.guard import Guard, Limits, Refusal, check_body
from naevi.tracking.server import _protocol
from tests import pipeline
from tests.datasets.image_files import encode, gray
from tests.helpers import HERE

LIMITS = Limits(body_bytes=1000, images=2, pixels=100, waiting=2)
IMAGE = encode(gray(np.zeros((8, 8))))


def body(*contents: bytes) -> bytes:
    """Return a request with these files."""
    records = [{"image": base64.b64encode(content).decode()} for content in contents]
    return json.dumps({"dataframe_records": records}).encode()


def refusal(content: bytes, limits: Limits = LIMITS) -> tuple[int, str]:
    """Return status and sentence for a body that is refused."""
    with pytest.raises(Refusal) as error:
        check_body(content, limits)
    return error.value.status, str(error.value)


def test_a_body_within_the_limits_passes() -> None:
    check_body(body(IMAGE), LIMITS)


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"{", 400, "The request can't be read. Send"),
        (b'{"dataframe_records": [{"image": 7}]}', 400, "The request can't be read. Send"),
        (b'{"dataframe_records": [{"image": "<script>"}]}', 400, "The request can't be read. Send"),
        (b'{"inputs": []}', 400, "The request can't be read. Send"),
        (b"[1, 2]", 400, "The request can't be read. Send"),
        (b'{"dataframe_records": []}', 413, "A request must have 1 to 2 images, but this one has 0."),
        (body(IMAGE, IMAGE, IMAGE), 413, "A request must have 1 to 2 images, but this one has 3."),
        (body(IMAGE, IMAGE), 413, "The images have 128 pixels together, but at most 100 are allowed."),
        (body(b"%PDF-1.7"), 400, "image 1 can't be read as an image: its format is unknown."),
        (b"[" * 1000, 413, "The request has more than 2 images, or other values."),
        (b"[" * 30, 400, "The request can't be read. Send"),
    ],
)
def test_other_bodies_get_a_status_and_a_sentence(content: bytes, status: int, words: str) -> None:
    found, sentence = refusal(content)

    assert (found, sentence.startswith(words)) == (status, True), sentence
    assert len(sentence) <= 301


async def call(guard: Guard, **changes: Any) -> tuple[int, bytes]:
    """Return status and body that a guarded application answers to a request."""
    content = changes.pop("content", body(IMAGE))
    headers = changes.pop("headers", {"content-type": "application/json", "content-length": str(len(content))})
    scope = {"type": "http", "method": "POST", "path": "/invocations"} | changes
    scope["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
    chunks = [content[start : start + 100] for start in range(0, len(content), 100)] or [b""]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def send(message: Any) -> None:
        sent.append(message)

    await guard(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def answering(status: int, answer: bytes) -> Any:
    """Return an application that answers like this."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": answer})

    return app


def test_an_answer_passes_unchanged() -> None:
    assert asyncio.run(call(Guard(answering(200, b"masks"), LIMITS))) == (200, b"masks")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"path": "/docs"}, 404),
        ({"method": "DELETE"}, 405),
        ({"headers": {"content-type": "text/csv"}}, 415),
        ({"headers": {}}, 415),
        ({"headers": {"content-type": "application/json", "content-length": "1001"}}, 413),
        ({"headers": {"content-type": "application/json", "content-length": "-5"}}, 413),
        ({"headers": {"content-type": "application/json"}, "content": b"x" * 1001}, 413),
    ],
)
def test_what_is_no_request_for_masks_never_reaches_the_model(changes: dict[str, Any], status: int) -> None:
    async def unreachable(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    found, answer = asyncio.run(call(Guard(unreachable, LIMITS), **changes))

    assert found == status
    assert list(json.loads(answer)) == ["error"]


@pytest.mark.parametrize(
    ("status", "answer", "sentence"),
    [
        (
            400,
            json.dumps({"message": "Failed to predict data '   image\n0  b'...'. \nError: image 1 is dark."}),
            "image 1 is dark.",
        ),
        (
            400,
            json.dumps({"error_code": "BAD_REQUEST", "message": "secret", "stack_trace": "/home/me"}),
            "The model can't process this request.",
        ),
        (500, "Traceback /home/me", "The model failed on this request."),
    ],
)
def test_errors_tell_nothing_about_the_host(status: int, answer: str, sentence: str) -> None:
    found, content = asyncio.run(call(Guard(answering(status, answer.encode()), LIMITS)))

    assert (found, json.loads(content)) == (status, {"error": sentence})


def test_a_slow_request_is_ended() -> None:
    """It sends a part of its body and then nothing, while others wait."""

    async def run() -> tuple[int, bytes]:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            if sent:
                await asyncio.Future()
            sent.append(None)
            return {"type": "http.request", "body": b"{", "more_body": True}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": headers}
        await asyncio.wait_for(Guard(answering(200, b""), LIMITS._replace(seconds=0.1))(scope, receive, send), 60)
        return sent[1]["status"], sent[2]["body"]

    status, answer = asyncio.run(run())

    assert (status, json.loads(answer)) == (
        408,
        {"error": "The request didn't arrive within 0.1 seconds. Send it again."},
    )


def test_more_requests_than_may_wait_are_told_to_come_back() -> None:
    async def run() -> list[int]:
        release, working, most = asyncio.Event(), 0, 0

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            nonlocal working, most
            working += 1
            most = max(most, working)
            await release.wait()
            working -= 1
            await answering(200, b"")(scope, receive, send)

        guard = Guard(slow, LIMITS)
        calls = [asyncio.create_task(call(guard)) for _ in range(5)]
        await asyncio.sleep(0.1)
        release.set()
        statuses = [status for status, _ in await asyncio.gather(*calls)]
        assert most == 1
        return statuses

    assert sorted(asyncio.run(run())) == [200, 200, 503, 503, 503]


@pytest.mark.parametrize(("parts", "honest"), [(0, 200), (10, 503)])
def test_requests_that_never_arrive_do_not_keep_others_out_unless_they_fill_the_memory(parts: int, honest: int) -> None:
    """Five slow clients, where two requests may wait. All together may send 2,000 bytes."""

    async def run() -> int:
        async def stall(sent: list[bytes]) -> dict[str, Any]:
            if not sent:
                await asyncio.Future()
            return {"type": "http.request", "body": sent.pop(), "more_body": True}

        async def ignore(message: Any) -> None:
            pass

        guard = Guard(answering(200, b"masks"), LIMITS)
        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": headers}
        bodies = [[b"x" * 100] * parts for _ in range(5)]
        slow = [asyncio.create_task(guard(scope, partial(stall, sent), ignore)) for sent in bodies]
        await asyncio.sleep(0.1)
        status, _ = await call(guard)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        assert (await call(guard))[0] == 200
        return status

    assert asyncio.run(run()) == honest


@contextlib.asynccontextmanager
async def listening(app: Any, **settings: Any) -> AsyncIterator[uvicorn.Server]:
    """Run a server in this process. Silent clients are disconnected after 0.2 seconds."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=_protocol(0.2), log_level="critical", **settings))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server
    finally:
        server.should_exit = True
        await serving


@contextlib.contextmanager
def connected(server: uvicorn.Server, content: bytes) -> Iterator[socket.socket]:
    """Connect to a server in this process and send this."""
    with socket.create_connection(server.servers[0].sockets[0].getsockname()) as client:
        client.sendall(content)
        client.setblocking(False)
        yield client


async def receive(client: socket.socket, size: int) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, size), 60)


PING = b"GET /ping HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"


def test_the_connection_of_a_client_that_never_reads_is_closed() -> None:
    async def run() -> int:
        answer = bytes(50_000_000)  # more than fits in the buffers of both sockets
        async with listening(answering(200, answer)) as server:
            with connected(server, PING):
                for _ in range(200):
                    await asyncio.sleep(0.05)
                    if server.server_state.total_requests and not server.server_state.connections:
                        break
                return len(server.server_state.connections)

    assert asyncio.run(run()) == 0


def test_connections_that_send_nothing_do_not_keep_others_out() -> None:
    """More connections than the server takes, and one that sends half a header. They are closed after a while."""

    async def run() -> list[bytes]:
        async def ask() -> bytes:
            with connected(server, PING) as client:
                return await receive(client, len("HTTP/1.1 200"))

        async with listening(Guard(answering(200, b""), LIMITS), limit_concurrency=20) as server:
            with contextlib.ExitStack() as stack:
                silent = [stack.enter_context(connected(server, content)) for content in [b""] * 30 + [PING[:20]]]
                await asyncio.sleep(0.05)
                before = await ask()
                assert [await receive(client, 1) for client in silent] == [b""] * 31  # closed
                return [before, await ask()]

    assert asyncio.run(run()) == [b"HTTP/1.1 503", b"HTTP/1.1 200"]


@pytest.fixture(scope="module")
def address(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `naevi serve` with the model of the one result."""
    folder = pipeline.copy(small_repository, tmp_path_factory.mktemp("served") / "repository")
    (result,) = pipeline.runs(folder, "result")
    command = ["naevi", "serve", "--model", f"runs:/{result.info.run_id}/model"]
    with pipeline.served(folder, *command) as address:
        yield address


def send(address: str, *contents: bytes) -> requests.Response:
    return requests.post(
        f"{address}/invocations", data=body(*contents), headers={"Content-Type": "application/json"}, timeout=300
    )


@pytest.mark.slow
def test_served_masks_are_those_of_predict(small_repository: Path, tmp_path: Path, address: str) -> None:
    images = sorted((small_repository / HERE.raw / "images").iterdir())[:6]
    pipeline.run(small_repository, "naevi", "predict", *map(str, images), "--out", str(tmp_path / "out"))

    response = send(address, *(image.read_bytes() for image in images))

    masks = [base64.b64decode(row["mask"]) for row in response.json()["predictions"]]
    assert masks == [(tmp_path / "out" / "masks" / image.name).read_bytes() for image in images]


@pytest.mark.slow
def test_hostile_requests_get_one_sentence(address: str) -> None:
    """Nested JSON, a table, garbage of 200 MB, and a file that is no image."""
    url, pages = f"{address}/invocations", io.BytesIO()
    Image.new("L", (8, 6)).save(pages, "TIFF", save_all=True, append_images=[Image.new("L", (8, 6))])
    answers = [
        requests.post(url, data=b"[" * 1_000_000, headers={"Content-Type": "application/json"}, timeout=60),
        requests.post(url, data=b"image\nx\n", headers={"Content-Type": "text/csv"}, timeout=60),
        send(address, b"%!PS-Adobe-3.0"),
        send(address, pages.getvalue()),
    ]
    with contextlib.suppress(requests.ConnectionError):  # the server closes before it has read everything
        answers.append(
            requests.post(url, data=bytes(200_000_000), headers={"Content-Type": "application/json"}, timeout=60)
        )

    assert [answer.status_code for answer in answers[:4]] == [413, 415, 400, 400]
    assert answers[3].json()["error"].startswith("image 1 can't be read as an image: it has more than one page.")
    for answer in answers:
        assert len(answer.content) < 500
        assert list(answer.json()) == ["error"]
    assert requests.get(f"{address}/health", timeout=60).ok


@pytest.mark.slow
def test_many_large_requests_at_once_are_all_answered_in_bounded_memory(address: str) -> None:
    """Twelve at once, each with the largest allowed picture, 50 megapixels of one color in less than a MB."""
    large = encode(gray(np.full((7000, 7000), 90)))
    server = next(
        process
        for process in psutil.process_iter()
        if f"--port {address.rpartition(':')[2]}" in " ".join(process.cmdline())
    )

    answers, before, highest = measure(address, server.pid, body(large), 12)

    statuses = [status for status, _ in answers]
    assert len(statuses) == 12
    assert set(statuses) == {200, 503}
    assert highest - before < 3 * 2**30
