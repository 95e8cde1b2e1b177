"""A model for other programs: one ONNX file, pixels in, probabilities out."""

import json
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from naevi import model_file, prediction, provenance, whole
from naevi.dataset import scaled
from naevi.refusal import Refusal, reason


class _Pixels(nn.Module):
    """From pixels to probabilities, as `prediction.probabilities` asks a network once."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return prediction.activated(self.network(scaled(images)))


def write(model: Path, out: Path, *, force: bool) -> None:
    """Write a model as an ONNX file, in fp32.

    Its input `images` is uint8 (N, 3, size, size), RGB; its output `probability` float32 (N, C, size, size). Where C is
    1, that is of the class that is not the background. `size`, `classes` and the `sha256` of the weights stand in the
    file's metadata, as JSON. Mirrored views, the way back to native size, the threshold and what is cleaned away are
    not in it: they are `segmenter.Segmenter`'s.

    Raises Refusal where `out` is there already, without `force`, or isn't named .onnx; where ONNX has no words for the
    network; and as `model_file.read` does.
    """
    if out.suffix != ".onnx" or (out.exists() and not force):
        raise Refusal(f"--out {out} is there already, or is no .onnx; name a new one, or overwrite with --force.")
    description = provenance.described(model)
    size = description["size"]
    network = _Pixels(model_file.read(model, device="cpu")).eval()
    example = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's, of its own parts
            program = torch.onnx.export(
                network,
                (example,),
                input_names=["images"],
                output_names=["probability"],
                dynamic_shapes={"images": {0: torch.export.Dim("N")}},
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        architecture = description["model"]["architecture"]
        raise Refusal(f"{architecture} can't be written as ONNX ({reason(error)[:200]}).") from error
    assert program is not None  # only with a file's name it is
    program.model.metadata_props.update({key: json.dumps(description[key]) for key in ("size", "classes", "sha256")})
    with whole.file(out) as partial:
        program.save(partial, external_data=False)
