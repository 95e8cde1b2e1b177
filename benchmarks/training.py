"""Compare the speed of the training loop with alternatives: images per second, on the same images, in one process.

    python -m benchmarks.training                 # the default's size and batch, on the GPU if there is one
    python -m benchmarks.training --size 256
    pip install lightning                         # for the last row, which is left out otherwise

Each figure is the median of three, after a warm-up. Ratios are more reliable than speeds, because machines differ and
their speed changes over time.
"""

import argparse
import itertools
import logging
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from naevi.config import Config, load_config
from naevi.dataset import PreparedImages
from naevi.datasets.synthetic import synthetic_image
from naevi.images.files import resize_image, resize_mask
from naevi.models.build import create_network
from naevi.models.device import ComputeSettings, resolve_compute_settings
from naevi.models.prediction import scale_pixels
from naevi.training.checkpoint import Checkpoint
from naevi.training.cuda_graph import capture_step
from naevi.training.depthwise import fast_depthwise
from naevi.training.loop import fit
from naevi.training.losses import build_loss
from naevi.training.upsampling import fuse_upsampling
from naevi.workspace import current_workspace

IMAGES = 144  # as in a fold of PH2
EPOCHS = {"cpu": 1, "cuda": 8}  # timed epochs, after as many for warm-up


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    config = load_config(current_workspace())
    parser.add_argument("--size", type=int, default=config.preprocess.size)
    parser.add_argument("--batch", type=int, default=config.train.batch_size)
    arguments = parser.parse_args()
    compute = resolve_compute_settings(config.runtime)
    config = config.model_copy(
        update={
            "train": config.train.model_copy(
                update={"epochs": 2 * EPOCHS[compute.device], "batch_size": arguments.batch}
            )
        }
    )
    dataset = synthetic_images(arguments.size, compute.device)
    plain = replace(compute, precision="fp32"), torch.contiguous_format
    rows: dict[str, Callable[[], float]] = {
        "bare forward, backward and step on one batch": lambda: bare(config, dataset, compute),
        "**the loop** (`training.fit`)": lambda: training_loop(config, dataset, compute),
        "bare, fp32, contiguous": lambda: bare(config, dataset, *plain),
        "lesson 12's loop, its U-Net": lambda: lesson_12(config, dataset),
    }
    if compute.device == "cuda":
        rows = {"bare, launched kernel by kernel": lambda: bare(config, dataset, compute, recorded=False)} | rows
    else:
        rows["bare, torch's and smp's convolutions"] = lambda: bare(config, dataset, compute, stock=True)
        rows["bare, torch's and smp's convolutions, fp32, contiguous"] = lambda: bare(
            config, dataset, *plain, stock=True
        )
    if find_spec("lightning"):
        rows["smp's Unet in Lightning's Trainer"] = lambda: lightning(config, dataset)
    # In turns, so that a slow phase of the machine affects all rows.
    turns = [{name: measure() for name, measure in rows.items()} for _ in range(3)]
    speeds = {name: statistics.median(turn[name] for turn in turns) for name in rows}
    own = speeds["**the loop** (`training.fit`)"]
    print(f"{machine(compute)}; {arguments.size} px, batches of {arguments.batch}\n")
    print("| what | images/s | speed of the loop relative to this |\n|---|---|---|")
    for name, speed in speeds.items():
        print(f"| {name} | {speed:.1f} | {own / speed:.2f} |")


def synthetic_images(size: int, device: str) -> PreparedImages:
    """Return synthetic images, prepared."""
    samples = [synthetic_image(index, height=288, width=384, seed=7) for index in range(IMAGES)]
    images = torch.from_numpy(np.stack([resize_image(sample.image, size) for sample in samples])).permute(0, 3, 1, 2)
    masks = torch.from_numpy(np.stack([resize_mask(sample.mask, (size, size), 2) for sample in samples]))[:, None]
    return PreparedImages([sample.image_id for sample in samples], images.to(device), masks.to(device), 2)


def machine(compute: ComputeSettings) -> str:
    """Return the chip, precision, threads and version of torch."""
    chip = torch.cuda.get_device_name() if compute.device == "cuda" else platform.processor() or platform.machine()
    return f"{chip}, {compute.precision}, {compute.threads} threads, torch {torch.__version__}"


def clock(run: Callable[[], object], device: str) -> float:
    """Return the images per second of a function that processes all images EPOCHS times."""
    run()  # warm-up
    began = now(device)
    run()
    return EPOCHS[device] * IMAGES / (now(device) - began)


def now(device: str) -> float:
    """Return the time in seconds, after all pending work of a GPU."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def bare(
    config: Config,
    dataset: PreparedImages,
    compute: ComputeSettings,
    memory: torch.memory_format = torch.channels_last,
    *,
    recorded: bool = True,
    stock: bool = False,
) -> float:
    """Return the speed limit: the default's network and loss on one prepared batch; on a GPU as one CUDA graph.

    `stock` leaves out this repository's faster convolutions on a CPU.
    """
    network = create_network(config.model, classes=2, seed=0).to(compute.device, memory_format=memory).train()
    on_gpu = compute.device == "cuda"
    if not on_gpu and not stock:
        fuse_upsampling(network)
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=config.train.lr,
        weight_decay=config.train.weight_decay,
        fused=True,
        capturable=on_gpu,
    )
    loss_function = build_loss(config.train.loss)
    number = config.train.batch_size
    images, masks = scale_pixels(dataset.images[:number]).contiguous(memory_format=memory), dataset.masks[:number]

    def step() -> Tensor:
        with compute.autocast(), nullcontext() if stock else fast_depthwise(compute):
            logits = network(images)
        loss = loss_function(logits, masks)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    one = capture_step(step, network, compute) if recorded else step
    return clock(lambda: [one() for _ in range(EPOCHS[compute.device] * IMAGES // number)], compute.device)


def training_loop(config: Config, dataset: PreparedImages, compute: ComputeSettings) -> float:
    """Return the speed of the training loop, from decoded images to the history, with augmentation."""
    network = create_network(config.model, classes=2, seed=0).to(compute.device)
    ends: list[float] = []

    def end(*_: object) -> None:
        ends.append(now(compute.device))

    fit(network, dataset, None, config.train, compute, Checkpoint(None), end)
    epochs = EPOCHS[compute.device]
    return epochs * IMAGES / (ends[-1] - ends[-1 - epochs])


def batches(dataset: PreparedImages, number: int) -> DataLoader[tuple[Tensor, ...]]:
    """Return a DataLoader as in tutorials."""
    images, masks = scale_pixels(dataset.images).contiguous().cpu(), dataset.masks.float().cpu()
    return DataLoader(TensorDataset(images, masks), batch_size=number, shuffle=True)


def lesson_12(config: Config, dataset: PreparedImages) -> float:
    """Return the speed of lesson 12's U-Net as in its notebook: float32, Adam, a sigmoid before BCEWithLogitsLoss."""
    model = config.model.model_copy(update={"architecture": "unet-plain"})
    device = dataset.images.device
    network = nn.Sequential(create_network(model, classes=2, seed=0), nn.Sigmoid()).to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-6)
    loss_of = nn.BCEWithLogitsLoss()
    loader = batches(dataset, config.train.batch_size)

    def epochs() -> None:
        for image, mask in itertools.chain.from_iterable(itertools.repeat(loader, EPOCHS[device.type])):
            optimizer.zero_grad()
            loss = loss_of(network(image.to(device)), mask.to(device))
            loss.backward()
            optimizer.step()
            loss.item()

    return clock(epochs, device.type)


def lightning(config: Config, dataset: PreparedImages) -> float:
    """Return the speed of the default's network in Lightning's Trainer: no augmentation, no mixed precision."""
    from lightning import LightningModule, Trainer

    class Module(LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = smp.create_model(
                config.model.architecture, encoder_name=config.model.encoder, encoder_weights=None, classes=1
            )
            self.loss_of = build_loss(config.train.loss)

        def training_step(self, batch: Any, _: int) -> Tensor:
            image, mask = batch
            return self.loss_of(self.network(image), mask)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=config.train.lr)

    module, loader = Module(), batches(dataset, config.train.batch_size)
    device = dataset.images.device.type

    def epochs() -> None:
        off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
        Trainer(max_epochs=EPOCHS[device], **dict.fromkeys(off, False)).fit(module, loader)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return clock(epochs, device)


if __name__ == "__main__":
    main()
