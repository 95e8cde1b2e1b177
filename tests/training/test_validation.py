"""Scores of validation images, by hand. The network predicts what is drawn in the image."""

import math

import pytest
import torch
from torch import Tensor, nn

from naevi.dataset import PreparedImages
from naevi.images.files import VOID
from naevi.metrics import confusion_counts, overlap_scores
from naevi.models.device import ComputeSettings
from naevi.training.losses import build_loss
from naevi.training.validation import CHUNK_SIZE, validate

CPU = ComputeSettings("cpu", "fp32", 1)


class Drawn(nn.Module):
    """A network that is sure of the class that a pixel's value stands for."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, image: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, C, H, W)."""
        class_map = (image[:, :1] * 255).round()
        if self.classes == 2:
            return 40 * class_map - 20
        return -20 * (class_map - torch.arange(self.classes).view(1, -1, 1, 1)).abs()


def scores(masks: Tensor, predictions: Tensor, classes: int) -> tuple[float, float]:
    """Return val_dice and val_iou for masks and predictions, (N, H, W) of class indices."""
    images = predictions[:, None].expand(-1, 3, -1, -1).to(torch.uint8)
    validation = PreparedImages([str(row) for row in range(len(masks))], images, masks[:, None].byte(), classes)
    row, found = validate(Drawn(classes), validation, build_loss("cross-entropy+dice"), CPU)
    assert found.tolist() == predictions.tolist()
    return row["val_dice"], row["val_iou"]


def test_predicting_nothing_scores_0_although_most_classes_are_absent() -> None:
    """Ten classes, two in each image. If absent classes counted as 1, the mean would be 0.8."""
    masks = torch.stack([torch.tensor([[1 + index, 1 + (index + 1) % 10]]) for index in range(10)])

    assert scores(masks, torch.zeros_like(masks), classes=11) == (0.0, 0.0)


def test_it_is_the_mean_over_images_of_the_mean_over_classes() -> None:
    """Class 1 is right in both images, and class 2 is missed in the second: 1 and 1/2. The third has no score."""
    masks = torch.tensor([[[1, 1, 0]], [[1, 1, 2]], [[0, 0, 0]]])
    predictions = torch.tensor([[[1, 1, 0]], [[1, 1, 0]], [[0, 0, 0]]])

    assert scores(masks, predictions, classes=3) == pytest.approx((0.75, 0.75))


def test_without_any_score_the_mean_is_nan() -> None:
    nothing = torch.zeros(2, 1, 3, dtype=torch.int64)

    assert all(math.isnan(score) for score in scores(nothing, nothing, classes=3))


def test_with_two_classes_it_is_the_mean_over_images_to_the_last_bit() -> None:
    """More images than fit in memory at a time. Some have no foreground."""
    generator = torch.Generator().manual_seed(0)
    masks, predictions = (torch.randint(0, 2, (CHUNK_SIZE + 5, 1, 2), generator=generator) for _ in range(2))
    table = overlap_scores(confusion_counts(masks, predictions), classes=2)

    assert scores(masks, predictions, classes=2) == (float(table.dice.mean()), float(table.iou.mean()))


def test_pixels_without_a_known_class_do_not_count() -> None:
    """One of two lesion pixels is found, and nothing else of what is known."""
    masks = torch.tensor([[[1, 1, 0, VOID, VOID]]])

    assert scores(masks, torch.tensor([[[1, 0, 0, 1, 1]]]), classes=2) == pytest.approx((2 / 3, 1 / 2))
