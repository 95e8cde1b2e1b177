"""The loop: it learns, it repeats itself to the bit, it sees each image once an epoch, and it stops at nonsense."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from naevi import dataset
from naevi.config import Config
from naevi.dataset import MAX_RESIDENT_BYTES, PreparedImages, load_images
from naevi.datasets.synthetic import synthetic_image
from naevi.errors import UserError
from naevi.images.files import resize_image, resize_mask
from naevi.metrics import confusion_counts, overlap_scores
from naevi.models.build import NormalizedNetwork, create_network
from naevi.models.device import ComputeSettings
from naevi.models.prediction import predict_probabilities, scale_pixels
from naevi.training import loop, step
from naevi.training.checkpoint import Checkpoint, HistoryRow
from naevi.training.upsampling import FusedDecoderBlock

CPU = ComputeSettings("cpu", "fp32", 1)
STILL = dict.fromkeys(
    ("rotation", "scale", "shift", "brightness", "contrast", "saturation", "tint", "elastic", "vignette", "hairs"), 0
)
PLAIN = {"train.augment": STILL | {"flips": False}}

ConfigWith = Callable[[dict[str, Any]], Config]
pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]


@pytest.fixture
def one_thread(torch_threads: None) -> None:
    """The number of threads changes the last digits."""
    torch.set_num_threads(1)


def phantoms(first: int, number: int, size: int = 32) -> PreparedImages:
    """Phantoms at the training size, in memory."""
    made = [synthetic_image(index, height=64, width=64, seed=7) for index in range(first, first + number)]
    images = np.stack([resize_image(each.image, size) for each in made]).transpose(0, 3, 1, 2)
    masks = np.stack([resize_mask(each.mask, (size, size)) for each in made])[:, None]
    return PreparedImages([each.image_id for each in made], torch.from_numpy(images.copy()), torch.from_numpy(masks), 2)


def fit(
    config: Config,
    lesions: PreparedImages,
    validation: PreparedImages | None = None,
    network: NormalizedNetwork | None = None,
) -> tuple[NormalizedNetwork, pd.DataFrame]:
    """A fitted network, from the seed if none is given, and its history."""
    network = network or create_network(config.model, classes=2, seed=config.train.seed)
    history = loop.fit(network, lesions, validation, config.train, CPU, Checkpoint(None), lambda *_: None)
    return network, history


class Witness(nn.Module):
    """Remembers what it was shown: of each image in training its first pixel, batch by batch."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 1, kernel_size=1)
        self.batches: list[list[int]] = []

    def forward(self, image: Tensor) -> Tensor:
        """Image (N, 3, H, W) to logits (N, 1, H, W)."""
        if self.training:
            self.batches.append((image[:, 0, 0, 0] * 255).round().int().tolist())
        logits: Tensor = self.head(image)
        return logits


def shown(config: Config, number: int) -> list[list[list[int]]]:
    """The batches of each epoch, when each image is filled with its number."""
    values = torch.arange(number, dtype=torch.uint8).view(-1, 1, 1, 1)
    ids, masks = [str(row) for row in range(number)], values.expand(-1, 1, 8, 8) % 2
    lesions = PreparedImages(ids, values.expand(-1, 3, 8, 8), masks, 2)
    witness = Witness()
    fit(config, lesions, network=NormalizedNetwork(witness, mean=(0, 0, 0), std=(1, 1, 1)))
    steps = len(witness.batches) // config.train.epochs
    return [witness.batches[start : start + steps] for start in range(0, len(witness.batches), steps)]


@pytest.mark.parametrize("architecture", ["unet-plain", "segnet"])
def test_it_learns_two_images_by_heart(config_with: ConfigWith, architecture: str) -> None:
    config = config_with(
        PLAIN
        | {
            "model.architecture": architecture,
            "train.epochs": 60,
            "train.lr": 0.01,
            "train.loss": "bce+dice",
            "train.batch_size": 2,
        }
    )
    lesions = phantoms(0, 2)

    network, history = fit(config, lesions)

    prediction = predict_probabilities(network, lesions.images, CPU, flips=False) >= 0.5
    dice = overlap_scores(confusion_counts(lesions.masks.numpy(), prediction.numpy()), classes=2).dice
    assert dice.min() > 0.95
    assert history.train_loss.iloc[-1] < history.train_loss.iloc[0] / 4


def test_equal_seeds_give_equal_weights_and_others_give_others(config_with: ConfigWith) -> None:
    """Augmented, and with something drawn in between."""

    def weights(seed: int) -> list[bytes]:
        network, _ = fit(config_with({"train.epochs": 2, "train.seed": seed}), phantoms(0, 6))
        return [value.numpy().tobytes() for value in network.state_dict().values()]

    first = weights(0)
    torch.rand(3)

    assert weights(0) == first
    assert weights(1) != first


def test_dropout_depends_on_the_seed_alone(config_with: ConfigWith) -> None:
    """In another process torch's own generator begins somewhere else."""
    config = config_with(PLAIN | {"model.architecture": "fpn", "model.encoder": "tu-test_mambaout", "train.epochs": 1})
    lesions, weights = phantoms(0, 4, size=64), []
    for elsewhere in (1, 2):
        torch.manual_seed(elsewhere)
        network, _ = fit(config, lesions)
        weights.append(torch.cat([parameter.flatten() for parameter in network.parameters()]))

    assert any(isinstance(module, nn.Dropout | nn.Dropout2d) for module in network.modules())
    assert torch.equal(*weights)


def test_the_seed_also_decides_the_augmentation(config_with: ConfigWith) -> None:
    """From the same initial weights, in one batch, so that the order is of no weight."""
    losses = []
    for seed in (0, 1):
        config = config_with({"train.seed": seed, "train.batch_size": 6})
        _, history = fit(config, phantoms(0, 6), network=create_network(config.model, classes=2, seed=0))
        losses.append(history.train_loss.item())

    assert abs(losses[0] - losses[1]) > 0.001


def test_on_a_cpu_a_unets_blocks_are_joined_and_its_parameters_keep_their_names(config_with: ConfigWith) -> None:
    unet = {"model.architecture": "unet", "model.encoder": "tu-tf_efficientnet_lite0"}
    config = config_with(unet | {"train.epochs": 1, "train.batch_size": 2})
    names = list(create_network(config.model, classes=2, seed=0).state_dict())
    network, _ = fit(config, phantoms(0, 2))

    assert sum(isinstance(module, FusedDecoderBlock) for module in network.modules()) == 5
    assert list(network.state_dict()) == names


@pytest.mark.parametrize("number", [2, 8, 9, 11])
def test_each_image_is_seen_once_an_epoch_in_another_order(config_with: ConfigWith, number: int) -> None:
    epochs = shown(config_with(PLAIN | {"train.epochs": 6, "train.batch_size": min(4, number)}), number)
    orders = [[value for batch in batches for value in batch] for batches in epochs]

    assert len(epochs) == 6
    assert all(sorted(order) == list(range(number)) for order in orders)
    assert any(order != orders[0] for order in orders)


@pytest.mark.parametrize(
    ("number", "batch_size", "sizes"),
    [(8, 4, [4, 4]), (9, 4, [3, 3, 3]), (10, 4, [4, 3, 3]), (4, 3, [2, 2]), (6, 2, [2, 2, 2])],
)
def test_batches_are_of_nearly_equal_size(
    config_with: ConfigWith, number: int, batch_size: int, sizes: list[int]
) -> None:
    (batches,) = shown(config_with(PLAIN | {"train.batch_size": batch_size}), number)

    assert [len(batch) for batch in batches] == sizes


@pytest.mark.parametrize("number", [3, 5, 7])
def test_no_batch_is_of_one_image(config_with: ConfigWith, number: int) -> None:
    """Batch norm fails on it where only one value a channel is left, as behind five halvings of 32 px."""
    (batches,) = shown(config_with(PLAIN | {"train.batch_size": 2}), number)

    assert min(len(batch) for batch in batches) > 1


def test_the_history_has_a_row_an_epoch(config_with: ConfigWith) -> None:
    rows: list[HistoryRow] = []
    config = config_with({"train.epochs": 3, "train.schedule": "constant", "train.lr": 0.002})
    network = create_network(config.model, classes=2, seed=0)
    lesions = phantoms(0, 4)
    history = loop.fit(network, lesions, None, config.train, CPU, Checkpoint(None), lambda row, _: rows.append(row))

    assert list(history.columns) == ["epoch", "lr", "train_loss"]
    assert history.epoch.tolist() == [1, 2, 3]
    assert history.lr.tolist() == [0.002] * 3
    assert rows == history.to_dict("records")


def test_with_a_validation_part_the_history_has_its_scores(config_with: ConfigWith) -> None:
    """The last row is of the network that comes back, here one that hardly learns and halves the pixels at .5."""
    validation, witness = phantoms(6, 3), Witness()
    with torch.inference_mode():
        witness.head.bias -= witness.eval()(scale_pixels(validation.images)).median()
    network = NormalizedNetwork(witness, mean=(0, 0, 0), std=(1, 1, 1))
    config = config_with({"train.epochs": 2, "train.loss": "bce", "train.lr": 1e-5})
    _, history = fit(config, phantoms(0, 6), validation, network)

    probability = predict_probabilities(network, validation.images, CPU, flips=False)
    scores = overlap_scores(confusion_counts(validation.masks.numpy(), (probability >= 0.5).numpy()), classes=2)
    loss = nn.functional.binary_cross_entropy(probability, validation.masks.float())
    assert list(history.columns) == ["epoch", "lr", "train_loss", "val_loss", "val_dice", "val_iou"]
    assert history.val_dice.iloc[-1] == pytest.approx(scores.dice.mean(), rel=1e-5)
    assert history.val_iou.iloc[-1] == pytest.approx(scores.iou.mean(), rel=1e-5)
    assert history.val_loss.iloc[-1] == pytest.approx(loss.item(), rel=1e-4)


def test_validation_images_teach_nothing(config_with: ConfigWith) -> None:
    with_validation, _ = fit(config_with({}), phantoms(0, 4), phantoms(6, 3))
    without, _ = fit(config_with({}), phantoms(0, 4))

    weights = without.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in with_validation.state_dict().items())


def test_the_average_is_of_all_steps(config_with: ConfigWith) -> None:
    """By hand from the weights before training and behind each step."""
    lesions, witness = phantoms(0, 4), Witness()
    network = NormalizedNetwork(witness, mean=(0, 0, 0), std=(1, 1, 1))
    behind = [witness.head.weight.detach().clone()]

    class Spy(step.AdamW):
        def step(self, closure: Any = None) -> None:
            super().step(closure)
            behind.append(witness.head.weight.detach().clone())

    config = config_with({"train.epochs": 3, "train.batch_size": 2, "train.lr": 0.1, "train.average": 0.75})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "AdamW", Spy)
        fit(config, lesions, network=network)

    expected = behind[0]
    for weight in behind[1:]:
        expected = 0.75 * expected + 0.25 * weight
    assert len(behind) == 7
    assert torch.allclose(witness.head.weight, expected, atol=1e-6)
    assert not torch.allclose(witness.head.weight, behind[-1], atol=1e-3)


def test_images_in_a_file_teach_the_same(config_with: ConfigWith, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What doesn't fit into memory is mapped from a file; the weights are equal to the bit."""
    ids = [f"phantom-0000{number}" for number in range(6)]
    fitted = []
    for resident in (MAX_RESIDENT_BYTES, 0):
        monkeypatch.setattr(dataset, "MAX_RESIDENT_BYTES", resident)
        lesions = load_images(tiny.workspace.prepared, ids, classes=2, device="cpu")
        network, history = fit(config_with({"train.epochs": 2}), lesions, lesions)
        fitted.append((network.state_dict(), history))

    assert fitted[0][1].equals(fitted[1][1])
    assert all(torch.equal(value, fitted[1][0][name]) for name, value in fitted[0][0].items())


def test_one_cycle_rises_and_falls_to_nothing(config_with: ConfigWith) -> None:
    config = config_with({"train.epochs": 30, "train.schedule": "one-cycle", "train.lr": 0.002, "train.batch_size": 2})
    lesions = PreparedImages(
        ["a", "b"], torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.ones(2, 1, 8, 8, dtype=torch.uint8), 2
    )
    _, history = fit(config, lesions, network=NormalizedNetwork(Witness(), mean=(0, 0, 0), std=(1, 1, 1)))

    assert history.lr[0] < 0.0003
    assert history.lr.max() == pytest.approx(0.002, rel=0.01)
    assert history.lr.iloc[-1] < 0.00002


def test_a_loss_that_is_not_finite_stops_the_training(config_with: ConfigWith) -> None:
    """It says where, and which images were in the batch."""
    config = config_with({"train.epochs": 3, "train.batch_size": 2})
    network = create_network(config.model, classes=2, seed=0)
    nn.init.constant_(network.get_submodule("body.head").bias, float("nan"))

    message = (
        r"^The loss became nan in epoch 1, step 1, on phantom-0000\d, phantom-0000\d\. "
        r"Lower train.lr or set runtime.precision to fp32\.$"
    )
    with pytest.raises(UserError, match=message):
        fit(config, phantoms(0, 4), network=network)


@pytest.mark.parametrize(
    ("number", "size", "message"),
    [
        (1, 32, r"^train.batch_size is 4, but this model has 1 training images\. Add images\.$"),
        (3, 32, r"^train.batch_size is 4, but this model has 3 training images\. Set it to 3 or less\.$"),
        (4, 24, "^The network can't process images of preprocess.size 24 px"),
    ],
)
def test_what_can_not_be_fitted_is_refused(config_with: ConfigWith, number: int, size: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fit(config_with({}), phantoms(0, number, size))
