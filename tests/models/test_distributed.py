"""Two processes do together what one does alone."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch

from naevi.config import Config
from naevi.dataset import PreparedImages
from naevi.errors import UserError
from naevi.models.build import create_network
from naevi.models.device import ComputeSettings
from naevi.models.distributed import data_parallel, is_main_process, local_rows, process_group, sum_over_processes
from naevi.provenance import read_description
from naevi.training import loop
from naevi.training.checkpoint import Checkpoint
from tests import pipeline
from tests.helpers import ROOT

pytestmark = pytest.mark.slow

# Fits nine images for two epochs of two batches; each process keeps its gradients and what it was shown.
SCRIPT = """
import sys
import torch
from torch import nn
from pathlib import Path
from naevi.config import (ModelConfig, TrainConfig)
from naevi.files import read_yaml
from naevi.dataset import PreparedImages
from naevi.models.build import create_network
from naevi.models.device import ComputeSettings
from naevi.models.distributed import process_group, rank
from naevi.training.checkpoint import Checkpoint
from naevi.training.loop import fit

torch.set_num_threads(1)
params = read_yaml(Path("params.yaml"))["train"]
still = {key: 0 for key in params["augment"]} | {"flips": False}
params |= {"epochs": 2, "batch_size": 5, "loss": "cross-entropy", "augment": still, "schedule": "constant", "lr": 1e-9}
settings = TrainConfig.model_validate(params)
model = ModelConfig(architecture="unet-plain", encoder="none", weights="none")
generator = torch.Generator().manual_seed(0)
images = torch.randint(0, 256, (9, 3, 32, 32), dtype=torch.uint8, generator=generator)
images[:, 0, 0, 0] = torch.arange(9)
images_and_masks = PreparedImages([str(row) for row in range(9)], images, images[:, 1:2] // 128, 2)
network = create_network(model, classes=2, seed=0)
for module in network.modules():
    if isinstance(module, nn.BatchNorm2d):
        module.eval()
        module.train = lambda mode=True: module  # frozen: a share's statistics are not the batch's
shown = []
network.body.register_forward_pre_hook(
    lambda _, inputs: shown.extend((inputs[0][:, 0, 0, 0] * 255).round().int().tolist()) if network.training else None
)
with process_group("cpu"):
    compute = ComputeSettings("cpu", "fp32", 1)
    history = fit(network, images_and_masks, None, settings, compute, Checkpoint(None), lambda *_: None)
gradients = torch.cat([parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None])
kept = {"gradients": gradients, "shown": shown, "loss": history.train_loss.tolist()}
torch.save(kept, f"{sys.argv[1]}/{rank()}.pt")
"""


def fitted(folder: Path, number: int) -> list[dict]:
    """What each of the processes kept."""
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(SCRIPT)
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(number)]
    command = [sys.executable, str(script)] if number == 1 else [*start, str(script)]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, str(folder)], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{place}.pt", weights_only=True) for place in range(number)]


def test_two_processes_have_the_gradients_of_one_and_share_the_images(tmp_path: Path) -> None:
    (alone,) = fitted(tmp_path / "one", 1)
    first, second = fitted(tmp_path / "two", 2)

    assert alone["gradients"].abs().max() > 1e-3
    for each in (first, second):
        assert torch.allclose(each["gradients"], alone["gradients"], atol=1e-5)
        assert each["loss"] == pytest.approx(alone["loss"], abs=1e-5)
    (once, again), (others, others_again) = (np.split(np.array(each["shown"]), 2) for each in (first, second))
    assert sorted([*once, *others]) == sorted([*again, *others_again]) == list(range(9))


def test_shares_are_a_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    shares = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        shares.append(local_rows(torch.arange(8)).tolist())

    assert shares == [[0, 3, 6], [1, 4, 7], [2, 5]]
    assert not is_main_process()


def test_alone_nothing_happens() -> None:
    network = torch.nn.Linear(1, 1)

    assert data_parallel(network) is network
    assert sum_over_processes(3.5) == 3.5
    assert local_rows(torch.arange(3)).tolist() == [0, 1, 2]
    with process_group("cpu"):
        assert not torch.distributed.is_initialized()


def test_the_stage_fits_one_model_with_two_processes(small_repository: Path, tmp_path: Path) -> None:
    """One folder, one run in MLflow, and the number stands in model.json."""
    folder = pipeline.copy(small_repository, tmp_path / "repository")
    shutil.rmtree(folder / "data" / "models" / "0")
    torchrun = ["python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

    pipeline.run(folder, *torchrun, "-m", "stages.train", "0", MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/own.db")

    description = read_description(folder / "data" / "models" / "0")
    assert description["runtime"]["processes"] == 2
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/own.db")
    experiment = client.get_experiment_by_name("naevi")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["fingerprint"] == description["fingerprint"]
    assert [point.step for point in client.get_metric_history(run.info.run_id, "train_loss")] == [1, 2]


def test_more_processes_than_images_of_a_batch_are_refused(
    monkeypatch: pytest.MonkeyPatch, config_with: Callable[[dict[str, Any]], Config]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    config = config_with({"train.batch_size": 4})
    images = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
    lesions = PreparedImages(list("abcdefgh"), images, images[:, :1], 2)
    network = create_network(config.model, classes=2, seed=0)

    message = r"^train.batch_size is 4, too small for 3 processes\. Set it to 6 or more, or start fewer processes\.$"
    with pytest.raises(UserError, match=message):
        loop.fit(
            network, lesions, None, config.train, ComputeSettings("cpu", "fp32", 1), Checkpoint(None), lambda *_: None
        )
