"""Options that several commands share; those of a recipe are derived from `training.recipe`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from etils import epath
from pydantic import ValidationError

from processing.bundle import VIEWS
from training.errors import TrainingError
from training.recipe import (
    CHECKPOINT_MINUTES,
    Recipe,
    Setting,
    TrainSettings,
    explain,
    find_part,
    list_settings,
    parse_strengths,
)

if TYPE_CHECKING:
    from training.data.folder import Data

DATA = click.Path(path_type=epath.Path, file_okay=False)  # also gs://
FILE = click.Path(path_type=epath.Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
EXISTING_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
EXISTING_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)

_Command = Callable[..., None]
_AUGMENT = "augment"
_SHOWN_CHOICES = 5  # where there are more, the help text describes them instead


def _describe_values(setting: Setting) -> dict[str, Any]:
    """Return the JSON schema of a setting's values, without the None of optional ones."""
    part = find_part(Recipe, setting.path[:-1])
    schema: dict[str, Any] = part.model_json_schema()["properties"][setting.path[-1]]
    return schema.get("anyOf", [schema])[0]  # type: ignore[no-any-return]


def _choose_type(schema: Mapping[str, Any]) -> click.ParamType[Any]:
    if "enum" in schema:
        return click.Choice(schema["enum"])
    if schema["type"] == "string":
        return click.STRING
    is_integer = schema["type"] == "integer"
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is high is above is below is None:
        return click.INT if is_integer else click.FLOAT
    bounds: dict[str, Any] = {
        "min": above if low is None else low,
        "max": below if high is None else high,
        "min_open": above is not None,
        "max_open": below is not None,
    }
    return click.IntRange(**bounds) if is_integer else click.FloatRange(**bounds)


def _make_option(setting: Setting) -> Callable[[_Command], _Command]:
    field, schema = setting.field, _describe_values(setting)
    attributes: dict[str, Any] = {"help": field.description, "show_default": bool(field.default)}
    name, flag = _name_parameter(setting), f"--{setting.option}"
    if schema["type"] == "array":
        return click.option(flag, name, multiple=True, **attributes)
    # A default of 0 is shown; one of None is not, because the help text says what it means.
    attributes |= {"default": field.default, "show_default": field.default is not None}
    if schema["type"] == "boolean":
        return click.option(f"{flag}/--no-{setting.option}", name, **attributes)
    if len(schema.get("enum", ())) > _SHOWN_CHOICES:
        attributes["metavar"] = "NAME"
    return click.option(flag, name, type=_choose_type(schema), **attributes)


def _name_parameter(setting: Setting) -> str:
    """Return the name under which click passes the option's value on."""
    return "__".join(setting.path)


augment_option = click.option(
    "--augment",
    metavar="NAME=VALUE",
    multiple=True,
    help="Strength of an augmentation, such as rotation_degrees=90; repeatable.",
)
data_option = click.option("--data", type=DATA, help="Data folder or public Kaggle data set.")
only_fold_option = click.option(
    "--only-fold", type=int, multiple=True, help="Train only this fold; repeatable."
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "mixed_float16", "mixed_bfloat16"]),
    default="auto",
    show_default=True,
    help="Numeric precision. auto: float32 on a CPU, mixed on other devices.",
)
checkpoint_option = click.option(
    "--checkpoint-minutes",
    type=click.FloatRange(0, min_open=True),
    default=CHECKPOINT_MINUTES,
    show_default=True,
    help="Minutes between checkpoints within an epoch; each epoch also ends with one.",
)


def find_setting(option: str) -> Setting:
    """Return the setting that a command-line option sets."""
    return next(each for each in list_settings() if each.option == option)


def list_choices(option: str) -> list[str]:
    """Return the values that an option accepts."""
    choices: list[str] = _describe_values(find_setting(option))["enum"]
    return choices


def recipe_options(*left_out: str) -> Callable[[_Command], _Command]:
    """Add an option for every setting of a recipe except those named."""
    options: list[Callable[[_Command], _Command]] = [
        *(
            _make_option(each)
            for each in list_settings()
            if each.path[0] != "augmentation" and each.option not in left_out
        ),
        augment_option,
    ]

    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def read_given(context: click.Context, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested settings that were given on the command line, without defaults.

    Args:
        values: the values that click passed on for the options of `recipe_options`.

    Raises:
        TrainingError: `--augment` gives an unknown name or a value out of range.
    """
    given: dict[str, Any] = {}
    for name, value in values.items():
        if context.get_parameter_source(name) == ParameterSource.DEFAULT:
            continue
        if name == _AUGMENT:
            given["augmentation"] = parse_strengths(value)
            continue
        *above, last = name.split("__")
        part = given
        for each in above:
            part = part.setdefault(each, {})
        part[last] = value
    return given


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested settings; values of later layers replace those of earlier ones."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            nested = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
            merged[name] = merge(merged[name], value) if nested else value
    return merged


def make_settings(
    data: "Data", given: Mapping[str, Any], earlier: TrainSettings | None = None
) -> TrainSettings:
    """Make the settings of a run on `data`: those given, then those of `earlier`, then defaults.

    Raises:
        TrainingError: a value is not accepted, or `weights` names a damaged run.
    """
    from training.train.run import CONFIG, read_settings

    merged = merge(earlier.model_dump() if earlier else Recipe().model_dump(), given)
    if merged.get("size") is None:
        merged["size"] = data.build.settings.size
    if "weights" in given:
        start = Path(given["weights"])
        merged["weights_run"] = read_settings(start) if (start / CONFIG).exists() else None
    built = data.build
    merged |= {
        "data": str(data.folder),
        "data_sha256": built.cases_sha256,
        "crop_fraction": built.settings.crop_fraction,
        "pixel_path": built.settings.pixel_path,
    }
    try:
        return TrainSettings.model_validate(merged)
    except ValidationError as error:
        raise TrainingError(explain(error, TrainSettings)) from error


_SERVED = [
    click.option(
        "--test",
        type=DATA,
        multiple=True,
        help="Data folder to test on, which must share nothing with the training data; repeatable.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["float32", "float16", "int8"]),
        default="float32",
        show_default=True,
        help="Precision of the served graph. float16 and int8 are refused if they change the AUC "
        "on --test.",
    ),
    click.option(
        "--views",
        type=click.Choice([str(views) for views in VIEWS]),
        default="1",
        show_default=True,
        callback=lambda _context, _option, value: int(value),
        help="Number of orientations of each photo to average.",
    ),
    click.option(
        "--folds-served",
        type=click.IntRange(1),
        help="Serve the networks of the first so many folds: less memory and time.  [default: all]",
    ),
    click.option(
        "--average-weights",
        is_flag=True,
        help="Serve one network, whose weights are the mean of the folds'. Needs --test.",
    ),
    click.option(
        "--centre",
        type=click.FloatRange(0, min_open=True),
        help="Weigh what the network sees by a Gaussian around the middle of the photo, with this "
        "standard deviation, where the edge is 1.  [default: everything counts alike]",
    ),
]


def served_options(*, run_required: bool) -> Callable[[_Command], _Command]:
    """Add the options that name a run and decide how it is served."""
    run_option = click.option(
        "--run",
        type=EXISTING_FOLDER,
        required=run_required,
        help="Run folder, with all folds finished.",
    )

    def add(command: _Command) -> _Command:
        for option in reversed([run_option, *_SERVED]):
            command = option(command)
        return command

    return add
