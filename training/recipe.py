"""The recipe of a training run: its settings with their defaults, limits and help texts.

The command line derives its options from these fields, a file may give them (`--config`), and a
run's `config.json` records them. The module imports nothing heavier than pydantic, so that `--help`
is quick.
"""

import difflib
import json
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo

from training.errors import TrainingError
from training.strict import StrictModel

Backbone = Literal[
    "EfficientNetB0", "EfficientNetB1", "EfficientNetB2", "EfficientNetB3", "EfficientNetB4",
    "EfficientNetB5", "EfficientNetB6", "EfficientNetB7",
    "EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2",
]  # fmt: skip

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]

# Not part of a recipe, because it does not change the result of a run.
CHECKPOINT_MINUTES = 10.0


class Option(NamedTuple):
    """The name of a field's command-line option, where it differs from the field's name."""

    name: str


class Loss(StrictModel):
    """The loss function."""

    name: Annotated[Literal["weighted_bce", "bce", "focal"], Option("loss")] = Field(
        "weighted_bce", description="Loss function."
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
    """How the learning rate changes; lengths are in epochs and may be fractions."""

    name: Annotated[Literal["warmup_decay", "decay", "cyclic"], Option("schedule")] = Field(
        "warmup_decay", description="How the learning rate changes over the epochs."
    )
    learning_rate: Positive = Field(4e-4, description="Highest learning rate.")
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
    """The largest change in either direction; 0 turns a change off."""

    rotation_degrees: float = Field(180.0, ge=0, le=180)
    shear_degrees: float = Field(8.0, ge=0, lt=45)
    zoom: float = Field(0.15, ge=0, lt=1)  # 0.15: between 1/1.15 and 1.15 times the size
    shift: float = Field(0.05, ge=0, lt=1)  # fraction of the image's side
    flips: bool = True  # left-right and up-down, each with probability 1/2
    brightness: float = Field(0.1, ge=0, lt=1)
    contrast: float = Field(0.15, ge=0, lt=1)
    saturation: float = Field(0.15, ge=0, lt=1)
    cutout: float = Field(0.0, ge=0, lt=1)  # side of the blanked square, fraction of the image's
    aspect: float = Field(0.0, ge=0, le=1)  # 0.2: squeezed in one direction by up to 1/1.2
    # What other cameras and uploads do; a random half of the images stay as they are.
    downscale: float = Field(0.0, ge=0, le=7)  # 2: to as little as 1/3 of the side, and back
    blur: float = Field(0.0, ge=0, le=0.1)  # standard deviation, fraction of the image's side
    jpeg: float = Field(0.0, ge=0, lt=1)  # 0.6: quality from 100 down to 40
    vignette: float = Field(0.0, ge=0, le=1)  # fraction of images that get a round black surround
    mixup: float = Field(0.0, ge=0, le=10)  # both parameters of the beta distribution


NO_AUGMENTATION = Augmentation(**dict.fromkeys(Augmentation.model_fields, 0))


class Recipe(StrictModel):
    """Everything that decides a run's result, apart from the data."""

    backbone: Backbone = Field(
        "EfficientNetB4",
        description="Pretrained network: EfficientNetB0 to B7 or EfficientNetLite0 to Lite2.",
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
        None, description="Batches in one epoch.  [default: as many as show each image once]"
    )
    batch_size: Annotated[int, Field(ge=1)] = Field(
        32, description="Images in a batch, over all devices."
    )
    freeze_epochs: Annotated[int, Field(ge=0)] = Field(
        0, description="First epochs in which only the last layer is trained."
    )
    thaw_warmup_epochs: NonNegative = Field(
        0.5,
        description="Epochs in which the rate rises from 0 again once the backbone is trained, too "
        "(with --freeze-epochs).",
    )
    loss: Loss = Loss()
    schedule: Schedule = Schedule()
    clip_norm: Positive | None = Field(
        None,
        description="Longest gradient of all weights together; longer ones are shortened."
        "  [default: no limit]",
    )
    diagnosis_weight: NonNegative = Field(
        0.0,
        description="Weight of the loss of a second head, which learns the diagnosis; 0: none.",
    )
    positives_repeated: Annotated[int, Field(ge=1), Option("repeat-positives")] = Field(
        1, description="How often an epoch shows each positive image."
    )
    epoch_images: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Images in one epoch.  [default: as many as there are training images]"
    )
    balance: tuple[str, ...] = Field(
        (),
        description="Share of an epoch that a group of images makes up, such as "
        "source:milk10k,target:1=0.2; repeatable. The images in no group share the rest.",
    )
    extra_sources: Annotated[tuple[str, ...], Option("extra")] = Field(
        (), description="Source to train on but not to score; repeatable."
    )
    omitted_sources: Annotated[tuple[str, ...], Option("omit")] = Field(
        (), description="Source to leave out; repeatable."
    )
    weight_decay: NonNegative = Field(0.02, description="AdamW's weight decay.")
    averaged_share: Share = Field(
        0.1,
        description="Fraction of the steps, at the end, over which the weights are averaged.",
    )
    batchnorm_images: Annotated[int, Field(ge=0)] = Field(
        2048,
        description="Training images, not augmented, over which the statistics of batch "
        "normalization are estimated for the final weights; 0: keep those of the last steps.",
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.2, description="Dropout rate before the last layer."
    )
    drop_connect: Annotated[float, Field(ge=0, le=4)] = Field(
        1.0, description="Factor by which the backbone's own drop-connect rate is multiplied."
    )
    augmentation: Augmentation = Augmentation()
    tta: bool = Field(
        True, description="Also score held-out images by the mean over eight orientations."
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        0, description="Seed of the initial weights, the image order and the augmentation."
    )


class TrainSettings(Recipe):
    """A run's `config.json`: its recipe and the data that it is trained on."""

    data: str  # path of the data folder
    data_sha256: str  # of the table of cases
    size: Annotated[int, Field(ge=32)]  # pixels
    # Runs from before these settings were trained without them.
    thaw_warmup_epochs: NonNegative = 0.0
    batchnorm_images: Annotated[int, Field(ge=0)] = 0
    # How the squares were cut from the photos, and served photos will be (build.json may cut some
    # sources otherwise: `source_crops`); None in runs from before it was recorded.
    crop_fraction: float | None = None
    pixel_path: int | None = None
    weights_run: "TrainSettings | None" = None  # settings of the run that `weights` names


class Setting(NamedTuple):
    """One value of a recipe, at whatever depth."""

    path: tuple[str, ...]  # field names, from the recipe down
    field: FieldInfo

    @property
    def option(self) -> str:
        """The name of the command-line option, without dashes."""
        named = [each.name for each in self.field.metadata if isinstance(each, Option)]
        return named[0] if named else self.path[-1].replace("_", "-")


def list_settings(
    recipe: type[BaseModel] = Recipe, above: tuple[str, ...] = ()
) -> Iterator[Setting]:
    """Iterate over all values of a recipe, nested ones included, in the order of the fields."""
    for name, field in recipe.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from list_settings(field.annotation, (*above, name))
        else:
            yield Setting((*above, name), field)


def read_config(path: Path) -> dict[str, Any]:
    """Read a recipe from TOML or from a run's `config.json`.

    Returns:
        The nested settings that the file gives, and `data` if it names a data folder.

    Raises:
        TrainingError: the file cannot be parsed or is empty, a key is unknown, or a value is not
            accepted.
    """
    language, parse = ("JSON", json.loads) if path.suffix == ".json" else ("TOML", tomllib.loads)
    try:
        values = parse(path.read_text(encoding="utf-8-sig"))  # Windows editors may write a mark
    except OSError as error:
        raise TrainingError(f"--config {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise TrainingError(
            f"--config {path} is not valid {language}: {error}. A file whose name ends in .json is "
            "read as JSON, any other as TOML."
        ) from error
    if not isinstance(values, dict) or not values:
        raise TrainingError(
            f"--config {path} holds no settings. Give some, or leave --config out to train with "
            "the defaults."
        )
    data = values.pop("data", None)
    if not isinstance(data, str | None):
        raise TrainingError(
            f"--config {path}: data: give the path of a data folder as a string. Received: {data!r}"
        )
    # These are derived anew from the data and the weights.
    for name in ("data_sha256", "crop_fraction", "pixel_path", "weights_run"):
        values.pop(name, None)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise TrainingError(f"--config {path}: {explain(error, Recipe)}") from error
    given = recipe.model_dump(exclude_unset=True)
    return given if data is None else given | {"data": data}


def explain(error: ValidationError, recipe: type[Recipe]) -> str:
    """Describe the first fault of a recipe: its key, what was received, and what is accepted."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return first["msg"]
    path = tuple(str(each) for each in first["loc"])
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        accepted = ", ".join(find_part(recipe, path[:-1]).model_fields)
        return f"{key}: no such key.{_suggest(key, recipe)} Accepted: {accepted}"
    if first["type"] == "model_type":
        accepted = ", ".join(find_part(recipe, path).model_fields)
        return f"{key}: give a table of {accepted}. Received: {first['input']!r}"
    wanted = "Input should be a list" if first["type"] == "tuple_type" else first["msg"]
    return f"{key}: {wanted}. Received: {first['input']!r}"


def find_part(recipe: type[BaseModel], path: tuple[str, ...]) -> type[BaseModel]:
    """Find the nested model that the field names of `path` lead to."""
    for name in path:
        annotation = recipe.model_fields[name].annotation
        for each in (annotation, *get_args(annotation)):  # an optional part is a union with None
            if isinstance(each, type) and issubclass(each, BaseModel):
                recipe = each
    return recipe


def _suggest(key: str, recipe: type[Recipe]) -> str:
    """Guess which setting is meant by an unknown key: one at another level, or a similar name."""
    settings = {".".join(each.path): each for each in list_settings(recipe)}
    last = key.split(".")[-1]
    meant = [name for name, each in settings.items() if last in (each.path[-1], each.option)]
    meant += difflib.get_close_matches(key.replace("-", "_"), settings, n=1)
    return f" Did you mean {meant[0]}?" if meant else ""


def list_changes(recipe: BaseModel) -> list[str]:
    """Describe each setting that differs from its default, with the default beside it."""
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
    """Parse texts NAME=VALUE, which `--augment` takes, to fields of `Augmentation`.

    Raises:
        TrainingError: a text has no "=", the name is unknown, or the value is out of range.
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
