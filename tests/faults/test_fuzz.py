"""Whatever bytes come, a reader reads them or refuses them in a sentence: no other exception, no hang, no full memory.

Each reader gets its own valid files with some bytes replaced, dropped or put in between, their checksums mended half of
the time, so that what lies behind the checksums is reached. `make test` gives each a few, always the same;
`make soak` gives each thousands; `guided.py` leads more of them to code that nothing has reached.
"""

import contextlib
import faulthandler
import io
import json
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from PIL import Image

from naevi.config import parse_config
from naevi.datasets.decoding import read_image
from naevi.errors import UserError
from naevi.inference.predictor import write_predict_settings
from naevi.models.build import create_network
from naevi.models.storage import save_model, weights_digest
from naevi.provenance import model_origin
from naevi.workspace import Workspace
from tests.conftest import ROOT, TINY
from tests.faults import image_readers, model_readers, parameter_readers
from tests.faults.image_readers import READING, saved
from tests.faults.reader import Reader

MOST_MEMORY = 2**30
MOST_SECONDS = 5  # of one input, the processor's, so that other programs don't count
HUNG_SECONDS = 60  # of one input, the clock's; then the whole run ends and shows where it hung


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, params_with: Callable[[Any], Any]) -> Path:
    """The folder of a model that nobody trained, its params.yaml beside it."""
    config = parse_config(params_with(TINY))
    network = create_network(config.model, classes=2, seed=0)
    image_table = pd.DataFrame({"image_id": ["a"], "dataset": ["phantoms"], "sha256": ["0"]})
    folder = tmp_path_factory.mktemp("fuzz") / "model"
    parts, start = {"train": ["a"], "val": ["a"]}, weights_digest(network)
    origin = model_origin(Workspace(ROOT), config, "0", {"device": "cpu"}, image_table, parts, start)
    save_model(folder, network, origin, pd.DataFrame({"epoch": [1]}))
    write_predict_settings(folder, config.evaluate, config.runtime)
    (folder.parent / "params.yaml").write_text(json.dumps(params_with(TINY)), encoding="utf-8")
    return folder


# How many times as many inputs as the dearest get; those of the cheapest are fifty times as fast.
READERS = {
    image_readers.image: 12,
    image_readers.mask: 10,
    image_readers.file_names: 5,
    model_readers.request: 5,
    image_readers.own_mask: 4,
    parameter_readers.yaml_documents: 4,
    model_readers.request_values: 3,
    model_readers.start_weights: 3,
    model_readers.training: 3,
    image_readers.archive: 3,
    parameter_readers.stage_tables: 3,
    parameter_readers.params_values: 2,
    model_readers.model_values: 2,
    parameter_readers.params_text: 1,
    image_readers.labels: 1,
    model_readers.model_json: 1,
    model_readers.model_weights: 1,
    parameter_readers.result: 1,
}


@pytest.mark.filterwarnings("ignore")  # users get no exceptions from warnings
@pytest.mark.parametrize("make", READERS, ids=lambda make: make.__name__)
def test_a_reader_reads_or_refuses(
    make: Callable[..., Reader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    given_model = {"model": model} if "model" in make.__annotations__ else {}
    reader = make(tmp_path, monkeypatch, **given_model)
    for each in reader.valid:
        reader.read(each)
    before, seconds, counts = memory_from_here(), [0.0], {"read": 0, "refused": 0}

    @settings(max_examples=settings().max_examples * READERS[make])
    @given(reader.inputs)
    def fuzz(data: Any) -> None:
        faulthandler.dump_traceback_later(HUNG_SECONDS, exit=True, file=sys.__stderr__)
        start = time.process_time()
        try:
            reader.read(data)
            counts["read"] += 1
        except UserError:
            counts["refused"] += 1
        finally:
            seconds.append(time.process_time() - start)
            faulthandler.cancel_dump_traceback_later()

    with contextlib.redirect_stdout(io.StringIO()):
        fuzz()

    grown = most_memory() - before
    print(
        f"{make.__name__:14} {sum(counts.values()):7} inputs {counts['read']:7} read {sum(seconds):6.1f} s "
        f"{1000 * max(seconds):6.0f} ms at most {grown / 2**20:5.0f} MiB more"
    )
    assert grown < MOST_MEMORY
    assert max(seconds) < MOST_SECONDS


@pytest.mark.soak
@pytest.mark.parametrize("make", READERS, ids=lambda make: make.__name__)
def test_a_search_that_is_led_to_new_code_finds_nothing_either(
    make: Callable[..., Reader], tmp_path: Path, model: Path
) -> None:
    pytest.importorskip("atheris", reason="`pip install atheris`, where it has a wheel, leads the search")
    options = [f"-runs={5000 * READERS[make]}", f"-timeout={HUNG_SECONDS}", "-rss_limit_mb=8192"]
    given_model = [str(model)] if "model" in make.__annotations__ else []
    command = [sys.executable, "-m", "tests.faults.guided", make.__name__, *given_model, *options]

    done = subprocess.run(
        [*command, f"-artifact_prefix={tmp_path}/"], cwd=ROOT, capture_output=True, text=True, errors="replace"
    )

    assert done.returncode == 0, done.stderr[-4000:]
    print(make.__name__, next(line for line in done.stderr.splitlines() if "DONE" in line))


def test_the_largest_picture_takes_less_than_a_gibibyte() -> None:
    before = memory_from_here()

    read_image(saved(Image.new("RGBA", (7071, 7071)), "PNG", compress_level=1), "a.png", READING)

    assert most_memory() - before < MOST_MEMORY


def test_a_frame_of_gigabytes_is_refused_before_it_takes_memory() -> None:
    """What atheris found: a GIF of 37 bytes, 6 x 8 px by its head, whose frame is 59284 x 39532 and then wiped."""
    head, wipe = struct.pack("<6sHHBBB", b"GIF89a", 6, 8, 0, 0, 0), b"!\xf9\x04\x08\0\0\0\0"
    frame = struct.pack("<cHHHHB", b",", 0, 0, 59284, 39532, 0)
    before = memory_from_here()

    with pytest.raises(UserError, match=r"Image size \(2343615088 pixels\) exceeds limit of 50000000 pixels"):
        read_image(head + wipe + frame + b"\x02\x02\x4c\x01\x00;", "a.gif", READING)

    assert most_memory() - before < MOST_MEMORY


def memory_from_here() -> int:
    """What this process has in memory, bytes; Linux counts the most of it anew."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return most_memory()


def most_memory() -> int:
    """What this process has had in memory at most, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
