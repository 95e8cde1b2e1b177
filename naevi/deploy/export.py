"""Export a model as one file: ONNX for other programs, safetensors as the start of another training."""

import shutil
from pathlib import Path

from naevi.deploy.onnx import write_onnx
from naevi.errors import check_output
from naevi.files import atomic_file
from naevi.inference.predictor import SETTINGS, read_predict_settings
from naevi.models.storage import WEIGHTS, load_model


def export_model(model: Path, out: Path, *, force: bool) -> None:
    """Write the model in a folder as an .onnx file (see `write_onnx`) or as a .safetensors file with its weights.

    Raises UserError as `check_output`, `load_model` and `write_onnx` do.
    """
    check_output(out, force=force, suffixes=(".onnx", ".safetensors"))
    if (model / SETTINGS).exists():
        read_predict_settings(model)  # a predictor without a model: its message says why
    network, description = load_model(model, device="cpu")  # also checks the weights against model.json
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(out) as partial:
        if out.suffix.lower() == ".safetensors":
            shutil.copyfile(model / WEIGHTS, partial)
        else:
            write_onnx(network, description, partial)
