"""Score a network on the validation images during training."""

import numpy as np
import pandas as pd
import torch
from torch import nn

from naevi.dataset import PreparedImages
from naevi.images.files import Pixels
from naevi.metrics import confusion_counts, overlap_scores
from naevi.models.device import ComputeSettings
from naevi.models.prediction import predict_probabilities, to_class_map, to_logits
from naevi.training.checkpoint import HistoryRow
from naevi.training.losses import LossFunction

CHUNK_SIZE = 256  # validation images in memory at a time


def validate(
    network: nn.Module, validation: PreparedImages, loss_function: LossFunction, compute: ComputeSettings
) -> tuple[HistoryRow, Pixels]:
    """Return val_loss, val_dice and val_iou, and the predictions, uint8 (N, H, W) of class indices.

    Scores are means over images of the means over classes, at the training size, without test-time augmentation or
    postprocessing. Classes without a score are left out as in evaluation. If no image has a score, the mean is NaN.
    """
    total_loss, scores, predictions = 0.0, [], []
    chunks = (torch.split(tensor, CHUNK_SIZE) for tensor in (validation.images, validation.masks))
    for images, masks in zip(*chunks, strict=True):
        probability = predict_probabilities(network, images, compute)
        prediction = to_class_map(probability, 0.5).cpu().numpy()
        predictions.append(prediction)
        counts = confusion_counts(masks[:, 0].cpu(), prediction, classes=validation.classes)
        scores.append(overlap_scores(counts, classes=validation.classes))
        total_loss += loss_function(to_logits(probability), masks.to(compute.device)).item() * len(images)
    table = pd.concat(scores)
    image = np.arange(len(table)) // (validation.classes - 1)  # a row for each foreground class
    row = {
        "val_loss": total_loss / len(validation),
        "val_dice": float(table.dice.groupby(image).mean().mean()),
        "val_iou": float(table.iou.groupby(image).mean().mean()),
    }
    return row, np.concatenate(predictions)
