"""Check a request before MLflow's scoring server sees it, so that none can fill the memory or learn about the host.

MLflow's server has no limits of its own: it reads a body of any size, echoes what it can't parse, and answers errors
with stack traces. This is an ASGI application around it.
"""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

from naevi.datasets.decoding import image_size
from naevi.errors import UserError, cut

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PAGES = {"/ping", "/health"}
INVOCATIONS = "/invocations"
SHAPE = 'Send {"dataframe_records": [{"image": "…"}, …]}, each image as base64.'
MAX_SENTENCE_CHARACTERS = 300


class Limits(NamedTuple):
    """The limits of a server."""

    body_bytes: int = 32 * 2**20
    images: int = 32  # in a request
    pixels: int = 50_000_000  # in all images of a request
    waiting: int = 8  # whole requests at a time. One of them is computed, the others wait. More get status 503
    seconds: float = 20  # until a request has arrived whole, and until its answer was read


class Refusal(Exception):
    """An answer to a request that MLflow doesn't see."""

    def __init__(self, status: int, sentence: str) -> None:
        """Keep the HTTP status and a sentence for the client."""
        super().__init__(sentence)
        self.status = status


class Guard:
    """The guarded application. Its only state is the number of whole requests and the bytes of all."""

    def __init__(self, app: App, limits: Limits) -> None:
        """Guard an ASGI application."""
        self._app, self._limits = app, limits
        self._waiting, self._bytes = 0, 0
        self._one_at_a_time = asyncio.Semaphore(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._handle(scope, receive, send)
        except Refusal as refusal:
            await _answer(send, refusal.status, str(refusal))

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PAGES and scope["method"] == "GET":
            await _send(send, *await self._ask(scope, b""))
            return
        if scope["path"] != INVOCATIONS:
            raise Refusal(404, f"There is no such page. Send images to {INVOCATIONS}.")
        if scope["method"] != "POST":
            raise Refusal(405, f"Send images to {INVOCATIONS} with POST.")
        headers = {name.lower(): value for name, value in scope["headers"]}
        if headers.get(b"content-type", b"").split(b";")[0].strip() != b"application/json":
            raise Refusal(415, f"The content type must be application/json. {SHAPE}")
        self._check_busy()
        body = bytearray()
        try:
            await self._read_body(headers, receive, body)
            self._check_busy()
            status, answer = await self._compute(scope, body)
        finally:
            self._bytes -= len(body)
        await _send(send, status, answer)

    def _check_busy(self) -> None:
        """Raise Refusal if enough requests wait, or if those that are still arriving fill the memory."""
        if self._waiting >= self._limits.waiting or self._bytes > self._limits.waiting * self._limits.body_bytes:
            raise Refusal(503, "The server is busy. Try again in a few seconds.")

    async def _compute(self, scope: Scope, body: bytearray) -> tuple[int, bytes]:
        """Return status and body of the answer to a whole request, when it is its turn."""
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                await asyncio.to_thread(check_body, body, self._limits)
                return await self._ask(scope, body)
        finally:
            self._waiting -= 1

    async def _read_body(self, headers: dict[bytes, bytes], receive: Receive, body: bytearray) -> None:
        """Add what arrives to `body`. Clients that are slow don't count as waiting, or few could keep others out."""
        claimed = headers.get(b"content-length", b"0")
        if not claimed.isdigit() or int(claimed[:20]) > self._limits.body_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._limits.seconds):
                while await self._read_part(receive, body):
                    self._check_busy()
        except TimeoutError as error:
            seconds = self._limits.seconds
            raise Refusal(408, f"The request didn't arrive within {seconds:g} seconds. Send it again.") from error

    async def _read_part(self, receive: Receive, body: bytearray) -> bool:
        """Add a part of a request to `body`. Return whether there is more."""
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "The connection ended before the request did.")
        part = message.get("body", b"")
        body += part
        self._bytes += len(part)
        if len(body) > self._limits.body_bytes:
            raise self._too_large()
        return bool(message.get("more_body"))

    def _too_large(self) -> Refusal:
        limit = self._limits.body_bytes // 2**20
        return Refusal(413, f"The request is larger than {limit} MiB. Send fewer or smaller images.")

    async def _ask(self, scope: Scope, body: bytes | bytearray) -> tuple[int, bytes]:
        """Return status and body of the application's answer.

        Raises Refusal for an error, with one sentence, without the request and without a stack trace.
        """
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            return messages.pop() if messages else await asyncio.Future()

        status, answer = 500, b""

        async def collect(message: Message) -> None:
            nonlocal status, answer
            if message["type"] == "http.response.start":
                status = message["status"]
            answer += message.get("body", b"")

        try:
            await self._app(scope, receive, collect)
        except Exception:  # the server's log has it
            status = 500
        if status >= 400:
            raise Refusal(status, _sentence(status, answer))
        return status, answer


def check_body(body: bytes | bytearray, limits: Limits) -> None:
    """Raise Refusal unless a body is JSON of the right shape with images within the limits. No pixel is decoded."""
    # Each image has a few brackets and commas, and base64 has none. JSON of other values could take 50 times its size.
    if sum(body.count(sign) for sign in (b"[", b"{", b",")) > 10 + 10 * limits.images:
        raise Refusal(413, f"The request has more than {limits.images} images, or other values. {SHAPE}")
    try:
        records = json.loads(body)["dataframe_records"]
        contents = [base64.b64decode(record["image"], validate=True) for record in records]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Refusal(400, f"The request can't be read. {SHAPE}") from error
    if not contents or len(contents) > limits.images:
        raise Refusal(413, f"A request must have 1 to {limits.images} images, but this one has {len(contents)}.")
    pixels = 0
    for number, content in enumerate(contents, start=1):
        try:
            height, width = image_size(content, f"image {number}")
        except UserError as error:
            raise Refusal(400, cut(str(error), MAX_SENTENCE_CHARACTERS)) from error
        pixels += height * width
    if pixels > limits.pixels:
        raise Refusal(
            413,
            f"The images have {pixels} pixels together, but at most {limits.pixels} are allowed. Send fewer at a time.",
        )


def _sentence(status: int, answer: bytes) -> str:
    """Return what a client may know about an error of MLflow's server: what is wrong with an image.

    MLflow writes some of the request before the sentence of `ServedModel.predict`.
    """
    try:
        message = str(json.loads(answer)["message"]).rpartition("\nError: ")[2]
    except (ValueError, KeyError, TypeError):
        message = ""
    if message.startswith("image "):
        return cut(message, MAX_SENTENCE_CHARACTERS)
    return "The model can't process this request." if status < 500 else "The model failed on this request."


async def _answer(send: Send, status: int, sentence: str) -> None:
    await _send(send, status, json.dumps({"error": sentence}).encode())


async def _send(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    # So that the rest of a large body isn't read, and that no client keeps a connection that others need.
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
