"""`auto` becomes definite, and what is asked for is what there is."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from naevi.config import Config, RuntimeConfig
from naevi.errors import UserError
from naevi.models import device
from naevi.models.build import create_network
from naevi.models.device import ComputeSettings, resolve_compute_settings
from naevi.training import loop, step
from naevi.training.checkpoint import Checkpoint
from naevi.training.cuda_graph import capture_step
from naevi.training.loop import explain_out_of_memory
from tests.training.test_loop import phantoms

pytestmark = pytest.mark.usefixtures("torch_threads")


def test_auto_is_resolved_to_what_is_here() -> None:
    compute = resolve_compute_settings(RuntimeConfig(device="auto", precision="auto", threads="auto"))

    assert compute.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert compute.threads == len(os.sched_getaffinity(0)) == torch.get_num_threads()


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the chip's own list of features needs Linux")
def test_auto_is_bf16_if_the_chip_computes_it(torch_threads: None) -> None:
    features = set(Path("/proc/cpuinfo").read_text().split())
    expected = "bf16" if features & {"avx512_bf16", "amx_bf16"} else "fp32"

    assert resolve_compute_settings(RuntimeConfig(device="cpu", precision="auto", threads=1)).precision == expected


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_what_is_named_is_kept(precision: str) -> None:
    runtime = resolve_compute_settings(
        RuntimeConfig.model_validate({"device": "cpu", "precision": precision, "threads": 3})
    )

    assert runtime == ComputeSettings("cpu", precision, 3)  # type: ignore[arg-type]
    assert torch.get_num_threads() == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="cuda is here")
def test_a_device_that_is_not_here_is_refused() -> None:
    message = r"^runtime.device is cuda, but torch finds no CUDA device\. Set it to auto or cpu\.$"
    with pytest.raises(UserError, match=message):
        resolve_compute_settings(RuntimeConfig(device="cuda", precision="auto", threads="auto"))


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_a_network_computes_in_the_precision_that_is_named(precision: str, dtype: torch.dtype) -> None:
    layer, image = torch.nn.Conv2d(3, 1, 1), torch.zeros(1, 3, 4, 4)

    with ComputeSettings("cpu", precision, 1).autocast():  # type: ignore[arg-type]
        assert layer(image).dtype == dtype


def test_processes_of_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = RuntimeConfig(device="cpu", precision="fp32", threads="auto")
    alone = resolve_compute_settings(settings)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")

    assert resolve_compute_settings(settings) == ComputeSettings("cpu", "fp32", max(1, alone.threads // 2), processes=4)


def test_a_full_memory_says_what_to_lower() -> None:
    message = (
        r"^The GPU is out of memory \(CUDA out of memory\)\. Lower train.batch_size or preprocess.size, or choose a "
        r"smaller model.encoder\.$"
    )
    with pytest.raises(UserError, match=message), explain_out_of_memory():
        raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need CUDA")
@pytest.mark.parametrize("loss", ["cross-entropy+dice", "lovasz"])
def test_a_recorded_step_gives_the_bytes_of_the_step(
    config_with: Callable[[dict[str, Any]], Config], monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    """Two shapes of batches, each recorded at its third call."""
    config = config_with({"train.epochs": 4, "train.batch_size": 4, "train.loss": loss})
    runtime, lesions = ComputeSettings("cuda", "bf16", 1), phantoms(0, 7)
    fitted = []
    for capture in (step.capture_step, lambda training_step, network, compute: training_step):
        monkeypatch.setattr(step, "capture_step", capture)
        network = create_network(config.model, classes=2, seed=0).to("cuda")
        loop.fit(network, lesions, None, config.train, runtime, Checkpoint(None), lambda *_: None)
        fitted.append(network.state_dict())

    assert all(torch.equal(value, fitted[1][name]) for name, value in fitted[0].items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need CUDA")
def test_a_step_that_cannot_be_recorded_runs_directly(caplog: pytest.LogCaptureFixture) -> None:
    layer, compute = torch.nn.Linear(1, 1).to("cuda"), ComputeSettings("cuda", "fp32", 1)
    captured = capture_step(lambda x: x.sum() * float(x.sum().item()), layer, compute)

    assert [captured(torch.full((1,), 3.0, device="cuda")).item() for _ in range(4)] == [9.0] * 4
    assert caplog.text.count("The training step can't be recorded as a CUDA graph and runs slower") == 1


@pytest.mark.parametrize(
    ("capability", "built", "supported"),
    [
        ((8, 6), ["sm_80", "sm_90"], True),  # code for 8.0 runs on 8.6
        ((8, 0), ["sm_86"], False),
        ((12, 0), ["sm_90", "compute_90"], True),  # the driver compiles for newer GPUs
        ((3, 5), ["sm_75", "sm_80", "sm_90a", "compute_90"], False),
        ((9, 0), ["sm_75", "sm_90a"], True),
    ],
)
def test_a_gpu_that_torch_is_not_built_for_is_not_used(
    capability: tuple[int, int],
    built: list[str],
    supported: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """There is no such GPU here, so torch's answers about it are replaced."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Old GPU")

    assert device._resolve_device("auto") == ("cuda" if supported else "cpu")

    if not supported:
        why = f"this torch is not built for the GPU Old GPU (compute capability {capability[0]}.{capability[1]}, but "
        assert caplog.messages == [f"The CPU is used, because {why}torch has {', '.join(built)})."]
        with pytest.raises(
            UserError, match=r"^runtime\.device is cuda, but this torch is not built for the GPU Old GPU"
        ):
            device._resolve_device("cuda")


def test_mps_is_used_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no Apple GPU here, so torch's answer is replaced."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)

    assert resolve_compute_settings(RuntimeConfig(device="mps", precision="auto", threads="auto")).device == "mps"


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="mps is here")
def test_mps_is_used_only_where_it_is() -> None:
    message = r"^runtime.device is mps, but torch finds no Apple GPU\. Set it to auto or cpu\.$"
    with pytest.raises(UserError, match=message):
        resolve_compute_settings(RuntimeConfig(device="mps", precision="auto", threads="auto"))
