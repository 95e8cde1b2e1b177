"""A model as MLflow serves it: image files in, masks as PNG files out, the bytes that `python -m naevi predict` writes.

MLflow runs this file where it loads the model, with the weights beside it; nothing is unpickled.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, set_model
from mlflow.pyfunc.model import PythonModel
from mlflow.types import ColSpec, Schema

from naevi import segmenter
from naevi.images import Pixels, read_image, write_mask
from naevi.refusal import Refusal
from naevi.segmenter import BATCH

SIGNATURE = ModelSignature(Schema([ColSpec("binary", "image")]), Schema([ColSpec("binary", "mask")]))


def _png(mask: Pixels) -> bytes:
    buffer = io.BytesIO()
    write_mask(buffer, mask)
    return buffer.getvalue()


EXAMPLE = pd.DataFrame({"image": [_png(np.zeros((64, 64), np.uint8))]})


class Served(PythonModel):
    """What MLflow calls."""

    def load_context(self, context: Any) -> None:
        """Load the model, and how it is asked, from the two artifacts that it was logged with."""
        self._model = segmenter.load(Path(context.artifacts["model"]), Path(context.artifacts["params"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Of each image file (column image, bytes; base64 in JSON) the mask at its size as a PNG file (column mask).

        Raises MlflowException, which a server answers with status 400, for what is no image.
        """
        contents = model_input["image"].tolist()
        masks: list[bytes] = []
        for first in range(0, len(contents), BATCH):
            try:
                part = enumerate(contents[first : first + BATCH], start=first + 1)
                images = [read_image(bytes(content), f"image {number}") for number, content in part]
            except Refusal as refusal:
                raise MlflowException.invalid_parameter_value(str(refusal)) from None
            masks += [_png(self._model.mask(each)) for each in self._model.probabilities(images)]
        return pd.DataFrame({"mask": masks})


set_model(Served())
