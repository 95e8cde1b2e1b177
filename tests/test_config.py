"""params.yaml: what is accepted, and in which words the rest is refused."""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from naevi.config import Config, load_config, parse_config
from naevi.errors import UserError
from naevi.experiments.demo import set_parameters
from naevi.files import read_yaml
from tests.helpers import HERE

Params = Callable[[dict[str, Any]], dict[str, Any]]
OWN = {"data.source": "folder", "data.path": "data/mine"}


def problems(values: Any) -> list[str]:
    """The lines of the refusal."""
    with pytest.raises(UserError) as refusal:
        parse_config(values)
    return [line.strip() for line in str(refusal.value).splitlines()]


def numbers(schema: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each number in a JSON schema, with its place."""
    children = schema.items() if isinstance(schema, dict) else enumerate(schema) if isinstance(schema, list) else ()
    if isinstance(schema, dict) and schema.get("type") in ("integer", "number"):
        yield place, schema
    for key, child in children:
        yield from numbers(child, f"{place}/{key}")


def test_the_committed_params_are_valid(folder: Path) -> None:
    config = load_config(HERE)

    assert config.model_dump() == read_yaml(Path("params.yaml"))


def test_not_more_than_twenty_problems_are_named(params_with: Params) -> None:
    lines = problems(params_with({}) | {f"key{number}": 1 for number in range(60_000)})

    assert (len(lines), lines[0], lines[-1]) == (22, "params.yaml has 60000 problem(s):", "… and 59980 more")


def test_every_parameter_has_a_comment_with_its_unit_or_meaning(folder: Path) -> None:
    """A leaf is a key with a value, or with a list under it."""
    lines = Path("params.yaml").read_text().splitlines()
    leaves = [
        line.strip()
        for line, after in pairwise([*lines, ""])
        if re.match(r"\s*\w+:\s*[^\s#]", line) or (re.match(r"\s*\w+:", line) and after.strip().startswith("- "))
    ]

    assert len(leaves) > 30
    assert [line for line in leaves if "#" not in line] == []


def test_every_number_has_a_lower_and_an_upper_bound() -> None:
    """Only that of a fold's number stands elsewhere: it is split.folds."""
    found = dict(numbers(Config.model_json_schema()))
    low = [place for place, each in found.items() if not {"minimum", "exclusiveMinimum"} & set(each)]
    high = [place for place, each in found.items() if not {"maximum", "exclusiveMaximum"} & set(each)]

    assert len(found) > 20
    assert low == []
    assert high == ["/$defs/CvConfig/properties/models/items/anyOf/0"]


def test_all_problems_are_told_at_once(params_with: Params) -> None:
    values = params_with({"data.source": "isic", "preprocess.size": 10, "train.epochs": "2", "train.lrr": 3})
    del values["evaluate"]["seed"]

    assert problems(values) == [
        "params.yaml has 5 problem(s):",
        "data.source: Input should be 'ph2', 'phantoms' or 'folder'; got 'isic'",
        "preprocess.size: Input should be greater than or equal to 32; got 10",
        "train.epochs: Input should be a valid integer; got '2'",
        "train.lrr: there is no such parameter; got 3",
        "evaluate.seed: is missing",
    ]


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("train.epochs", True, "Input should be a valid integer; got True"),
        ("train.epochs", 2.0, "Input should be a valid integer; got 2.0"),
        ("train.epochs", 0, "Input should be greater than or equal to 1; got 0"),
        ("train.lr", "1e-3", "Input should be a valid number; got '1e-3'"),
        ("train.lr", 0, "Input should be greater than 0; got 0"),
        ("train.lr", float("nan"), "Input should be a finite number; got nan"),
        ("train.lr", None, "Input should be a valid number; got None"),
        ("train.seed", 2**32, "Input should be less than 4294967296; got 4294967296"),
        ("train.augment.flips", 1, "Input should be a valid boolean; got 1"),
        ("train.augment.tint", True, "Input should be a valid number; got True"),
        ("model.encoder", "", "String should have at least 1 character; got ''"),
        ("evaluate.threshold", 1, "Input should be less than 1; got 1"),
        (
            "data.classes",
            {"skin": 0},
            "Dictionary should have at least 2 items after validation, not 1; got {'skin': 0}",
        ),
        ("split.validation", 0.6, "Input should be less than or equal to 0.5; got 0.6"),
        ("cv.models", [], "List should have at least 1 item after validation, not 0; got []"),
        ("cv.models", 0, "Input should be a valid list; got 0"),
    ],
)
def test_a_wrong_value_is_refused(params_with: Params, key: str, value: Any, problem: str) -> None:
    assert problems(params_with({key: value})) == ["params.yaml has 1 problem(s):", f"{key}: {problem}"]


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("runtime.threads", "2", "runtime.threads"),
        ("runtime.threads", 0, "runtime.threads"),
        ("cv.models", [True], "cv.models.0"),
        ("cv.models", [0, -1], "cv.models.1"),
        ("cv.models", [0, "some"], "cv.models.1"),
    ],
)
def test_a_number_or_a_word_that_is_neither_is_one_problem(
    params_with: Params, key: str, value: Any, place: str
) -> None:
    """It says which place, in params.yaml's words."""
    _, *lines = problems(params_with({key: value}))

    assert [line.split(": ")[0] for line in lines] == [place]


LOSSES = "a sum such as cross-entropy+dice of bce, cross-entropy, dice, focal, lovasz, tversky, each once"
WEIGHTS = "must be imagenet, none or the name of a .safetensors file in data/weights"


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"train.loss": "hinge"}, f"train.loss: {LOSSES}; got 'hinge'"),
        ({"train.loss": "dice+dice"}, f"train.loss: {LOSSES}; got 'dice+dice'"),
        ({"model.weights": "imagenette"}, f"model.weights: {WEIGHTS}; got 'imagenette'"),
        (
            {"model.weights": "models:/ph2@champion"},
            f"model.weights: {WEIGHTS}; got 'models:/ph2@champion'. Run `naevi export --model models:/ph2@champion "
            "--out data/weights/start.safetensors` and set model.weights to start.safetensors",
        ),
        (
            {"model.weights": "isic.pth"},
            f"model.weights: {WEIGHTS}; got 'isic.pth'. Convert this pickle: "
            "`safetensors.torch.save_file(torch.load(old, weights_only=True), new)` in Python",
        ),
        (
            {"model.architecture": "segnet", "train.freeze_encoder": 3},
            "train.freeze_encoder: must be 0 for segnet, whose encoder is not a module of its own; got 3",
        ),
        ({"data.classes": {"a": 0, "b": 0}}, "data.classes: each class has a value of its own; got {'a': 0, 'b': 0}"),
        (
            {"data.source": "ph2", "data.classes": {"skin": 0, "lesion": 1}},
            "data.classes: masks of ph2 hold 0 and 255; got {'skin': 0, 'lesion': 1}",
        ),
        (
            OWN | {"data.classes": {"a": 0, "b": 1, "c": 2}, "train.loss": "bce+dice"},
            "train.loss: bce is for two classes, cross-entropy for any; got 3 classes",
        ),
    ],
)
def test_what_no_single_type_can_say_is_refused_too(
    params_with: Params, overrides: dict[str, Any], problem: str
) -> None:
    assert problems(params_with(overrides)) == ["params.yaml has 1 problem(s):", problem]


def test_a_class_with_a_name_that_mlflow_refuses_is_refused(params_with: Params) -> None:
    (_, problem) = problems(params_with(OWN | {"data.classes": {"skin": 0, "a/b": 255}}))

    assert problem.startswith("data.classes.a/b: String should match pattern")


def test_classes_are_in_the_order_of_their_values(params_with: Params) -> None:
    """However they are listed: DVC forgets the order."""
    classes = {"head": 7, "body": 3, "street": 0}
    data = parse_config(params_with(OWN | {"data.classes": classes})).data

    assert data.names() == ["street", "body", "head"]
    assert data.values() == [0, 3, 7]


@pytest.mark.parametrize(
    "overrides",
    [
        {"train.loss": "lovasz"},
        {"train.loss": "focal+tversky"},
        {"model.weights": "weights/isic.safetensors"},
        {"split.folds": 1, "cv.models": [0, "all"]},
        OWN | {"data.classes": {"a": 0, "b": 300}},
    ],
)
def test_what_is_rarer_is_accepted(params_with: Params, overrides: dict[str, Any]) -> None:
    assert parse_config(params_with(overrides))


@pytest.mark.parametrize(
    ("models", "problem"),
    [
        ([0, 5], "split.folds is 5, so a model is one of 0..4 or all; got 5"),
        ([0, 1, 0], "each model is listed once; got [0, 1, 0]"),
        (["all", 0, "all"], "each model is listed once; got ['all', 0, 'all']"),
        (["all"], "at least one fold is needed to measure anything; got [all]"),
    ],
)
def test_models_are_folds_named_once_and_not_all_alone(params_with: Params, models: list[Any], problem: str) -> None:
    values = params_with({"split.folds": 5, "cv.models": models})

    assert problems(values) == ["params.yaml has 1 problem(s):", f"cv.models: {problem}"]


@pytest.mark.parametrize(
    ("models", "folds", "items"),
    [(["all", 2, 0], [0, 2], ["0", "2", "all"]), ([1], [1], ["1"]), ([1, 0], [0, 1], ["0", "1"])],
)
def test_folds_rise_and_all_comes_last(
    params_with: Params, models: list[Any], folds: list[int], items: list[str]
) -> None:
    config = parse_config(params_with({"split.folds": 5, "cv.models": models}))

    assert config.folds() == folds
    assert config.model_names() == items


def test_a_number_may_be_written_with_an_exponent(folder: Path) -> None:
    """As YAML 1.2 and DVC have it; PyYAML would read a string."""
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(re.sub(r"\blr: \S+", "lr: 1e-4", text))

    assert load_config(HERE).train.lr == 0.0001


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"data: 1\ndata: 2\n", 'is not YAML: .*found duplicate key "data"'),
        (b"data: [1\n", "is not YAML: .*expected ',' or ']'"),
        (b"data: \xff\n", "is not YAML: 'utf-8' codec can't decode byte 0xff"),
        (b"", "has 1 problem.*\n  the file: Input should be a valid dictionary or instance of Config; got None$"),
    ],
)
def test_a_file_that_is_no_yaml_mapping_is_refused(folder: Path, content: bytes, message: str) -> None:
    Path("params.yaml").write_bytes(content)

    with pytest.raises(UserError, match=f"^params.yaml {message}"):
        load_config(HERE)


def test_a_missing_file_is_refused(folder: Path) -> None:
    Path("params.yaml").unlink()

    with pytest.raises(UserError, match=r"^params.yaml can't be read: No such file or directory\.$"):
        load_config(HERE)


def test_a_section_that_was_not_named_can_not_be_read(folder: Path) -> None:
    """So no stage uses a parameter that dvc.yaml doesn't declare for it."""
    config = load_config(HERE, "split", "cv")

    assert config.split == load_config(HERE).split
    assert config.folds() == load_config(HERE).folds()
    with pytest.raises(AttributeError, match="train"):
        _ = config.train


def test_a_key_that_was_not_named_can_not_be_read(folder: Path) -> None:
    config = load_config(HERE, "data.source", "data.classes", "split")

    assert (config.data.source, config.data.names()) == ("ph2", ["skin", "lesion"])
    with pytest.raises(AttributeError, match="path"):
        _ = config.data.path


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            {"data.path": "PH2Dataset.rar"},
            "data.path: must be data/ph2.csv, the manifest, if data.source is ph2; got PH2Dataset.rar. To use PH2 "
            "files from another place, set NAEVI_SOURCE",
        ),
        (
            {"data.source": "folder"},
            "data.path: must name the folder or archive with your images if data.source is folder",
        ),
    ],
)
def test_the_path_fits_the_source(params_with: Params, overrides: dict[str, Any], problem: str) -> None:
    assert problems(params_with(overrides)) == ["params.yaml has 1 problem(s):", problem]


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({}, "ph2"),
        ({"data.name": "clinic"}, "ph2"),
        ({"data.source": "phantoms", "data.name": "clinic"}, "phantoms"),
        (OWN, "mine"),
        (OWN | {"data.path": "/archive/naevi 2024.tar.xz"}, "naevi 2024"),
        (OWN | {"data.path": "data/mine/"}, "mine"),
        (OWN | {"data.name": "clinic"}, "clinic"),
    ],
)
def test_own_images_are_called_as_the_name_or_the_folder_says(
    params_with: Params, overrides: dict[str, Any], name: str
) -> None:
    assert parse_config(params_with(overrides)).data.data_set() == name


def test_the_whole_file_is_checked_whatever_is_named(folder: Path) -> None:
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(re.sub(r"\blr: \S+", "lr: fast", text))

    with pytest.raises(UserError, match=r"train\.lr: Input should be a valid number; got 'fast'"):
        load_config(HERE, "split")


def test_a_config_can_not_be_changed(folder: Path) -> None:
    config = load_config(HERE)

    with pytest.raises(ValidationError, match="frozen"):
        config.train.lr = 1.0


def test_values_are_overridden_and_comments_kept(folder: Path) -> None:
    before = Path("params.yaml").read_text()
    set_parameters(
        Path("params.yaml"), ["train.lr=1e-4", "train.augment.flips=false", "cv.models=[1, all]", "model.encoder=x"]
    )
    config = load_config(HERE)

    assert (config.train.lr, config.train.augment.flips, config.model.encoder) == (0.0001, False, "x")
    assert config.model_names() == ["1", "all"]
    assert re.findall("# [a-z].*", Path("params.yaml").read_text()) == re.findall("# [a-z].*", before)


@pytest.mark.parametrize("assignment", ["train.lrr=1", "lr=1", "train.lr.x=1", "train.lr", "train.augment.flips.x.y=1"])
def test_an_override_of_nothing_is_refused(folder: Path, assignment: str) -> None:
    before = Path("params.yaml").read_text()

    with pytest.raises(
        UserError,
        match=rf"^'{assignment}' can't be set, because params.yaml has no parameter {assignment.split('=')[0]}\.$",
    ):
        set_parameters(Path("params.yaml"), ["train.epochs=1", assignment])
    assert Path("params.yaml").read_text() == before


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"data.classes": {"skin": 0, "lesion": "#ff0000"}},
            "data.classes: either all classes and data.masks.void are numbers, or all are colors; got {'skin': 0, "
            "'lesion': '#ff0000'} and []",
        ),
        (
            {"data.masks.void": ["#e0e0c0"]},
            "data.classes: either all classes and data.masks.void are numbers, or all are colors; got {'skin': 0, "
            "'lesion': 255} and ['#e0e0c0']",
        ),
        ({"data.masks.void": [7, 255]}, "data.masks.void: its values are not those of classes; got [7, 255]"),
        (
            {"data.masks.void": [7], "data.masks.several": "classes"},
            "data.masks.void: must be [] if data.masks.several is classes; got [7]",
        ),
        (
            {"data.classes_by_dataset": {"b": {"skin": 0, "lesion": 1}}},
            "data.classes_by_dataset: must be none if data.datasets is one; got b",
        ),
        (
            {"data.datasets": "subfolders", "data.classes_by_dataset": {"b": {"lesion": 0, "skin": 1}}},
            "data.classes_by_dataset.b: has the classes of data.classes, with values in the same order: skin, lesion; "
            "got {'lesion': 0, 'skin': 1}",
        ),
        (
            {"data.datasets": "subfolders", "data.classes_by_dataset": {"b": {"skin": 7, "lesion": 7}}},
            "data.classes_by_dataset.b: each class has a value of its own; got {'skin': 7, 'lesion': 7}",
        ),
        (
            {"data.source": "phantoms", "data.path": "data/ph2.csv", "data.datasets": "subfolders"},
            "data.datasets: must be one, unless data.source is folder; got subfolders",
        ),
        (
            {"data.patterns.images": "photos/{id}.jpg"},
            "data.patterns: both auto, or both with the same parts in braces, such as images: photos/{id}.jpg and "
            "masks: labels/{id}_*.png; got photos/{id}.jpg and auto",
        ),
        (
            {"data.patterns.images": "photos/{id}.jpg", "data.patterns.masks": "labels/{name}.png"},
            "data.patterns: both auto, or both with the same parts in braces, such as images: photos/{id}.jpg and "
            "masks: labels/{id}_*.png; got photos/{id}.jpg and labels/{name}.png",
        ),
    ],
)
def test_classes_void_and_patterns_that_do_not_fit_are_refused(
    params_with: Params, changes: dict[str, Any], problem: str
) -> None:
    assert problems(params_with(OWN | changes)) == ["params.yaml has 1 problem(s):", problem]


def test_classes_are_in_the_order_of_their_values_or_colors(params_with: Params) -> None:
    """As numbers, red is larger than green, and upper and lower case are equal."""
    colors = {"data.classes": {"ulcer": "#FF0000", "lesion": "#00ff00", "skin": "#000000"}}
    data = parse_config(params_with(OWN | colors)).data

    assert data.names() == ["skin", "lesion", "ulcer"]
    assert data.values() == [0, 0x00FF00, 0xFF0000]
