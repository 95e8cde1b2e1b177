"""`auto` becomes definite, and what is asked for is what there is."""

import os
from typing import get_args

import pytest
import torch

from naevi.config import RuntimeConfig
from naevi.refusal import Refusal
from naevi.runtime import Runtime, resolve, told_of_memory

pytestmark = pytest.mark.usefixtures("torch_threads")


def test_auto_is_resolved_to_what_is_here() -> None:
    runtime = resolve(RuntimeConfig(device="auto", precision="auto", threads="auto", compile=False))

    assert runtime.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert runtime.precision in get_args(Runtime.__annotations__["precision"])
    assert 1 <= runtime.threads <= (os.cpu_count() or 1)
    assert torch.get_num_threads() == runtime.threads


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_what_is_named_is_kept(precision: str) -> None:
    runtime = resolve(
        RuntimeConfig.model_validate({"device": "cpu", "precision": precision, "threads": 3, "compile": True})
    )

    assert runtime == Runtime("cpu", precision, 3, compile=True)  # type: ignore[arg-type]
    assert torch.get_num_threads() == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="cuda is here")
def test_a_device_that_is_not_here_is_refused() -> None:
    message = r"^runtime.device is cuda, but torch finds no CUDA device here; set it to auto or cpu\.$"
    with pytest.raises(Refusal, match=message):
        resolve(RuntimeConfig(device="cuda", precision="auto", threads="auto", compile=False))


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_a_network_computes_in_the_precision_that_is_named(precision: str, dtype: torch.dtype) -> None:
    layer, image = torch.nn.Conv2d(3, 1, 1), torch.zeros(1, 3, 4, 4)

    with Runtime("cpu", precision, 1).autocast():  # type: ignore[arg-type]
        assert layer(image).dtype == dtype


def test_processes_of_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = RuntimeConfig(device="cpu", precision="fp32", threads="auto", compile=False)
    alone = resolve(settings)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")

    assert resolve(settings) == Runtime("cpu", "fp32", max(1, alone.threads // 2), processes=4)


def test_a_full_memory_says_what_to_lower() -> None:
    message = (
        r"^the GPU's memory is full \(CUDA out of memory\); "
        r"lower train.batch_size, preprocess.size or take a smaller model.encoder\.$"
    )
    with pytest.raises(Refusal, match=message), told_of_memory():
        raise torch.OutOfMemoryError("CUDA out of memory")
