"""Whatever bytes come, a reader reads them or refuses them in a sentence: no other exception, no hang, no full memory.

Each reader gets its own valid files with some bytes replaced, dropped or put in between, their checksums mended half of
the time, so that what lies behind the checksums is reached. `make test` gives each a few, always the same;
`pytest tests/faults/test_fuzz.py --hypothesis-profile=soak -rP` gives each thousands, other ones each time; `guided.py`
leads more of them to code that nothing has reached.
"""

import base64
import contextlib
import faulthandler
import gzip
import hashlib
import io
import json
import lzma
import resource
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import invocations
from PIL import Image
from safetensors.torch import save

from naevi.config import ModelConfig, ReadingConfig, parse_config
from naevi.datasets.decoding import read_image
from naevi.datasets.folder import import_folder
from naevi.datasets.mask_values import read_mask_values
from naevi.datasets.raw import write_folder
from naevi.errors import UserError
from naevi.experiments.named_results import NamedResult
from naevi.experiments.statistics import compare_scores, pair_results
from naevi.files import read_yaml
from naevi.images import read_mask, undeclared_values, values_to_classes, write_mask
from naevi.inference.predictor import write_predict_settings
from naevi.inference.segmenter import load_segmenter
from naevi.models.build import create_network
from naevi.models.pretrained import load_encoder_weights
from naevi.models.storage import load_model, save_model, weights_digest
from naevi.provenance import model_origin
from naevi.results.per_image import parse_per_image
from naevi.tracking import serving
from naevi.tracking.serving import EXAMPLE, SIGNATURE
from naevi.training import checkpoint
from naevi.training.checkpoint import Checkpoint
from naevi.workspace import Workspace
from tests.conftest import ROOT, TINY
from tests.datasets.archive_files import RAR_SIGNATURE, create_rar, create_tar, create_zip
from tests.helpers import HERE

MOST_MEMORY = 2**30
MOST_SECONDS = 5  # of one input, the processor's, so that other programs don't count
HUNG_SECONDS = 60  # of one input, the clock's; then the whole run ends and shows where it hung
VALUES = [0, 255]
PARAMS = read_yaml(ROOT / "params.yaml")
DATA = parse_config(
    PARAMS | {"data": PARAMS["data"] | {"source": "folder", "path": "archive", "classes": {"a": 0, "b": 255}}}
).data
READING = ReadingConfig(orientation="auto", white="auto", image_alpha="white", mask_alpha="auto", pages="first")
RNG = np.random.default_rng(0)


class Reader(NamedTuple):
    """What reads an input, valid inputs, and inputs to try."""

    read: Callable[[Any], Any]
    valid: list[Any]
    inputs: st.SearchStrategy[Any]


# Bytes


def mended(data: bytes) -> bytes:
    """The same with the checksums of a PNG, of a tar's or rar's headers made right, as far as one can tell."""
    if data.startswith(b"\x89PNG"):
        return _mended_chunks(data, start=8, size=lambda at: struct.unpack_from(">I", data, at)[0] + 12, crc=_png_crc)
    if data.startswith(RAR_SIGNATURE):
        return _mended_chunks(data, start=len(RAR_SIGNATURE), size=lambda at: _rar_size(data, at), crc=_rar_crc)
    if data[257:262] == b"ustar":
        return b"".join(_tar_block(data[at : at + 512]) for at in range(0, len(data), 512))
    return data


def _mended_chunks(
    data: bytes, start: int, size: Callable[[int], int], crc: Callable[[bytearray, int, int], None]
) -> bytes:
    mending, at = bytearray(data), start
    while at + 12 <= len(data) and at + size(at) <= len(data) and size(at) > 0:
        crc(mending, at, size(at))
        at += size(at)
    return bytes(mending)


def _png_crc(data: bytearray, at: int, size: int) -> None:
    struct.pack_into(">I", data, at + size - 4, zlib.crc32(data[at + 4 : at + size - 4]))


def _rar_size(data: bytes, at: int) -> int:
    kind, _, size = struct.unpack_from("<BHH", data, at + 2)
    return int(size) + (struct.unpack_from("<I", data, at + 7)[0] if kind == 0x74 else 0)


def _rar_crc(data: bytearray, at: int, size: int) -> None:
    head = struct.unpack_from("<H", data, at + 5)[0]
    struct.pack_into("<H", data, at, zlib.crc32(data[at + 2 : at + head]) & 0xFFFF)


def _tar_block(block: bytes) -> bytes:
    if block[257:262] != b"ustar":
        return block
    return block[:148] + b"%06o\0 " % (sum(block[:148] + block[156:]) + 8 * 32) + block[156:]


EDGES = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 10**5, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1]
NUMBERS = [
    number.to_bytes(size, order) for number in EDGES for size in (1, 2, 4, 8) for order in ("little", "big")
    if number < 256**size
]  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn, valid: list[bytes], mend: Callable[[bytes], bytes] = mended) -> bytes:
    """A valid file in which up to six places have other bytes; or just any bytes."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=600))
    data = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(1, 6))):
        end = len(data) if draw(st.booleans()) else min(len(data), 128)  # headers matter most
        at = draw(st.integers(0, end))
        piece = draw(st.one_of(st.binary(max_size=8), st.sampled_from(NUMBERS), st.sampled_from(valid).map(_a_part)))
        dropped = draw(st.sampled_from([len(piece), len(piece), 0, 1, 4, 40, 2**30]))
        data = data[:at] + piece + data[at + dropped :]
    return mend(data) if draw(st.booleans()) else data


def _a_part(data: bytes) -> bytes:
    return data[len(data) // 3 : len(data) // 2][:200]


# Readers


def a_picture(mode: str = "RGB") -> Image.Image:
    rgb = Image.fromarray(RNG.integers(0, 256, (8, 6, 3), dtype=np.uint8))
    return Image.fromarray(RNG.integers(0, 2**16, (8, 6), dtype=np.uint16)) if mode == "I;16" else rgb.convert(mode)


def a_mask(level: int = 255) -> Image.Image:
    return Image.fromarray(np.eye(8, 6, dtype=np.uint8) * np.uint8(level))


def saved(picture: Image.Image, kind: str, **settings: Any) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **settings)
    return content.getvalue()


def archive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """An archive of a user's images, through all of data/raw."""
    files = {"images/a.png": saved(a_picture(), "PNG"), "masks/a.png": saved(a_mask(), "PNG"), "labels.csv": LABELS[0]}
    tar, packed = create_tar(files, ""), create_rar(files)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as stored:
        for name, data in files.items():
            stored.writestr(name, data)
    pax = io.BytesIO()
    with tarfile.open(fileobj=pax, mode="w", format=tarfile.PAX_FORMAT) as long:
        for name, data in files.items():
            info = tarfile.TarInfo(f"{'x' * 120}/{name}")
            info.size, info.pax_headers = len(data), {"comment": "é"}
            long.addfile(info, io.BytesIO(data))
    valid = [create_zip(files), content.getvalue(), packed, tar, pax.getvalue()]
    wrapped = [gzip.compress, lzma.compress]
    workspace = Workspace(folder)

    def read(data: bytes) -> None:
        (folder / "archive").write_bytes(data)
        write_folder(workspace, folder / "raw", DATA)

    inner = st.tuples(spoilt([tar, pax.getvalue()]), st.sampled_from(wrapped)).map(lambda pair: pair[1](pair[0]))
    outer = [*valid, *(create_tar(files, kind) for kind in ("gz", "bz2", "xz"))]
    return Reader(read, outer, spoilt(outer) | spoilt(outer) | inner)


def pictures() -> list[bytes]:
    rgb = a_picture()
    turned = Image.Exif()
    turned[0x0112] = 6
    return [
        *(saved(a_picture(mode), "PNG") for mode in ("RGB", "RGBA", "P", "L", "LA", "1", "I;16")),
        saved(rgb, "BMP"),
        saved(rgb, "JPEG", exif=turned),
        saved(rgb.convert("CMYK"), "JPEG", progressive=True),
        *(saved(rgb, "TIFF", compression=kind) for kind in ("raw", "tiff_lzw", "tiff_deflate", "jpeg")),
        saved(a_picture("I;16"), "TIFF"),
        saved(rgb, "WEBP"),
        saved(rgb, "WEBP", lossless=True),
        saved(rgb, "GIF", save_all=True, append_images=[a_picture()]),
        saved(rgb, "JPEG2000"),
        saved(rgb, "PPM"),
        saved(a_picture("L"), "PPM"),
    ]


def image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A picture of any format."""
    valid = pictures()
    return Reader(lambda data: read_image(data, "a.png", READING), valid, spoilt(valid))


def mask(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A mask from elsewhere, to its classes."""
    grey = a_mask()
    valid = [saved(grey, kind) for kind in ("PNG", "BMP", "TIFF", "GIF", "PPM", "JPEG2000")]
    valid += [saved(grey.convert(mode), "PNG") for mode in ("1", "P", "RGB", "RGBA")]
    valid += [saved(Image.fromarray(np.eye(8, 6, dtype=np.uint16) * 255), kind) for kind in ("PNG", "TIFF")]

    def read(data: bytes) -> None:
        levels = read_mask_values(data, "a.png", VALUES, READING).values
        undeclared_values(levels, VALUES)
        values_to_classes(levels, VALUES)

    return Reader(read, valid, spoilt(valid))


def own_mask(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A mask of data/raw."""
    write_mask(folder / "a.png", np.eye(8, 6, dtype=np.uint8))
    valid = [(folder / "a.png").read_bytes()]

    def read(data: bytes) -> None:
        (folder / "b.png").write_bytes(data)
        read_mask(folder / "b.png")

    return Reader(read, valid, spoilt(valid))


LABELS = [
    b"image_id,diagnosis,group,split\na,common,1,train\n",
    b'\xef\xbb\xbfimage_id, label ,note\n\n a.png , common nevus, "x,\n y"\n',
    "image_id,class,fold\r\na,Nävus,0\r\n".encode(),
]


def labels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A labels.csv beside one image and its mask."""
    pair = [("images", "images/a.png", saved(a_picture(), "PNG")), ("masks", "masks/a.png", saved(a_mask(), "PNG"))]

    def read(data: bytes) -> None:
        import_folder([*pair, ("labels", "labels.csv", data)], folder, DATA)

    return Reader(read, LABELS, spoilt(LABELS))


def file_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Names of an image and its mask, as archives may have them."""
    picture, grey = saved(a_picture(), "PNG"), saved(a_mask(), "PNG")

    def read(names: tuple[str, str]) -> None:
        import_folder([("images", names[0], picture), ("masks", names[1], grey)], folder / "names", DATA)

    text = st.text(max_size=300) | st.text("aä/.\\\0 _-" + "\u0130\udcff", max_size=300)
    text = text | st.integers(100, 300).map("ä".__mul__)
    name = st.builds("{}{}".format, text, st.sampled_from([".png", ".PNG", "_mask.jpg", ""]))
    return Reader(read, [("a.png", "a_mask.png")], st.tuples(name, name) | name.map(lambda each: (each, each)))


def params_text(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """params.yaml as bytes."""
    valid = [(ROOT / HERE.params).read_bytes()]

    def read(data: bytes) -> None:
        (folder / "params.yaml").write_bytes(data)
        parse_config(read_yaml(folder / "params.yaml"))

    return Reader(read, valid, spoilt(valid))


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.dates() | st.binary(max_size=3)
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LEAVES | st.just("seed"), inner, max_size=3),
    max_leaves=8,
)


def params_values(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Other values at some places of params.yaml, of all types that YAML has."""
    text = (ROOT / HERE.params).read_text(encoding="utf-8")
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    committed = read_yaml(folder / "params.yaml")
    places = [(*above, key) for above, value in _walked(committed) if isinstance(value, dict) for key in value]
    change = st.tuples(st.sampled_from(places), TREES)

    def changed(changes: list[tuple[tuple[str, ...], Any]]) -> Any:
        values = read_yaml(folder / "params.yaml")
        for (*sections, key), value in changes:
            place = values
            for each in sections:
                place = place.get(each) if isinstance(place, dict) else None
            if isinstance(place, dict):
                place[key] = value
        return values

    return Reader(parse_config, [committed], st.lists(change, min_size=1, max_size=5).map(changed) | TREES)


def _walked(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield above, values
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _walked(value, (*above, key))


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


def model_json(folder: Path, monkeypatch: pytest.MonkeyPatch, model: Path) -> Reader:
    """model.json beside the weights that it describes."""
    valid = [(model / "model.json").read_bytes()]
    (folder / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())

    def read(data: bytes) -> None:
        (folder / "model.json").write_bytes(data)
        load_segmenter(folder, Workspace(model.parent))

    return Reader(read, valid, spoilt(valid))


def model_weights(folder: Path, monkeypatch: pytest.MonkeyPatch, model: Path) -> Reader:
    """model.safetensors with one changed byte beside the model.json that has its hash: none is read."""
    whole = (model / "model.safetensors").read_bytes()
    (folder / "model.json").write_bytes((model / "model.json").read_bytes())

    def read(change: tuple[int, int]) -> None:
        data = bytearray(whole)
        data[change[0]] ^= change[1]
        (folder / "model.safetensors").write_bytes(data)
        load_model(folder, device="cpu")
        assert change[1] == 0

    return Reader(read, [(0, 0)], st.tuples(st.integers(0, len(whole) - 1), st.integers(1, 255)))


def start_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """The .safetensors that model.weights names, which has no hash."""
    encoder = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.BatchNorm2d(2))
    valid = [save(dict(encoder.state_dict())), save({f"body.{k}": v.half() for k, v in encoder.state_dict().items()})]
    settings = ModelConfig(architecture="unet", encoder="resnet18", weights=str(folder / "a.safetensors"))

    def read(data: bytes) -> None:
        (folder / "a.safetensors").write_bytes(data)
        load_encoder_weights(encoder, settings)

    return Reader(read, valid, spoilt(valid, mend=_header_as_long_as_it_says))


def _header_as_long_as_it_says(data: bytes) -> bytes:
    """Safetensors whose first number is the length of the JSON behind it again."""
    end = data.rfind(b"}") + 1
    return struct.pack("<Q", end - 8) + data[8:] if end > 8 else data


def training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """The file where a training goes on; mended, it has the hash of what was changed."""
    monkeypatch.setattr(checkpoint, "SAVE_INTERVAL_S", -1)
    parts = {"network": torch.nn.Conv2d(1, 1, 1)}
    Checkpoint(folder / "a.pt").save(parts, [{"epoch": 1.0}])
    valid = [(folder / "a.pt").read_bytes()]

    def read(data: bytes) -> None:
        (folder / "a.pt").write_bytes(data)
        if not Checkpoint(folder / "a.pt").history:
            raise UserError("training starts from the beginning")

    def rehashed(data: bytes) -> bytes:
        return hashlib.sha256(data[32:]).digest() + data[32:]

    return Reader(read, valid, spoilt(valid, mend=rehashed))


def result(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """The per_image.csv of one of two results that are compared."""
    monkeypatch.chdir(folder)
    rows = "image_id,dataset,diagnosis,fold,class,dice,iou,tp,fn\n" + "".join(
        f"i{row},ph2,common,{row % 2},lesion,0.{row}5,0.{row},{row},1\n" for row in range(6)
    )
    valid = [rows.encode()]
    other = NamedResult("x", parse_per_image("x", "per_image.csv", valid[0]))
    settings = parse_config(read_yaml(ROOT / HERE.params)).evaluate.model_copy(update={"resamples": 100})

    def read(data: bytes) -> None:
        result = NamedResult("x", parse_per_image("x", "per_image.csv", data))
        compare_scores(pair_results(result, other), settings)

    return Reader(read, valid, spoilt(valid))


def request(folder: Path, monkeypatch: pytest.MonkeyPatch, model: Path) -> Reader:
    """The body of a request to the served model, through all that MLflow's server does with it."""
    mlflow.pyfunc.save_model(
        folder / "served",
        python_model=serving.__file__,
        artifacts={"model": str(model)},
        signature=SIGNATURE,
        input_example=EXAMPLE,
        pip_requirements=[],
    )
    served = mlflow.pyfunc.load_model(str(folder / "served"))
    schema = served.metadata.get_input_schema()

    def body(content: bytes) -> bytes:
        return json.dumps({"dataframe_records": [{"image": base64.b64encode(content).decode()}]}).encode()

    def read(data: bytes) -> None:
        try:
            answer = invocations(data, "application/json", served, schema)
        except MlflowException as error:
            if error.get_http_status_code() == 400 and "unexpected error" not in error.message:
                raise UserError(error.message) from error
            raise
        assert answer.status == 200, answer

    known = pictures()[:12]
    columns = json.dumps({"dataframe_split": {"columns": ["image"], "data": [[base64.b64encode(known[0]).decode()]]}})
    valid = [*map(body, known), columns.encode()]
    return Reader(read, valid, spoilt(valid) | spoilt(known).map(body))


# How many times as many inputs as the dearest get; those of the cheapest are fifty times as fast.
READERS = {
    image: 12,
    mask: 10,
    file_names: 5,
    request: 5,
    own_mask: 4,
    start_weights: 3,
    training: 3,
    archive: 3,
    params_values: 2,
    params_text: 1,
    labels: 1,
    model_json: 1,
    model_weights: 1,
    result: 1,
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
