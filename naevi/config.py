"""params.yaml as one frozen, checked object. It has no defaults: what params.yaml does not show, DVC can't track."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from naevi import paths
from naevi.refusal import Refusal, reason

Seed = Annotated[int, Field(ge=0, lt=2**32)]
MOST_HAIRS = 20
Fraction = Annotated[float, Field(ge=0, le=1)]

# Written out, because importing torch to read a config would cost every stage seconds; a test compares it with smp's.
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
Term = Literal["bce", "cross-entropy", "dice", "focal", "lovasz", "tversky"]
TERMS: tuple[str, ...] = get_args(Term)


class Section(BaseModel):
    """A part of params.yaml: unknown keys, wrong types and values out of bounds are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _known_weights(value: str) -> str:
    if value not in ("imagenet", "none") and not value.endswith(".safetensors"):
        raise ValueError(f"model.weights: imagenet, none or a path that ends with .safetensors; got {value!r}")
    return value


def _known_terms(value: str) -> str:
    terms = value.split("+")
    if not set(terms) <= set(TERMS) or len(set(terms)) < len(terms):
        raise ValueError(
            f"train.loss: a sum such as cross-entropy+dice of {', '.join(TERMS)}, each once; got {value!r}"
        )
    return value


class PhantomsConfig(Section):
    """The generated data set."""

    number: Annotated[int, Field(ge=1, le=1_000_000)]
    height: Annotated[int, Field(ge=64, le=4096)]
    width: Annotated[int, Field(ge=64, le=4096)]
    seed: Seed


# Names and values become keys of reports and of MLflow, which takes no others.
Name = Annotated[str, Field(pattern=r"^\w[\w -]*$", max_length=50)]
BLACK_AND_WHITE = [0, 255]


class DataConfig(Section):
    """Which images, and what their masks mean."""

    source: Literal["ph2", "phantoms", "folder"]
    classes: Annotated[dict[Name, Annotated[int, Field(ge=0, lt=2**16)]], Field(min_length=2, max_length=256)]
    phantoms: PhantomsConfig

    def values(self) -> list[int]:
        """The values in masks by class: the smallest is the background, class 0."""
        return sorted(self.classes.values())

    def names(self) -> list[str]:
        """The names of the classes in the same order."""
        return sorted(self.classes, key=self.classes.__getitem__)


class PreprocessConfig(Section):
    """How images are made ready for a network."""

    size: Annotated[int, Field(ge=32, le=2048)]
    empty_masks: Literal["refuse", "keep"]


class SplitConfig(Section):
    """Which images test, validate and train."""

    folds: Annotated[int, Field(ge=1, le=100)]
    validation: Annotated[float, Field(gt=0, le=0.5)]
    seed: Seed


class ModelConfig(Section):
    """Which network."""

    architecture: Architecture
    encoder: Annotated[str, Field(min_length=1)]
    weights: Annotated[str, AfterValidator(_known_weights)]


class AugmentConfig(Section):
    """How training images are varied; 0 or false leaves a kind out."""

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
    hairs: Annotated[int, Field(ge=0, le=MOST_HAIRS)]


class TrainConfig(Section):
    """How a model is fitted."""

    epochs: Annotated[int, Field(ge=1, le=10_000)]
    batch_size: Annotated[int, Field(ge=2, le=4096)]
    lr: Annotated[float, Field(gt=0, le=1)]
    schedule: Literal["one-cycle", "constant"]
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    average: Annotated[float, Field(ge=0, lt=1)]
    loss: Annotated[str, AfterValidator(_known_terms)]
    augment: AugmentConfig
    seed: Seed


class EvaluateConfig(Section):
    """How a prediction is made and measured."""

    flips: bool
    turns: bool
    threshold: Annotated[float, Field(gt=0, lt=1)]
    fill_holes: bool
    largest_only: bool
    resamples: Annotated[int, Field(ge=100, le=1_000_000)]
    seed: Seed


class RuntimeConfig(Section):
    """On what it is computed; `auto` is resolved once, and the outcome stands in model.json."""

    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "bf16", "fp32"]
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"]


Item = Annotated[int, Field(ge=0)] | Literal["all"]


class CvConfig(Section):
    """Which models are fitted."""

    models: Annotated[list[Item], Field(min_length=1)]


class Config(Section):
    """The whole of params.yaml."""

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
        values = self.data.values()
        if len(set(values)) < len(values):
            raise ValueError(f"data.classes: each class has a value of its own; got {self.data.classes}")
        if self.data.source != "folder" and values != BLACK_AND_WHITE:
            raise ValueError(f"data.classes: masks of {self.data.source} hold 0 and 255; got {self.data.classes}")
        if len(values) > 2 and "bce" in self.train.loss.split("+"):
            raise ValueError(f"train.loss: bce is for two classes, cross-entropy for any; got {len(values)} classes")
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
        """The folds that are fitted and tested, in rising order."""
        return sorted(item for item in self.cv.models if item != "all")

    def items(self) -> list[str]:
        """Names of the models that are fitted: the folds in rising order, then `all`."""
        return [str(fold) for fold in self.folds()] + ["all"] * ("all" in self.cv.models)


def load_config(*sections: str) -> Config:
    """The config, of which only `sections` can be read (all when none is named); the whole file is checked each time.

    A stage names the sections that dvc.yaml declares for it. Reading another raises AttributeError, so an undeclared
    parameter can't reach a result.

    Raises Refusal when params.yaml can't be read or doesn't fit: one message with every problem.
    """
    config = parse_config(read_yaml(paths.PARAMS))
    if not sections:
        return config
    return Config.model_construct(**{name: getattr(config, name) for name in sections})


def read_yaml(path: Path) -> Any:
    """A YAML 1.2 file, as DVC reads it. PyYAML would make 1e-4 a string, `no` False, and let a duplicate key win."""
    try:
        return YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refusal(f"{path} can't be read: {error.strerror}.") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise Refusal(f"{path} is not YAML: {reason(error)}") from error


def override(path: Path, assignments: list[str]) -> None:
    """Set values in a YAML file, comments kept, from assignments such as train.lr=0.001 or cv.models=[0,1].

    Raises Refusal for an assignment of something that the file doesn't have.
    """
    yaml = YAML()
    document = yaml.load(path.read_text(encoding="utf-8"))
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        *sections, key = name.split(".")
        place = document
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not equals or not isinstance(place, dict) or key not in place:
            raise Refusal(f"{assignment!r} sets nothing: {path} has no {name}.")
        place[key] = YAML(typ="safe").load(value)
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} → {"a.b": 1}: every value by its dotted name."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def parse_config(values: Any) -> Config:
    """The config for a parsed params.yaml; raises Refusal with every problem at once, one line a place."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problems = error.errors()
    words = {"extra_forbidden": "there is no such parameter", "missing": "is missing"}
    lines: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        if problem["type"] == "value_error":  # ours: a rule across fields, which names its place
            lines[str(problem["ctx"]["error"]), ""] = []
            continue
        place = _place(problem["loc"], values)
        got = "" if problem["type"] == "missing" else f"; got {problem['input']!r}"
        lines.setdefault((place, got), []).append(words.get(problem["type"], problem["msg"]))
    told = [place + ": " * bool(said) + " or ".join(said) + got for (place, got), said in lines.items()]
    raise Refusal(f"{paths.PARAMS} has {len(told)} problem(s):\n" + "\n".join(f"  {line}" for line in told))


def _place(location: tuple[int | str, ...], values: Any) -> str:
    """The dotted key of a problem; pydantic names the branches of a union behind it, which say nothing to users."""
    parts = []
    for part in location:
        if isinstance(values, dict):
            values = values.get(part)
        elif isinstance(values, list) and isinstance(part, int):
            values = values[part]
        else:
            break
        parts.append(str(part))
    return ".".join(parts) or "the file"
