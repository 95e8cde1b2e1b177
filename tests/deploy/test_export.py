"""The weights of a model are exported as they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from naevi.config import Config
from naevi.deploy.export import export_model
from naevi.errors import UserError
from tests.deploy.predictors import write_predictor


def test_weights_are_exported_to_train_from(tmp_path: Path, config_with: Callable[[dict[str, Any]], Config]) -> None:
    """Byte for byte, after a check against model.json."""
    folder = write_predictor(tmp_path / "predictor", config_with({}))
    out = tmp_path / "data/weights/start.safetensors"

    export_model(folder, out, force=False)

    content = (folder / "model.safetensors").read_bytes()
    assert out.read_bytes() == content
    (folder / "model.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"is not the file that model\.json describes"):
        export_model(folder, out, force=True)
    assert out.read_bytes() == content
