"""The model that MLflow serves: image files in, masks as PNG files out, with the same bytes as `naevi predict`.

MLflow runs this file when it loads the model. Nothing is unpickled.
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

from naevi.datasets.decoding import read_new_image
from naevi.errors import UserError
from naevi.images.files import Pixels, write_mask
from naevi.inference import segmenter
from naevi.inference.segmenter import load_segmenter

SIGNATURE = ModelSignature(Schema([ColSpec("binary", "image")]), Schema([ColSpec("binary", "mask")]))


def _png(mask: Pixels) -> bytes:
    buffer = io.BytesIO()
    write_mask(buffer, mask)
    return buffer.getvalue()


EXAMPLE = pd.DataFrame({"image": [_png(np.zeros((64, 64), np.uint8))]})


class ServedModel(PythonModel):
    """The interface that MLflow calls."""

    def load_context(self, context: Any) -> None:
        """Load the predictor, which is the artifact `model`."""
        self._segmenter = load_segmenter(Path(context.artifacts["model"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return a PNG file with the mask (column mask) for each image file (column image; base64 in JSON).

        Masks have the size of their images. Raises MlflowException for a file that is not an image. A server answers it
        with status 400.
        """
        contents = model_input["image"].tolist()
        masks: list[bytes] = []
        for start in range(0, len(contents), segmenter.BATCH_SIZE):
            batch = enumerate(contents[start : start + segmenter.BATCH_SIZE], start=start + 1)
            try:
                images = [
                    read_new_image(bytes(content), f"image {number}", self._segmenter.reading).pixels
                    for number, content in batch
                ]
            except UserError as error:
                raise MlflowException.invalid_parameter_value(str(error)) from None
            masks += [_png(self._segmenter.mask(probability)) for probability in self._segmenter.probabilities(images)]
        return pd.DataFrame({"mask": masks})


set_model(ServedModel())
