"""The schema of params.yaml, and the functions that read a file and check it against the schema.

The schema is in one module so that it can be read as a whole. It has no defaults, because DVC can't track a value that
params.yaml doesn't show. It takes four fifths of this module. The functions below it stay here because they and the
validators word the messages together, and because an edit of a message must not make a stage run again: no stage
depends on this module, but all depend on `files.py`.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from naevi.added_parameters import check_complete, complete_record
from naevi.errors import UserError, first_ten, shorten
from naevi.files import read_yaml, yaml_text
from naevi.workspace import Workspace

Seed = Annotated[int, Field(ge=0, lt=2**32)]

# Written out, because importing torch takes seconds. A test compares the list with smp's.
Architecture = Literal[
    "segnet",
    "unet-plain",
    "unet",
    "unetplusplus",
    "manet",
    "linknet",
    "fpn",
    "pspnet",
    "deeplabv3",
    "deeplabv3plus",
    "pan",
    "upernet",
    "segformer",
    "dpt",
]
ARCHITECTURES: tuple[str, ...] = get_args(Architecture)
LESSON_12: tuple[Architecture, ...] = ("segnet", "unet-plain")  # networks without an encoder that can be frozen
LossName = Literal["bce", "cross-entropy", "dice", "focal", "lovasz", "tversky"]
LOSS_NAMES: tuple[str, ...] = get_args(LossName)


class Section(BaseModel):
    """A section of params.yaml. Unknown keys, wrong types and values out of bounds are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


S = TypeVar("S", bound=Section)
MAX_PROBLEMS = 20  # that a message names


def _known_weights(value: str) -> str:
    # Records of earlier versions have paths, so the rest of the name isn't checked. DVC stops if there is no such file.
    if value in ("imagenet", "none") or value.endswith(".safetensors"):
        return value
    remedy = ""
    if value.startswith(("models:/", "runs:/")):  # not a stable input: its files can change or be deleted
        remedy = f". Run `naevi export --model {shorten(value)} --out data/weights/start.safetensors` and set "
        remedy += "model.weights to start.safetensors"
    elif value.endswith((".pth", ".pt", ".ckpt", ".bin")):
        remedy = (
            ". Convert this pickle: `safetensors.torch.save_file(torch.load(old, weights_only=True), new)` in Python"
        )
    raise ValueError(
        "model.weights: must be imagenet, none or the name of a .safetensors file in data/weights; "
        f"got {shorten(repr(value))}{remedy}"
    )


def _known_losses(value: str) -> str:
    terms = value.split("+")
    if not set(terms) <= set(LOSS_NAMES) or len(set(terms)) < len(terms):
        known, got = ", ".join(LOSS_NAMES), shorten(repr(value))
        raise ValueError(f"train.loss: a sum such as cross-entropy+dice of {known}, each once; got {got}")
    return value


class PhantomsConfig(Section):
    """The synthetic data set."""

    number: Annotated[int, Field(ge=1, le=1_000_000)]
    height: Annotated[int, Field(ge=64, le=4096)]
    width: Annotated[int, Field(ge=64, le=4096)]
    seed: Seed


# Names become keys of reports and of MLflow, which allows no other characters.
Name = Annotated[str, Field(pattern=r"^\w[\w -]*$", max_length=50)]
# In masks: a gray level or palette index, or a color such as "#ff0000" (red), in quotes because # begins a comment.
MaskValue = Annotated[int, Field(ge=0, lt=2**16)] | Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
Classes = Annotated[dict[Name, MaskValue], Field(min_length=2, max_length=255)]
Pattern = Annotated[str, Field(min_length=1, max_length=1000)]
PLACEHOLDER = re.compile(r"\{[a-z]\w*\}")  # in patterns: a part of the path that an image and its masks share
Size = Annotated[int, Field(ge=32, le=2048)]
BLACK_AND_WHITE = [0, 255]
PH2_MANIFEST = "data/ph2.csv"


class ColumnsConfig(Section):
    """The columns of the table beside a user's own images."""

    image: Annotated[str, Field(min_length=1, max_length=100)]
    diagnosis: Annotated[str, Field(min_length=1, max_length=100)]
    group: Annotated[str, Field(min_length=1, max_length=100)]


class ReadingConfig(Section):
    """How image files are read if they can be read in more than one way."""

    orientation: Literal["auto", "apply", "ignore"]
    white: Annotated[float, Field(gt=0, lt=2**32)] | Literal["auto"]
    image_alpha: Literal["white", "black", "ignore"]
    mask_alpha: Literal["auto", "use", "ignore"]
    pages: Literal["refuse", "first"]


class MasksConfig(Section):
    """What becomes of masks that don't fit their classes or images as they are."""

    values: Literal["refuse", "nearest"]
    void: list[MaskValue]
    sizes: Literal["resize", "refuse"]
    several: Literal["refuse", "union", "classes"]
    missing: Literal["mismatch", "empty"]


class PatternsConfig(Section):
    """The paths of images and masks in a data set, if its layout isn't recognized."""

    images: Pattern
    masks: Pattern

    @model_validator(mode="after")
    def _share_placeholders(self) -> Self:
        images, masks = (set(PLACEHOLDER.findall(pattern)) for pattern in (self.images, self.masks))
        both_auto = self.images == self.masks == "auto"
        if not both_auto and (not images or images != masks):
            raise ValueError(
                "data.patterns: both auto, or both with the same parts in braces, such as images: photos/{id}.jpg and "
                f"masks: labels/{{id}}_*.png; got {self.images} and {self.masks}"
            )
        return self


class DataConfig(Section):
    """Which images are used, how they are read, and what the values in their masks mean."""

    source: Literal["ph2", "phantoms", "folder"]
    path: Annotated[str, Field(min_length=1, max_length=1000)]
    datasets: Literal["one", "subfolders"]
    name: Annotated[str, Field(pattern=r"^\w[\w .-]*$", max_length=50)]
    classes: Classes
    classes_by_dataset: dict[Name, Classes] | Literal["none"]
    patterns: PatternsConfig
    columns: ColumnsConfig
    split_folders: Literal["use", "ignore"]
    group_folders: Literal["use", "ignore"]
    mismatches: Literal["refuse", "leave-out"]
    extra_rows: Literal["ignore", "refuse"]
    repeated_rows: Literal["refuse", "first"]
    masks: MasksConfig
    reading: ReadingConfig
    phantoms: PhantomsConfig

    def values(self) -> list[int]:
        """Return the mask value of each class in rising order. The smallest is the background, class 0.

        Colors are numbers 0xRRGGBB.
        """
        return sorted(map(mask_number, self.classes.values()))

    def own_classes(self) -> dict[str, Classes]:
        """Return the classes of data sets that have other mask values than `classes`, by the name of the data set."""
        return {} if self.classes_by_dataset == "none" else self.classes_by_dataset

    def for_data_set(self, name: str) -> Self:
        """Return these settings for one of several data sets, with the mask values of its own classes."""
        return self.model_copy(update={"classes": self.own_classes().get(name, self.classes)})

    def void_values(self) -> list[int]:
        """Return the mask values of pixels whose class nobody knows, in rising order."""
        return sorted(map(mask_number, self.masks.void))

    def are_colors(self) -> bool:
        """Return whether classes are colors."""
        return any(isinstance(value, str) for value in self.classes.values())

    def names(self) -> list[str]:
        """Return the names of the classes in the order of their values."""
        return class_names(self.classes)

    def data_set(self) -> str:
        """Return the name of the data set in reports and MLflow."""
        return data_set_name(self.source, self.path, self.name)


def mask_number(value: int | str) -> int:
    """Return a value of a mask as a number: for a color #RRGGBB, 0xRRGGBB."""
    return int(value[1:], 16) if isinstance(value, str) else value


def class_names(classes: dict[str, int | str]) -> list[str]:
    """Return the names of classes in the order of their values, the background first."""
    return sorted(classes, key=lambda name: mask_number(classes[name]))


def data_set_name(source: str, path: str, name: str) -> str:
    """Return the name of a data set from the parameters data.source, data.path and data.name."""
    if source != "folder":
        return source
    return Path(path).name.partition(".")[0] or "folder" if name == "auto" else name


def _check_mask_values(key: str, data: DataConfig) -> None:
    values, void = data.values(), data.masks.void
    if len(set(values)) < len(values):
        raise ValueError(f"{key}: each class has a value of its own; got {data.classes}")
    if len({isinstance(value, str) for value in [*data.classes.values(), *void]}) > 1:
        raise ValueError(
            f"{key}: either all classes and data.masks.void are numbers, or all are colors; got {data.classes} and "
            f"{void}"
        )
    if set(data.void_values()) & set(values):
        raise ValueError(f"data.masks.void: its values are not those of classes; got {void}")


class PreprocessConfig(Section):
    """How images are prepared for a network."""

    size: Size
    empty_masks: Literal["refuse", "keep"]
    near_duplicates: Annotated[float, Field(gt=0.5, le=1)] | Literal["off"]


class SplitConfig(Section):
    """Which images are used for test, validation and training."""

    folds: Annotated[int, Field(ge=1, le=100)]
    validation: Annotated[float, Field(gt=0, le=0.5)]
    seed: Seed


class ModelConfig(Section):
    """Which network is trained."""

    architecture: Architecture
    encoder: Annotated[str, Field(min_length=1)]
    weights: Annotated[str, AfterValidator(_known_weights)]


class AugmentConfig(Section):
    """How training images are augmented. 0 or false turns a kind off."""

    flips: bool
    rotation: Annotated[float, Field(ge=0, le=180)]
    scale: Annotated[float, Field(ge=0, le=0.9)]
    shift: Annotated[float, Field(ge=0, le=0.5)]
    brightness: Annotated[float, Field(ge=0, le=0.9)]
    contrast: Annotated[float, Field(ge=0, le=0.9)]
    saturation: Annotated[float, Field(ge=0, le=1)]
    tint: Annotated[float, Field(ge=0, le=0.9)]
    elastic: Annotated[float, Field(ge=0, le=0.2)]
    vignette: Annotated[float, Field(ge=0, le=1)]
    hairs: Annotated[int, Field(ge=0, le=20)]


class TrainConfig(Section):
    """How a model is trained."""

    epochs: Annotated[int, Field(ge=1, le=10_000)]
    batch_size: Annotated[int, Field(ge=2, le=4096)]
    lr: Annotated[float, Field(gt=0, le=1)]
    schedule: Literal["one-cycle", "constant"]
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    average: Annotated[float, Field(ge=0, lt=1)]
    loss: Annotated[str, AfterValidator(_known_losses)]
    augment: AugmentConfig
    start_from: Literal["network", "encoder"]
    freeze_encoder: Annotated[int, Field(ge=0, le=10_000)]
    seed: Seed


class PredictConfig(Section):
    """How a trained model predicts: test-time augmentation, threshold and postprocessing."""

    flips: bool
    turns: bool
    threshold: Annotated[float, Field(gt=0, lt=1)]
    fill_holes: bool
    largest_only: bool


class EvaluateConfig(PredictConfig):
    """How a model predicts and is measured."""

    resamples: Annotated[int, Field(ge=100, le=1_000_000)]
    seed: Seed


class RuntimeConfig(Section):
    """On which device and how models are computed. `auto` is resolved at run time and recorded in model.json."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "bf16", "fp32"]
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"]


Item = Annotated[int, Field(ge=0)] | Literal["all"]


class CvConfig(Section):
    """Which models are trained."""

    models: Annotated[list[Item], Field(min_length=1)]


class Config(Section):
    """All of params.yaml."""

    data: DataConfig
    preprocess: PreprocessConfig
    split: SplitConfig
    model: ModelConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    runtime: RuntimeConfig
    cv: CvConfig

    @model_validator(mode="after")
    def _classes_fit(self) -> Self:
        values, void = self.data.values(), self.data.masks.void
        _check_mask_values("data.classes", self.data)
        for name, classes in self.data.own_classes().items():
            _check_mask_values(f"data.classes_by_dataset.{name}", self.data.for_data_set(name))
            if class_names(classes) != self.data.names():
                raise ValueError(
                    f"data.classes_by_dataset.{name}: has the classes of data.classes, with values in the same order: "
                    f"{', '.join(self.data.names())}; got {classes}"
                )
        if void and self.data.masks.several == "classes":
            raise ValueError(f"data.masks.void: must be [] if data.masks.several is classes; got {void}")
        if self.data.source != "folder" and values != BLACK_AND_WHITE:
            raise ValueError(f"data.classes: masks of {self.data.source} hold 0 and 255; got {self.data.classes}")
        if len(values) > 2 and "bce" in self.train.loss.split("+"):
            raise ValueError(f"train.loss: bce is for two classes, cross-entropy for any; got {len(values)} classes")
        return self

    @model_validator(mode="after")
    def _encoder_fits(self) -> Self:
        if self.train.freeze_encoder and self.model.architecture in LESSON_12:
            raise ValueError(
                f"train.freeze_encoder: must be 0 for {self.model.architecture}, whose encoder is not a module of its "
                f"own; got {self.train.freeze_encoder}"
            )
        return self

    @model_validator(mode="after")
    def _path_fits(self) -> Self:
        source, path, datasets = self.data.source, self.data.path, self.data.datasets
        if source == "ph2" and path != PH2_MANIFEST:
            raise ValueError(
                f"data.path: must be {PH2_MANIFEST}, the manifest, if data.source is ph2; got {path}. To use PH2 "
                "files from another place, set NAEVI_SOURCE"
            )
        if source == "folder" and path == PH2_MANIFEST:
            raise ValueError("data.path: must name the folder or archive with your images if data.source is folder")
        if source != "folder" and datasets != "one":
            raise ValueError(f"data.datasets: must be one, unless data.source is folder; got {datasets}")
        if datasets == "one" and self.data.own_classes():
            raise ValueError(
                "data.classes_by_dataset: must be none if data.datasets is one; got "
                f"{first_ten(self.data.own_classes())}"
            )
        return self

    @model_validator(mode="after")
    def _models_are_folds(self) -> Self:
        folds = self.split.folds
        for item in self.cv.models:
            if item != "all" and item >= folds:
                raise ValueError(
                    f"cv.models: split.folds is {folds}, so a model is one of 0..{folds - 1} or all; got {item}"
                )
        if len(set(self.cv.models)) < len(self.cv.models):
            raise ValueError(f"cv.models: each model is listed once; got {self.cv.models}")
        if self.cv.models == ["all"]:
            raise ValueError("cv.models: at least one fold is needed to measure anything; got [all]")
        return self

    def folds(self) -> list[int]:
        """Return the folds that are trained and tested, in rising order."""
        return sorted(item for item in self.cv.models if item != "all")

    def model_names(self) -> list[str]:
        """Return the names of the models that are trained: the folds in rising order, then `all`."""
        return [str(fold) for fold in self.folds()] + ["all"] * ("all" in self.cv.models)


def load_config(workspace: Workspace, *sections: str) -> Config:
    """Return the parameters of a workspace, restricted to `sections` if any are named. The whole file is checked.

    A stage names the sections or keys (such as data.classes) that dvc.yaml declares for it. Reading another one raises
    AttributeError, so an undeclared parameter can't change a result.

    Raises UserError with every problem at once if params.yaml can't be read or is invalid, and with the lines to add if
    it was written for an earlier version.
    """
    values = read_yaml(workspace.params)
    check_complete(values, yaml_text)
    config = parse_config(values)
    if not sections:
        return config
    chosen: dict[str, Any] = {}
    for section in sections:
        name, _, key = section.partition(".")
        chosen.setdefault(name, {}).update({key: getattr(getattr(config, name), key)} if key else {"": None})
    return Config.model_construct(
        **{
            name: getattr(config, name) if "" in keys else type(getattr(config, name)).model_construct(**keys)
            for name, keys in chosen.items()
        }
    )


def parse_record(values: dict[str, Any]) -> Config:
    """Return the config of an old commit, result or model. See `complete_record` for parameters that it lacks."""
    return parse_config(complete_record(values))


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return every value by its dotted name: {"a": {"b": 1}} becomes {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def nest(flat: dict[str, Any]) -> dict[str, Any]:
    """Return nested values from values by dotted name: {"a.b": 1} becomes {"a": {"b": 1}}."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, name = key.split(".")
        section = nested
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = value
    return nested


def parse_config(values: Any) -> Config:
    """Return the config for a parsed params.yaml. Raises UserError with every problem at once, one line per key."""
    return parse_section(Config, values, "params.yaml")


def parse_section(kind: type[S], values: Any, name: str) -> S:
    """Return a section for parsed values. `name` says in messages where they are from. Raises as `parse_config`."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = error.errors()
    messages = {"extra_forbidden": "there is no such parameter", "missing": "is missing"}
    lines: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        if problem["type"] == "value_error":  # from a validator of this module, whose message names the key
            lines[str(problem["ctx"]["error"]), ""] = []
            continue
        key = _dotted_key(problem["loc"], values)
        got = "" if problem["type"] == "missing" else f"; got {shorten(repr(problem['input']))}"
        lines.setdefault((key, got), []).append(messages.get(problem["type"], problem["msg"]))
    texts = [key + ": " * bool(said) + " or ".join(said) + got for (key, got), said in lines.items()]
    more = [f"… and {len(texts) - MAX_PROBLEMS} more"] * (len(texts) > MAX_PROBLEMS)
    shown = "\n".join(f"  {text}" for text in texts[:MAX_PROBLEMS] + more)
    raise UserError(f"{name} has {len(texts)} problem(s):\n{shown}")


def _dotted_key(location: tuple[int | str, ...], values: Any) -> str:
    """Return the dotted key of a problem, without the branches of a union, which pydantic appends."""
    parts = []
    for part in location:
        if isinstance(values, dict):
            values = values.get(part)
        elif isinstance(values, list) and isinstance(part, int):
            values = values[part]
        else:
            break
        parts.append(shorten(str(part)))
    return ".".join(parts) or "the file"
