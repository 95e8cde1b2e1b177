"""How fast the loop trains, beside what one would write instead: images a second, on the same images, in one process.

    python -m benchmarks.training                 # the default's size and batch; on the CPU or the GPU that is here
    python -m benchmarks.training --size 256
    pip install lightning                         # for the last row, which is left out without it

The median of three, each after a warm-up. A ratio says more than a speed: machines differ, and so do hours.
"""

import argparse
import itertools
import logging
import platform
import statistics
import time
import warnings
from collections.abc import Callable
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
from naevi.images import resize_image, resize_mask
from naevi.models.build import create_network
from naevi.models.device import ComputeSettings, resolve_compute_settings
from naevi.models.prediction import scale_pixels
from naevi.training import loop
from naevi.training.checkpoint import Checkpoint
from naevi.training.losses import build_loss
from naevi.training.upsampling import fuse_upsampling

IMAGES = 144  # as in a fold of PH2
EPOCHS = {"cpu": 1, "cuda": 8}  # that are timed, after as many that are not


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    config = load_config()
    parser.add_argument("--size", type=int, default=config.preprocess.size)
    parser.add_argument("--batch", type=int, default=config.train.batch_size)
    arguments = parser.parse_args()
    runtime = resolve_compute_settings(config.runtime)
    config = config.model_copy(
        update={
            "train": config.train.model_copy(
                update={"epochs": 2 * EPOCHS[runtime.device], "batch_size": arguments.batch}
            )
        }
    )
    lesions = phantoms(arguments.size, runtime.device)
    plain = replace(runtime, precision="fp32"), torch.contiguous_format
    rows: dict[str, Callable[[], float]] = {
        "bare forward, backward and step on one batch": lambda: bare(config, lesions, runtime),
        "**the loop** (`training.fit`)": lambda: loop(config, lesions, runtime),
        "bare, fp32, contiguous": lambda: bare(config, lesions, *plain),
        "lesson 12's loop, its U-Net": lambda: lesson_12(config, lesions),
    }
    if runtime.device == "cuda":
        rows = {"bare, launched kernel by kernel": lambda: bare(config, lesions, runtime, recorded=False)} | rows
    else:
        rows["bare, torch's and smp's convolutions"] = lambda: bare(config, lesions, runtime, stock=True)
        rows["bare, torch's and smp's convolutions, fp32, contiguous"] = lambda: bare(
            config, lesions, *plain, stock=True
        )
    if find_spec("lightning"):
        rows["smp's Unet in Lightning's Trainer"] = lambda: lightning(config, lesions)
    # In turns, so that an hour in which the machine is slow is one for all.
    turns = [{name: measure() for name, measure in rows.items()} for _ in range(3)]
    speeds = {name: statistics.median(turn[name] for turn in turns) for name in rows}
    own = speeds["**the loop** (`training.fit`)"]
    print(f"{machine(runtime)}; {arguments.size} px, batches of {arguments.batch}\n")
    print("| what | images/s | the loop is so many times as fast |\n|---|---|---|")
    for name, speed in speeds.items():
        print(f"| {name} | {speed:.1f} | {own / speed:.2f} |")


def phantoms(size: int, device: str) -> PreparedImages:
    """Generated images, prepared."""
    made = [synthetic_image(index, height=288, width=384, seed=7) for index in range(IMAGES)]
    images = torch.from_numpy(np.stack([resize_image(each.image, size) for each in made])).permute(0, 3, 1, 2)
    masks = torch.from_numpy(np.stack([resize_mask(each.mask, (size, size), 2) for each in made]))[:, None]
    return PreparedImages([each.image_id for each in made], images.to(device), masks.to(device), 2)


def machine(runtime: ComputeSettings) -> str:
    """Where it was measured."""
    chip = torch.cuda.get_device_name() if runtime.device == "cuda" else platform.processor() or platform.machine()
    return f"{chip}, {runtime.precision}, {runtime.threads} threads, torch {torch.__version__}"


def clock(run: Callable[[], object], device: str) -> float:
    """Images a second of something that takes all images EPOCHS times."""
    run()  # warm
    began = now(device)
    run()
    return EPOCHS[device] * IMAGES / (now(device) - began)


def now(device: str) -> float:
    """The time in seconds at which all is done that was asked for."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def bare(
    config: Config,
    lesions: PreparedImages,
    runtime: ComputeSettings,
    memory: torch.memory_format = torch.channels_last,
    *,
    recorded: bool = True,
    stock: bool = False,
) -> float:
    """The limit: the default's network and loss on a batch that is ready; on a GPU the whole step as one graph.

    On a CPU with what makes its convolutions fast, unless it is to be stock.
    """
    network = create_network(config.model, classes=2, seed=0).to(runtime.device, memory_format=memory).train()
    on_gpu, bf16 = runtime.device == "cuda", runtime.precision == "bf16"
    if not on_gpu and not stock:
        fuse_upsampling(network)
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=config.train.lr,
        weight_decay=config.train.weight_decay,
        fused=True,
        capturable=on_gpu,
    )
    compute = build_loss(config.train.loss)
    number = config.train.batch_size
    images, masks = scale_pixels(lesions.images[:number]).contiguous(memory_format=memory), lesions.masks[:number]

    def step() -> Tensor:
        with torch.autocast(runtime.device, torch.bfloat16, bf16) if stock else runtime.autocast():
            logits = network(images)
        loss = compute(logits, masks)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    one = runtime.recorded(step, network) if recorded else step
    return clock(lambda: [one() for _ in range(EPOCHS[runtime.device] * IMAGES // number)], runtime.device)


def loop(config: Config, lesions: PreparedImages, runtime: ComputeSettings) -> float:
    """The loop, from decoded images to the history, augmentation included, once it runs."""
    network = create_network(config.model, classes=2, seed=0).to(runtime.device)
    ends: list[float] = []

    def end(*_: object) -> None:
        ends.append(now(runtime.device))

    loop.fit(network, lesions, None, config.train, runtime, Checkpoint(None), end)
    epochs = EPOCHS[runtime.device]
    return epochs * IMAGES / (ends[-1] - ends[-1 - epochs])


def batches(lesions: PreparedImages, number: int) -> DataLoader[tuple[Tensor, ...]]:
    """A DataLoader as tutorials have it."""
    images, masks = scale_pixels(lesions.images).contiguous().cpu(), lesions.masks.float().cpu()
    return DataLoader(TensorDataset(images, masks), batch_size=number, shuffle=True)


def lesson_12(config: Config, lesions: PreparedImages) -> float:
    """Lesson 12's U-Net as the notebook trains it: float32, Adam, a sigmoid before BCEWithLogitsLoss."""
    model = config.model.model_copy(update={"architecture": "unet-plain"})
    device = lesions.images.device
    network = nn.Sequential(create_network(model, classes=2, seed=0), nn.Sigmoid()).to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-6)
    loss_of = nn.BCEWithLogitsLoss()
    loader = batches(lesions, config.train.batch_size)

    def epochs() -> None:
        for image, mask in itertools.chain.from_iterable(itertools.repeat(loader, EPOCHS[device.type])):
            optimizer.zero_grad()
            loss = loss_of(network(image.to(device)), mask.to(device))
            loss.backward()
            optimizer.step()
            loss.item()

    return clock(epochs, device.type)


def lightning(config: Config, lesions: PreparedImages) -> float:
    """The default's network in Lightning's Trainer, as its guide has it: no augmentation, no mixed precision."""
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

    module, loader = Module(), batches(lesions, config.train.batch_size)
    device = lesions.images.device.type

    def epochs() -> None:
        off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
        Trainer(max_epochs=EPOCHS[device], **dict.fromkeys(off, False)).fit(module, loader)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return clock(epochs, device)


if __name__ == "__main__":
    main()
