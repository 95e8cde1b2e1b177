"""Send 50 requests at once, each with the largest allowed image, to `naevi serve`: answers, times and memory.

python -m benchmarks.served_requests models:/ph2@champion
"""

import argparse
import base64
import io
import json
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import NamedTuple

import numpy as np
import psutil
import requests
from PIL import Image

from naevi.tracking.ui import HOST, free_port

SIDE = 7000  # px; 49 of the allowed 50 million pixels
INTERVAL_S = 0.05  # between two looks at the memory


def main() -> None:
    """Start the server and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="MLflow's address of a model")
    parser.add_argument("--requests", type=int, default=50)
    arguments = parser.parse_args()
    port = free_port()
    command = [sys.executable, "-m", "naevi", "serve", "--model", arguments.model, "--port", str(port)]
    server = subprocess.Popen(command)
    try:
        address = f"http://{HOST}:{port}"
        wait_for(address, server)
        noise = np.random.default_rng(0).integers(0, 4, (SIDE, SIDE), dtype=np.uint8)
        for name, pixels in (("flat", np.zeros_like(noise)), ("noise", noise)):
            body = encode(pixels)
            measured = measure(address, server.pid, body, arguments.requests)
            print(f"{name}: {len(body) / 2**20:.1f} MiB each; {describe(measured)}")
    finally:
        server.terminate()


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    """Return when the server answers."""
    while server.poll() is None:
        try:
            if requests.get(f"{address}/health", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.5)
    sys.exit("The server ended.")


def encode(pixels: np.ndarray) -> bytes:
    """Return a request with this image as a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    image = base64.b64encode(file.getvalue()).decode()
    return json.dumps({"dataframe_records": [{"image": image}]}).encode()


class Measured(NamedTuple):
    """Status and seconds of each answer, and the memory of the server before and at most, bytes."""

    answers: list[tuple[int, float]]
    before: int
    most: int


def measure(address: str, pid: int, body: bytes, number: int) -> Measured:
    """Send a request several times at once, and watch the memory of the server."""
    process, ended = psutil.Process(pid), Event()

    def watch() -> int:
        most = 0
        while not ended.wait(INTERVAL_S):
            most = max(most, process.memory_info().rss)
        return most

    def send(_: int) -> tuple[int, float]:
        start = time.perf_counter()
        headers = {"Content-Type": "application/json"}
        status = requests.post(f"{address}/invocations", data=body, headers=headers, timeout=600).status_code
        return status, time.perf_counter() - start

    before = process.memory_info().rss
    with ThreadPoolExecutor(number + 1) as threads:
        memory = threads.submit(watch)
        answers = list(threads.map(send, range(number)))
        ended.set()
    return Measured(answers, before, memory.result())


def describe(measured: Measured) -> str:
    """Return a line about a measurement."""
    answers = measured.answers
    counts = ", ".join(f"{count} times {status}" for status, count in sorted(Counter(s for s, _ in answers).items()))
    slowest = {status: max(seconds for s, seconds in answers if s == status) for status, _ in answers}
    times = ", ".join(f"{seconds:.1f} s ({status})" for status, seconds in sorted(slowest.items()))
    memory = f"memory {measured.before / 1e9:.1f} GB before, {measured.most / 1e9:.1f} GB at most"
    return f"{counts}; slowest {times}; {memory}"


if __name__ == "__main__":
    main()
