"""What a training run is asked for: the one place where its settings, defaults and help stand.

The command line derives its options from these fields, a file may give them (`--config`), and a
run's `config.json` keeps them. This module needs pydantic alone, so that `--help` is quick.
"""

import json
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo

from training.errors import TrainingError, explain
from training.strict import StrictModel

Backbone = Literal[
    "EfficientNetB0", "EfficientNetB1", "EfficientNetB2", "EfficientNetB3", "EfficientNetB4",
    "EfficientNetB5", "EfficientNetB6", "EfficientNetB7",
    "EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2",
]  # fmt: skip

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Option(NamedTuple):
    """The name of a field's option where it differs from the field's own."""

    name: str


class Loss(StrictModel):
    """What is minimised."""

    name: Annotated[Literal["weighted_bce", "bce", "focal"], Option("loss")] = Field(
        "weighted_bce", description="The loss."
    )
    positive_weight: Positive | None = Field(
        None,
        description="weighted_bce: weight of a positive image.  [default: negatives per positive "
        "in the training folds]",
    )
    focal_gamma: NonNegative = Field(2.0, description="focal: the focusing exponent.")
    focal_alpha: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="focal: weight of positive images.  [default: none]"
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="How far targets are moved towards 0.5."
    )


class Schedule(StrictModel):
    """The shape of the learning rate; lengths are in epochs and may be fractions of one."""

    name: Annotated[Literal["warmup_decay", "decay", "cyclic"], Option("schedule")] = Field(
        "warmup_decay", description="How the learning rate changes over the epochs."
    )
    learning_rate: Positive = Field(4e-4, description="The highest learning rate.")
    lowest: Share = Field(
        0.01, description="Final learning rate, as a fraction of --learning-rate."
    )
    warmup_epochs: NonNegative = Field(
        0.5, description="warmup_decay: epochs in which the rate rises from 0."
    )
    hold_epochs: NonNegative = Field(
        0.0, description="warmup_decay: epochs at the highest rate after the warm-up."
    )
    curve: Literal["cosine", "exponential"] = Field(
        "cosine", description="warmup_decay: shape of the decay."
    )
    cycle_epochs: Positive = Field(2.0, description="cyclic: epochs of one cycle.")


class Augmentation(StrictModel):
    """Largest change in either direction; 0 turns one off."""

    rotation_degrees: float = Field(180.0, ge=0, le=180)
    shear_degrees: float = Field(8.0, ge=0, lt=45)
    zoom: float = Field(0.15, ge=0, lt=1)  # 0.15: 1/1.15 to 1.15 times the size
    shift: float = Field(0.05, ge=0, lt=1)  # fraction of the side
    flips: bool = True  # left-right and up-down, each with probability 1/2
    brightness: float = Field(0.1, ge=0, lt=1)
    contrast: float = Field(0.15, ge=0, lt=1)
    saturation: float = Field(0.15, ge=0, lt=1)
    cutout: float = Field(0.0, ge=0, lt=1)  # side of a blanked square, as a fraction of the image's


class Recipe(StrictModel):
    """All that decides a run's result, apart from the data."""

    backbone: Backbone = Field(
        "EfficientNetB4",
        description="The pretrained network: EfficientNetB0 to B7 or EfficientNetLite0 to Lite2.",
    )
    weights: str = Field(
        "imagenet",
        description="Weights to start from: imagenet, noisy-student, none, or a weights file. Give "
        "a run folder to start each fold from the same fold of that run.",
    )
    size: Annotated[int, Field(ge=32)] | None = Field(
        None, description="Side of the training images in pixels.  [default: the data's own]"
    )
    folds: Annotated[int, Field(ge=2)] = Field(5, description="Number of cross-validation folds.")
    epochs: Annotated[int, Field(ge=1)] = Field(10, description="Epochs to train each fold.")
    steps_per_epoch: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Batches in one epoch.  [default: each image once]"
    )
    batch_size: Annotated[int, Field(ge=1)] = Field(
        32, description="Images in a batch, over all devices."
    )
    freeze_epochs: Annotated[int, Field(ge=0)] = Field(
        0, description="First epochs in which only the last layer is trained."
    )
    loss: Loss = Loss()
    schedule: Schedule = Schedule()
    diagnosis_weight: NonNegative = Field(
        0.0, description="Weight of the loss of a second head that learns the diagnosis; 0: none."
    )
    positives_repeated: Annotated[int, Field(ge=1), Option("repeat-positives")] = Field(
        1, description="How often each positive image is seen in an epoch."
    )
    extra_sources: Annotated[tuple[str, ...], Option("extra")] = Field(
        (), description="A source to train on but never to score; repeatable."
    )
    omitted_sources: Annotated[tuple[str, ...], Option("omit")] = Field(
        (), description="A source to leave out; repeatable."
    )
    weight_decay: NonNegative = Field(0.02, description="AdamW's weight decay.")
    averaged_share: Share = Field(
        0.1, description="Fraction of the steps, at the end, over which weights are averaged."
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.2, description="Dropout before the last layer."
    )
    drop_connect: Annotated[float, Field(ge=0, le=4)] = Field(
        1.0, description="Factor on the backbone's own drop-connect rate."
    )
    augmentation: Augmentation = Augmentation()
    tta: bool = Field(
        True, description="Also predict held-out images as the mean of eight orientations."
    )
    seed: int = Field(0, description="Seed of the initial weights, the order and the augmentation.")


class TrainSettings(Recipe):
    """A run's `config.json`: its recipe, and the data that it is trained on."""

    data: str
    data_sha256: str  # of its table of cases
    size: Annotated[int, Field(ge=32)]  # pixels
    weights_run: "TrainSettings | None" = None  # settings of the run that `weights` names


class Setting(NamedTuple):
    """A single value of a recipe, wherever it is nested."""

    path: tuple[str, ...]  # of field names, from the recipe down
    field: FieldInfo

    @property
    def option(self) -> str:
        """Name of its command-line option, without the dashes."""
        named = [each.name for each in self.field.metadata if isinstance(each, Option)]
        return named[0] if named else self.path[-1].replace("_", "-")


def list_settings(
    recipe: type[BaseModel] = Recipe, above: tuple[str, ...] = ()
) -> Iterator[Setting]:
    """Every single value of a recipe in the order of its fields, those of its parts included."""
    for name, field in recipe.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from list_settings(field.annotation, (*above, name))
        else:
            yield Setting((*above, name), field)


def read_config(path: Path) -> dict[str, Any]:
    """Read a recipe from TOML or from a run's `config.json`; what the file leaves out is absent.

    `data` is the only key besides the recipe's own that is given back.

    Raises:
        TrainingError: not such a file, a key that is unknown, or a value that is not accepted.
    """
    parse = json.loads if path.suffix == ".json" else tomllib.loads
    try:
        values = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"--config {path} is neither TOML nor a run's config.json: {error}"
        ) from error
    if not isinstance(values, dict):
        raise TrainingError(f"--config {path} holds no keys. Received: {values}")
    data = values.pop("data", None)
    if not isinstance(data, str | None):
        raise TrainingError(f"--config {path}: data: give the path of a data folder as a string.")
    for name in ("data_sha256", "weights_run"):  # a run's own notes
        values.pop(name, None)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise TrainingError(f"--config {path}: {explain(error, Recipe)}") from error
    given = recipe.model_dump(exclude_unset=True)
    return given if data is None else given | {"data": data}


def list_changes(recipe: BaseModel) -> list[str]:
    """Each setting that is not the default, with the default beside it."""
    changes = []
    for setting in list_settings(Recipe):
        value: Any = recipe
        for name in setting.path:
            value = getattr(value, name)
        default = setting.field.get_default()
        if value != default:
            was = "" if default in (None, ()) else f" (default {default})"
            shown = ", ".join(value) if isinstance(value, tuple) else value
            changes.append(f"{'.'.join(setting.path)} {shown}{was}")
    return changes


def parse_strengths(given: Sequence[str]) -> dict[str, Any]:
    """Fields of `Augmentation` from texts NAME=VALUE, as `--augment` takes them.

    Raises:
        TrainingError: a text has no "=", names no strength, or its value is out of range.
    """
    for text in given:
        if "=" not in text:
            raise TrainingError(f"--augment {text}: give NAME=VALUE, such as zoom=0.2.")
    strengths = dict(text.split("=", 1) for text in given)
    for name in strengths:
        if name not in Augmentation.model_fields:
            names = ", ".join(Augmentation.model_fields)
            raise TrainingError(f"--augment {name}: no such strength. There are {names}.")
    try:
        checked = Augmentation.model_validate(strengths)
    except ValidationError as error:
        first = error.errors()[0]
        raise TrainingError(
            f"--augment {first['loc'][0]}={first['input']}: {first['msg']}."
        ) from error
    return checked.model_dump(include=set(strengths))
