"""Data and models through an S3 server: one clone pushes them, and another pulls them without training."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from naevi.datasets.synthetic import synthetic_image
from naevi.experiments.demo import commit
from tests import pipeline
from tests.helpers import HERE

for package, name in (("dvc-s3", "dvc_s3"), ("moto", "moto")):
    pytest.importorskip(name, reason=f"{package} is not installed; `make test-services` installs it")

pytestmark = pytest.mark.slow

KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
OUTPUTS = (HERE.raw, HERE.prepared, HERE.models, HERE.predictor, HERE.predictions)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with one bucket."""
    command = ["moto_server", "--host", "127.0.0.1"]
    with pipeline.served(tmp_path_factory.mktemp("server"), *command, health="/moto-api/") as address:
        requests.put(f"{address}/bucket", timeout=30).raise_for_status()
        yield address


@pytest.fixture(scope="module")
def pushed(small_repository: Path, tmp_path_factory: pytest.TempPathFactory, address: str) -> Path:
    """A repository with a finished run, pushed to its remote and committed."""
    folder = pipeline.copy(small_repository, tmp_path_factory.mktemp("s3") / "first")
    pipeline.run(folder, "dvc", "remote", "add", "--default", "team", "s3://bucket/naevi")
    pipeline.run(folder, "dvc", "remote", "modify", "team", "endpointurl", address)
    pipeline.run(folder, "dvc", "push", **KEYS)
    commit(folder, "Run and push")
    return folder


@pytest.mark.parametrize("commands", [("pull", "repro"), ("repro --pull",)], ids=" then ".join)
def test_another_clone_trains_nothing_and_predicts_the_same(
    pushed: Path, tmp_path: Path, commands: tuple[str, ...]
) -> None:
    clone = tmp_path / "clone"
    pipeline.run(tmp_path, "git", "clone", "--quiet", str(pushed), str(clone))
    assert not any((clone / output).exists() for output in OUTPUTS)

    printed = "".join(pipeline.run(clone, "dvc", *command.split(), **KEYS) for command in commands)

    assert "Running stage" not in printed, printed
    assert "> python" not in printed, printed
    assert pipeline.run(clone, "git", "status", "--porcelain") == ""
    for output in OUTPUTS:
        assert contents(clone / output) == contents(pushed / output), output
    for folder in (pushed, clone):
        out = str(tmp_path / f"predicted-{folder.name}")
        pipeline.run(folder, "python", "-m", "naevi", "predict", str(HERE.raw / "images"), "--out", out)
    assert len(contents(tmp_path / "predicted-first" / "masks")) == 20
    assert contents(tmp_path / "predicted-clone" / "masks") == contents(tmp_path / "predicted-first" / "masks")


def test_an_archive_is_imported_and_its_next_version_is_noticed(tmp_path: Path, address: str) -> None:
    """The commands of docs/scaling.md."""
    folder = tmp_path / "repository"
    pipeline.make(folder, "data.source=folder", "data.path=data/external/set.zip")
    (folder / "data" / "external").mkdir(parents=True, exist_ok=True)
    upload(address, numbers=range(5))
    pipeline.run(folder, "dvc", "remote", "add", "store", "s3://bucket")
    pipeline.run(folder, "dvc", "remote", "modify", "store", "endpointurl", address)
    pipeline.run(folder, "dvc", "import-url", "remote://store/set.zip", "data/external/set.zip", **KEYS)
    pipeline.run(folder, "dvc", "repro", "download")
    assert len(contents(folder / HERE.raw / "masks")) == 5

    upload(address, numbers=range(6))
    pipeline.run(folder, "dvc", "update", "data/external/set.zip.dvc", **KEYS)
    pipeline.run(folder, "dvc", "repro", "download")

    assert len(contents(folder / HERE.raw / "masks")) == 6


def upload(address: str, numbers: range) -> None:
    """Upload an archive of synthetic images and masks."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for number in numbers:
            sample = synthetic_image(number, height=32, width=48, seed=1)
            for role, pixels in (("images", sample.image), ("masks", sample.mask * np.uint8(255))):
                png = io.BytesIO()
                Image.fromarray(pixels).save(png, "PNG")
                archive.writestr(f"set/{role}/{number}.png", png.getvalue())
    import boto3

    keys = {name.lower(): value for name, value in KEYS.items()}
    client = boto3.client("s3", endpoint_url=address, region_name="us-east-1", **keys)
    client.put_object(Bucket="bucket", Key="set.zip", Body=content.getvalue())
    client.close()


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of each file in a folder, by its relative path."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
