"""A frozen encoder stays as it is, with its batch-norm statistics; then training goes on with it."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch

from naevi.config import Config
from naevi.models.build import NormalizedNetwork, create_network
from naevi.training import loop, step
from naevi.training.checkpoint import Checkpoint, HistoryRow
from tests.training.test_loop import CPU, phantoms

ConfigWith = Callable[[dict[str, Any]], Config]
State = dict[str, torch.Tensor]
pytestmark = [pytest.mark.usefixtures("torch_threads"), pytest.mark.slow]

# Weight decay is as strong as possible, because it must not reach frozen weights. 6 images are two steps an epoch.
SETTINGS = {
    "model": {"architecture": "unet", "encoder": "tu-test_resnet", "weights": "none"},
    "train.epochs": 3,
    "train.batch_size": 4,
    "train.weight_decay": 1.0,
}


def _copy(network: NormalizedNetwork) -> State:
    return {key: value.clone() for key, value in network.state_dict().items()}


def _changed(first: State, second: State) -> set[str]:
    """The parts of the network, encoder or other, in which any value differs."""
    names = {key for key in first if not torch.equal(first[key], second[key])}
    return {"encoder" if key.startswith("body.encoder.") else "other" for key in names}


def _changes_by_epoch(config: Config) -> tuple[list[set[str]], set[str]]:
    """What each epoch changes, and what differs at the end from the start."""
    torch.set_num_threads(1)
    network = create_network(config.model, classes=2, seed=0)
    states = [_copy(network)]

    def remember(_row: HistoryRow, _predictions: Any) -> None:
        states.append(_copy(network))

    loop.fit(network, phantoms(0, 6), phantoms(6, 2), config.train, CPU, Checkpoint(None), remember)
    pairs = pairwise(states)
    return [_changed(*pair) for pair in pairs], _changed(states[0], network.state_dict())


@pytest.mark.parametrize(("frozen", "epochs_of_encoder"), [(0, [1, 2, 3]), (1, [2, 3]), (2, [3]), (3, []), (9, [])])
def test_the_encoder_changes_only_after_the_frozen_epochs(
    config_with: ConfigWith, frozen: int, epochs_of_encoder: list[int]
) -> None:
    """Validation in between puts the whole network into evaluation mode and back."""
    changes, _ = _changes_by_epoch(config_with(SETTINGS | {"train.freeze_encoder": frozen}))

    assert [epoch for epoch, parts in enumerate(changes, start=1) if "encoder" in parts] == epochs_of_encoder
    assert all("other" in parts for parts in changes)


def test_the_moving_average_of_a_frozen_encoder_is_the_encoder(config_with: ConfigWith) -> None:
    _, changed = _changes_by_epoch(config_with(SETTINGS | {"train.freeze_encoder": 3, "train.average": 0.7}))

    assert changed == {"other"}


def test_adamw_begins_with_the_encoder_when_it_is_no_longer_frozen(config_with: ConfigWith) -> None:
    """Its bias correction depends on the number of steps: two epochs of two steps are frozen, one is not."""
    made: list[torch.optim.AdamW] = []

    class Spy(step.AdamW):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    config = config_with(SETTINGS | {"train.freeze_encoder": 2})
    network = create_network(config.model, classes=2, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "AdamW", Spy)
        loop.fit(network, phantoms(0, 6), None, config.train, CPU, Checkpoint(None), lambda *_: None)

    (optimizer,) = made
    steps = {name: int(optimizer.state[weight]["step"]) for name, weight in network.named_parameters()}
    assert {number for name, number in steps.items() if name.startswith("body.encoder.")} == {2}
    assert {number for name, number in steps.items() if not name.startswith("body.encoder.")} == {6}


def test_weights_that_are_never_trained_stay_so(config_with: ConfigWith) -> None:
    """Some encoders have fixed position embeddings."""
    config = config_with(SETTINGS | {"train.freeze_encoder": 1})
    network = create_network(config.model, classes=2, seed=0)
    name, fixed = next(iter(network.named_parameters()))
    fixed.requires_grad_(False)
    before = _copy(network)
    loop.fit(network, phantoms(0, 6), None, config.train, CPU, Checkpoint(None), lambda *_: None)

    assert name.startswith("body.encoder.")
    assert torch.equal(network.state_dict()[name], before[name])
    assert _changed(before, network.state_dict()) == {"encoder", "other"}
