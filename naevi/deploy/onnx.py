"""Export a model as one ONNX file: pixels in, probabilities out."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from naevi.errors import UserError, describe_error
from naevi.models.prediction import scale_pixels, to_probabilities


class PixelNetwork(nn.Module):
    """A network with pixels as input and probabilities as output, without test-time augmentation."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities, float32 (N, C, H, W), for images uint8 (N, 3, H, W)."""
        return to_probabilities(self.network(scale_pixels(images)))


def write_onnx(network: nn.Module, description: dict[str, Any], file: Path) -> None:
    """Write a network as an ONNX file, in fp32. `description` is the content of its model.json.

    Input `images`: uint8 (N, 3, size, size), RGB. Output `probability`: float32 (N, C, size, size). With two classes C
    is 1: the foreground's probability. The metadata contain `size`, `classes` and the weights' `sha256` as JSON. Not
    part of the file: test-time augmentation, resizing to the native size, threshold and postprocessing.

    Raises UserError if ONNX can't express the network.
    """
    program = _trace(PixelNetwork(network).eval(), description)
    program.model.metadata_props.update({key: json.dumps(description[key]) for key in ("size", "classes", "sha256")})
    program.save(file, external_data=False)


def _trace(network: nn.Module, description: dict[str, Any]) -> torch.onnx.ONNXProgram:
    """Return the network as an ONNX program for any number of images."""
    size = description["size"]
    example = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns of its own dependencies
            program = torch.onnx.export(
                network,
                (example,),
                input_names=["images"],
                output_names=["probability"],
                dynamic_shapes={"images": {0: torch.export.Dim("N")}},
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(
            f"{description['model']['architecture']} can't be exported to ONNX ({describe_error(error)[:200]}). "
            "Export a model with another architecture."
        ) from error
    assert program is not None  # it is None only if a file name was given
    return program
