"""Data and models through an S3 server: what one clone pushes, another pulls, and trains nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from naevi import demo, paths
from tests import pipeline

for package, name in (("dvc-s3", "dvc_s3"), ("moto", "moto")):
    pytest.importorskip(name, reason=f"{package} is not installed; `make test-services` installs it")

KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
OUTPUTS = (paths.RAW, paths.PREPARED, paths.MODELS, paths.PREDICTIONS)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the server, with one bucket."""
    command = ["moto_server", "--host", "127.0.0.1"]
    with pipeline.served(tmp_path_factory.mktemp("server"), *command, health="/moto-api/") as address:
        requests.put(f"{address}/bucket", timeout=30).raise_for_status()
        yield address


@pytest.fixture(scope="module")
def pushed(small_repository: Path, tmp_path_factory: pytest.TempPathFactory, address: str) -> Path:
    """A repository that has run, with a remote to which it has pushed, all of it committed."""
    folder = pipeline.copy(small_repository, tmp_path_factory.mktemp("s3") / "first")
    pipeline.run(folder, "dvc", "remote", "add", "--default", "team", "s3://bucket/naevi")
    pipeline.run(folder, "dvc", "remote", "modify", "team", "endpointurl", address)
    pipeline.run(folder, "dvc", "push", **KEYS)
    demo.commit(folder, "Run and push")
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
        out = str(tmp_path / f"found-{folder.name}")
        pipeline.run(folder, "python", "-m", "naevi", "predict", str(paths.RAW / "images"), "--out", out)
    assert len(contents(tmp_path / "found-first" / "masks")) == 20
    assert contents(tmp_path / "found-clone" / "masks") == contents(tmp_path / "found-first" / "masks")


def contents(folder: Path) -> dict[str, bytes]:
    """What each file there holds."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
