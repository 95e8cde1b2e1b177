"""From images to probabilities, with networks simple enough to be worked out by hand."""

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from naevi.config import ModelConfig
from naevi.errors import UserError
from naevi.inference.postprocessing import postprocess, resize_probabilities
from naevi.models import prediction
from naevi.models.build import build_network
from naevi.models.device import ComputeSettings
from naevi.models.prediction import predict_probabilities, to_class_map, to_logits

CPU = ComputeSettings("cpu", "fp32", 1)


class Weighted(nn.Module):
    """Logits: the first channel by a weight for each place, so that mirror images differ."""

    weight = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, 2, 3) to (N, 1, 2, 3)."""
        return image[:, :1] * self.weight


def noise(number: int) -> Tensor:
    """Images, uint8 (number, 3, 2, 3)."""
    return torch.randint(0, 256, (number, 3, 2, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_without_flips_it_is_the_sigmoid_of_the_logits() -> None:
    images = noise(2)

    expected = (images[:, :1] / 255 * Weighted.weight).sigmoid()
    assert torch.allclose(predict_probabilities(Weighted(), images, CPU, flips=False), expected)


def test_with_flips_it_is_the_mean_over_the_mirror_images() -> None:
    """To mirror image and answer is to mirror the weights."""
    images, weight = noise(2), Weighted.weight
    mirrored = [weight, weight.flip(0), weight.flip(1), weight.flip(0, 1)]

    expected = torch.stack([(images[:, :1] / 255 * each).sigmoid() for each in mirrored]).mean(dim=0)
    assert torch.allclose(predict_probabilities(Weighted(), images, CPU, flips=True), expected)


def test_with_turns_it_is_also_the_mean_over_exchanged_rows_and_columns() -> None:
    """A network that halves all but one corner is asked eight times; two of the eight views have each pixel there."""

    class Corner(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            weight = torch.tensor([[1.0, 0.0], [-2.0, 0.0]])
            return image[:, :1] * weight

    images = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    images[..., 0, 1] = 51

    expected = torch.zeros(1, 1, 2, 2)
    for quarters in range(4):
        for axes in ([], [3]):
            view = (images[:, :1] / 255).rot90(quarters, (2, 3)).flip(axes)
            weighted = (view * torch.tensor([[1.0, 0.0], [-2.0, 0.0]])).sigmoid()
            expected += weighted.flip(axes).rot90(-quarters, (2, 3)) / 8
    assert torch.allclose(predict_probabilities(Corner(), images, CPU, flips=True, turns=True), expected)


@pytest.mark.parametrize("flips", [False, True])
def test_an_image_is_predicted_alike_in_every_batch(flips: bool) -> None:
    images = noise(prediction.BATCH_SIZE + 3)
    together = predict_probabilities(Weighted(), images, CPU, flips=flips)

    assert together.shape == (prediction.BATCH_SIZE + 3, 1, 2, 3)
    for row in (0, prediction.BATCH_SIZE - 1, prediction.BATCH_SIZE, prediction.BATCH_SIZE + 2):
        assert torch.equal(
            together[row : row + 1], predict_probabilities(Weighted(), images[row : row + 1], CPU, flips=flips)
        )


def test_the_network_is_not_training_meanwhile() -> None:
    """Dropout would make it chance."""
    network = nn.Sequential(Weighted(), nn.Dropout(0.5)).train()
    first = predict_probabilities(network, noise(2), CPU, flips=False)

    assert torch.equal(first, predict_probabilities(Weighted(), noise(2), CPU, flips=False))


def test_a_probability_is_brought_to_another_size_bilinearly() -> None:
    """Pixel centers: 0 and 1 in two pixels are 0, 1/4, 3/4, 1 in four."""
    resized = resize_probabilities(torch.tensor([[[0.0, 1.0]]]), height=3, width=4)

    assert resized.tolist() == [[[0, 0.25, 0.75, 1]] * 3]


@pytest.mark.parametrize(("height", "width"), [(577, 769), (64, 64), (7, 5)])
def test_a_constant_probability_stays_constant(height: int, width: int) -> None:
    resized = resize_probabilities(torch.full((1, 64, 64), 0.3), height=height, width=width)

    assert resized.shape == (1, height, width)
    assert torch.allclose(resized, torch.tensor(0.3))


class Three(nn.Module):
    """Logits of three classes: the image's channels."""

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) to the same."""
        return image


def test_three_classes_share_a_probability_of_one() -> None:
    images = noise(2)

    found = predict_probabilities(Three(), images, CPU, flips=True)

    assert torch.allclose(found, (images / 255).softmax(dim=1))
    assert torch.equal(to_class_map(found, 0.9), images.argmax(dim=1).to(torch.uint8))


def test_of_two_classes_the_threshold_decides() -> None:
    found = to_class_map(torch.tensor([[[0.3, 0.4, 0.5]]]), 0.4)

    assert found.tolist() == [[0, 1, 1]]
    assert found.dtype == torch.uint8


@pytest.mark.parametrize("network", [Weighted(), Three()])
def test_logits_are_those_of_the_probabilities(network: nn.Module) -> None:
    """Softmax forgets a constant that is added to all, so the probabilities are compared."""
    found = predict_probabilities(network, noise(2), CPU, flips=True)
    again = to_logits(found)

    assert torch.allclose(again.sigmoid() if again.shape[1] == 1 else again.softmax(dim=1), found, atol=1e-6)


RING = [
    [1, 1, 1, 0, 2],
    [1, 0, 1, 0, 0],
    [1, 1, 1, 0, 1],
    [0, 0, 0, 1, 0],
]


@pytest.mark.parametrize(
    ("fill_holes", "largest_only", "expected"),
    [
        (False, False, RING),
        (True, False, [[1, 1, 1, 0, 2], [1, 1, 1, 0, 0], [1, 1, 1, 0, 1], [0, 0, 0, 1, 0]]),
        (False, True, [[1, 1, 1, 0, 2], [1, 0, 1, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]]),
        (True, True, [[1, 1, 1, 0, 2], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]]),
    ],
)
def test_cleaning_by_hand(fill_holes: bool, largest_only: bool, expected: list[list[int]]) -> None:
    """Corners don't join; the second class has one area, which stays."""
    mask = np.array(RING, np.uint8)
    found = postprocess(mask, classes=3, fill_holes=fill_holes, largest_only=largest_only)

    assert found.tolist() == expected
    assert found.dtype == np.uint8
    assert mask.tolist() == RING


def test_cleaning_leaves_what_another_class_holds() -> None:
    """A class inside another is no hole."""
    mask = np.array([[1, 1, 1, 1], [1, 2, 0, 1], [1, 1, 1, 1]], np.uint8)

    found = postprocess(mask, classes=3, fill_holes=True, largest_only=True)
    assert found.tolist() == [[1, 1, 1, 1], [1, 2, 1, 1], [1, 1, 1, 1]]


@pytest.mark.parametrize("value", [0, 1])
def test_cleaning_leaves_empty_and_full_predictions(value: int) -> None:
    mask = np.full((3, 4), value, np.uint8)

    assert np.array_equal(postprocess(mask, classes=2, fill_holes=True, largest_only=True), mask)


class Greedy(Weighted):
    """A network that needs more memory than there is for more than `fits` images at a time."""

    def __init__(self, fits: int, message: str) -> None:
        super().__init__()
        self.fits, self.message = fits, message
        self.seen: list[int] = []

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, 2, 3) to (N, 1, 2, 3)."""
        self.seen.append(len(image))
        if len(image) > self.fits:
            raise RuntimeError(self.message)
        return super().forward(image)


CPU_MESSAGE = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate"


def test_batches_are_halved_until_they_fit() -> None:
    """With six pixels, torch's sigmoid depends on the batch. A test below compares bytes for images of usual sizes."""
    images, network = noise(11), Greedy(3, CPU_MESSAGE)

    found = predict_probabilities(network, images, CPU, flips=True)

    assert torch.allclose(found, predict_probabilities(Weighted(), images, CPU, flips=True), rtol=0, atol=1e-6)
    assert network.seen[:2] == [11, 6]
    assert max(network.seen[2:]) <= 6


def test_an_image_that_does_not_fit_alone_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"^There isn't enough memory to predict one image of 3 px \(.*Lower preproc"):
        predict_probabilities(Greedy(0, CPU_MESSAGE), noise(5), CPU)


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        predict_probabilities(Greedy(0, "shapes don't match"), noise(5), CPU)


def test_large_images_are_predicted_in_small_batches() -> None:
    """At 160 px, a batch has 32 images. At 512 px, it has 3, and one that remains is computed as a pair."""
    seen = []

    class Blank(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            seen.append(len(image))
            return image[:, :1]

    predict_probabilities(Blank(), torch.zeros((33, 3, 160, 160), dtype=torch.uint8), CPU)
    predict_probabilities(Blank(), torch.zeros((7, 3, 512, 512), dtype=torch.uint8), CPU)

    assert seen == [32, 2, 3, 3, 2]


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_real_network_gives_the_same_bytes_in_every_batch(precision: Literal["bf16", "fp32"]) -> None:
    settings = ModelConfig(architecture="unet", encoder="resnet18", weights="none")
    torch.manual_seed(0)
    network = build_network(settings, classes=2)
    images = torch.randint(0, 256, (5, 3, 64, 64), dtype=torch.uint8)
    compute = ComputeSettings("cpu", precision, 1)
    together = predict_probabilities(network, images, compute)

    for number in (1, 2, 3):
        parts = [predict_probabilities(network, part, compute) for part in torch.split(images, number)]
        assert torch.equal(torch.cat(parts), together)


def test_weights_that_are_not_numbers_are_a_user_error() -> None:
    """Masks would be empty, as if there were no lesion."""

    class Damaged(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image[:, :1] * torch.tensor(float("nan"))

    with pytest.raises(UserError, match=r"^The model's probabilities aren't finite, so its weights are damaged or"):
        predict_probabilities(Damaged(), noise(2), CPU)
