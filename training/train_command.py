"""`python -m training train`: its options, which `compare` shares, and what it prints."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from etils import epath

from training.errors import TrainingError

if TYPE_CHECKING:
    from training.data import Data
    from training.run import TrainSettings

# The choices stand here, too, since the modules that act on them take seconds to import.
LOSSES = click.Choice(["weighted_bce", "bce", "focal"])
SCHEDULES = click.Choice(["warmup_decay", "decay", "cyclic"])

_POSITIVE = click.FloatRange(0, min_open=True)
_SHARE = click.FloatRange(0, 1, max_open=True)

augment_option = click.option(
    "--augment",
    metavar="NAME=VALUE",
    multiple=True,
    help="A strength of the augmentation, such as rotation_degrees=90; repeatable.",
)

# Options that set a field of TrainSettings, or of one of its parts.
_RECIPE = [
    click.option("--backbone", default="EfficientNetB4", show_default=True),
    click.option(
        "--weights",
        default="imagenet",
        show_default=True,
        help="imagenet, noisy-student, none, a file, or a run, to start from fold by fold.",
    ),
    click.option("--size", type=click.IntRange(32), help="Pixels; default: the data's own."),
    click.option("--folds", type=click.IntRange(2), default=5, show_default=True),
    click.option("--epochs", type=click.IntRange(1), default=10, show_default=True),
    click.option("--steps-per-epoch", type=click.IntRange(1), help="Default: each image once."),
    click.option(
        "--freeze-epochs",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="First epochs that train the last layer alone.",
    ),
    click.option(
        "--learning-rate", type=_POSITIVE, default=4e-4, show_default=True, help="Highest."
    ),
    click.option(
        "--lowest",
        type=click.FloatRange(0, 1),
        default=0.01,
        show_default=True,
        help="Learning rate at the end, of the highest.",
    ),
    click.option("--warmup-epochs", type=click.FloatRange(0), default=0.5, show_default=True),
    click.option("--hold-epochs", type=click.FloatRange(0), default=0.0, show_default=True),
    click.option(
        "--curve",
        type=click.Choice(["cosine", "exponential"]),
        default="cosine",
        show_default=True,
        help="Of warmup_decay.",
    ),
    click.option("--cycle-epochs", type=_POSITIVE, default=2.0, show_default=True),
    click.option(
        "--positive-weight",
        type=_POSITIVE,
        help="Of weighted_bce; default: negatives per positive of the training folds.",
    ),
    click.option("--focal-gamma", type=click.FloatRange(0), default=2.0, show_default=True),
    click.option(
        "--focal-alpha",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        help="Weight of positives in the focal loss; default: none.",
    ),
    click.option("--label-smoothing", type=_SHARE, default=0.0, show_default=True),
    click.option(
        "--diagnosis-weight",
        type=click.FloatRange(0),
        default=0.0,
        show_default=True,
        help="Of the loss of a second head, which learns the diagnosis; 0: none.",
    ),
    click.option(
        "--repeat-positives",
        "positives_repeated",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Times a positive image is seen in an epoch.",
    ),
    click.option(
        "--extra",
        "extra_sources",
        multiple=True,
        help="A source to train on and not to score; repeatable.",
    ),
    click.option(
        "--omit", "omitted_sources", multiple=True, help="A source to leave out; repeatable."
    ),
    click.option("--weight-decay", type=click.FloatRange(0), default=0.02, show_default=True),
    click.option(
        "--averaged-share",
        type=click.FloatRange(0, 1),
        default=0.1,
        show_default=True,
        help="Last part of the steps over which the weights are averaged.",
    ),
    click.option("--dropout", type=_SHARE, default=0.2, show_default=True),
    click.option(
        "--drop-connect",
        type=click.FloatRange(0, 4),
        default=1.0,
        show_default=True,
        help="Times the backbone's own.",
    ),
    augment_option,
    click.option(
        "--tta/--no-tta",
        default=True,
        show_default=True,
        help="Predict eight orientations of each held-out image, too.",
    ),
    click.option("--seed", type=int, default=0, show_default=True),
]
_PARTS = {
    "loss": ("positive_weight", "focal_gamma", "focal_alpha", "label_smoothing"),
    "schedule": (
        "learning_rate", "lowest", "warmup_epochs", "hold_epochs", "curve", "cycle_epochs",
    ),
}  # fmt: skip

data_option = click.option(
    "--data",
    type=click.Path(path_type=epath.Path, file_okay=False),
    help="A data folder, or a public Kaggle set.",
)
run_option = click.option(
    "--run",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The run folder to make or resume.",
)
resume_option = click.option(
    "--resume", is_flag=True, help="Go on with a run that exists, with its settings."
)
only_fold_option = click.option(
    "--only-fold", type=int, multiple=True, help="Train this fold alone; repeatable."
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "mixed_float16", "mixed_bfloat16"]),
    default="auto",
    show_default=True,
    help="auto: float32 on CPUs, mixed on others.",
)
checkpoint_option = click.option(
    "--checkpoint-minutes",
    type=_POSITIVE,
    default=10.0,
    show_default=True,
    help="Between checkpoints; there is one after each epoch, too.",
)


def recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that decide a run's result, but for loss, schedule and batch size."""
    for option in reversed(_RECIPE):
        command = option(command)
    return command


@click.command()
@data_option
@run_option
@resume_option
@only_fold_option
@click.option("--loss", type=LOSSES, default="weighted_bce", show_default=True)
@click.option("--schedule", type=SCHEDULES, default="warmup_decay", show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@recipe_options
@precision_option
@checkpoint_option
@click.pass_context
def train(
    context: click.Context,
    /,
    data: epath.Path | None,
    run: Path,
    resume: bool,
    only_fold: tuple[int, ...],
    precision: str,
    checkpoint_minutes: float,
    **recipe: Any,
) -> None:
    """Cross-validate EfficientNet on a data folder, on whatever this machine has."""
    from training.hardware import choose_backend

    choose_backend()  # before Keras is imported
    from training.data import read_data
    from training.run import read_settings, render_metrics
    from training.run_report import REPORT
    from training.train import cross_validate

    if data is None and not resume:
        raise click.UsageError("Give --data.")
    earlier = read_settings(run) if resume else None
    read = read_data(epath.Path(earlier.data) if data is None and earlier else epath.Path(data))
    if earlier:
        # Of a run that goes on, only what was typed now is compared with what it was asked for.
        recipe = {k: v for k, v in recipe.items() if _was_given(context, k)}
    settings = make_settings(read, recipe, earlier)
    metrics = cross_validate(
        settings,
        read,
        run,
        only_folds=only_fold,
        resume=resume,
        checkpoint_minutes=checkpoint_minutes,
        precision=precision,
    )
    if metrics:
        click.echo(render_metrics(metrics))
        click.echo(f"{run}: {metrics.folds_done} of {metrics.folds} folds are done")
        click.echo(f"Wrote {run / REPORT}")


def make_settings(
    data: "Data", recipe: dict[str, Any], earlier: "TrainSettings | None" = None
) -> "TrainSettings":
    """Settings of the command line's options, or those of `earlier` changed by some of them.

    Raises:
        TrainingError: `--augment` names no strength, or a value is out of range.
    """
    from pydantic import ValidationError

    from training.augment import parse_strengths
    from training.run import CONFIG, TrainSettings, read_settings

    values = dict(recipe)
    if values.get("size", 0) is None:
        values["size"] = data.build.settings.size
    merged: dict[str, Any] = earlier.model_dump() if earlier else {}
    for part, fields in _PARTS.items():
        given = {name: values.pop(name) for name in fields if name in values}
        if part in values:
            given["name"] = values.pop(part)
        merged[part] = merged.get(part, {}) | given
    strengths = parse_strengths(values.pop("augment", ()))
    merged["augmentation"] = merged.get("augmentation", {}) | strengths
    merged |= values
    start = Path(merged["weights"])
    if "weights" in values and (start / CONFIG).exists():
        merged["weights_run"] = read_settings(start)
    merged |= {"data": str(data.folder), "data_sha256": data.build.cases_sha256}
    try:
        return TrainSettings.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise TrainingError(f"{field}: {first['msg']}. Received: {first['input']}") from error


def _was_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) == ParameterSource.COMMANDLINE
