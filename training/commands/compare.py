"""`python -m training compare`: the same training with several losses, schedules, batch sizes."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from etils import epath

from training.commands.options import (
    FOLDER,
    checkpoint_option,
    data_option,
    list_choices,
    make_settings,
    merge,
    only_fold_option,
    precision_option,
    read_given,
    recipe_options,
)
from training.errors import TrainingError

if TYPE_CHECKING:
    from training.recipe import TrainSettings

_log = logging.getLogger(__name__)


@click.command()
@data_option
@click.option("--run", type=FOLDER, required=True, help="Folder for the runs and the comparison.")
@click.option("--resume", is_flag=True, help="Continue an interrupted comparison.")
@only_fold_option
@click.option(
    "--loss",
    type=click.Choice(list_choices("loss")),
    multiple=True,
    default=["bce", "weighted_bce", "focal"],
    show_default=True,
    help="Losses to compare; repeatable, like the next two. Every combination is trained.",
)
@click.option(
    "--schedule",
    type=click.Choice(list_choices("schedule")),
    multiple=True,
    default=["cyclic", "decay", "warmup_decay"],
    show_default=True,
    help="Learning rate schedules to compare; repeatable.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    multiple=True,
    default=[8, 16, 32],
    show_default=True,
    help="Batch sizes to compare, over all devices; repeatable.",
)
@click.option(
    "--reference",
    metavar="LOSS-SCHEDULE-BATCH_SIZE",
    help="Combination with which the others are compared.  [default: the first one]",
)
@click.option(
    "--price", type=click.FloatRange(0), help="Price of one hour on this machine, in any currency."
)
@recipe_options("loss", "schedule", "batch-size")
@precision_option
@checkpoint_option
@click.pass_context
def compare(
    context: click.Context,
    /,
    data: epath.Path | None,
    run: Path,
    resume: bool,
    only_fold: tuple[int, ...],
    loss: tuple[str, ...],
    schedule: tuple[str, ...],
    batch_size: tuple[int, ...],
    reference: str | None,
    price: float | None,
    precision: str,
    checkpoint_minutes: float,
    **recipe: Any,
) -> None:
    """Cross-validate every combination of losses, schedules and batch sizes, and compare them.

    Each combination becomes a run like those of `train`, in a folder inside --run, with the same
    folds and the same seed. To continue an interrupted comparison, give the same command with
    --resume; finished folds are skipped.
    """
    from training.train.hardware import choose_backend

    choose_backend()  # before Keras is imported
    import keras

    from training.data.folder import read_data
    from training.evaluate.comparison import (
        COMPARISON,
        compare_runs,
        describe,
        list_combinations,
        make_table,
        write_comparison,
    )
    from training.evaluate.comparison_report import write_comparison_page
    from training.text import align
    from training.train.cross_validation import cross_validate
    from training.train.run import CONFIG

    if data is None:
        raise click.UsageError("Give --data.")
    combinations = list_combinations(loss, schedule, batch_size)
    names = [each.name for each in combinations]
    if len(names) < 2:
        raise click.UsageError(
            "There is only one combination, so nothing to compare: give a second --loss, "
            "--schedule or --batch-size."
        )
    reference = reference or names[0]
    if reference not in names:
        raise click.UsageError(f"--reference {reference} is not one of {', '.join(names)}.")
    read = read_data(data)
    given = read_given(context, recipe)
    settings = {
        each.name: make_settings(read, merge(given, each.settings)) for each in combinations
    }
    _check_runs(run, settings, resume)
    metrics = None
    for number, (name, each) in enumerate(settings.items(), start=1):
        _log.info("Run %d of %d: %s", number, len(names), name)
        keras.utils.clear_session()  # forget the models of earlier runs
        metrics = cross_validate(
            each,
            read,
            run / name,
            only_folds=only_fold,
            resume=(run / name / CONFIG).exists(),
            checkpoint_minutes=checkpoint_minutes,
            precision=precision,
        )
    if metrics is None:  # the first process writes
        return
    comparison = compare_runs(run, combinations, reference, price)
    page = run / Path(COMPARISON).with_suffix(".html")
    write_comparison(comparison, run / COMPARISON)
    write_comparison_page(comparison, epath.Path(page))
    click.echo(align(make_table(comparison)))
    click.echo("\n".join(describe(comparison)))
    click.echo(f"Wrote {run / COMPARISON} and {page}")


def _check_runs(run: Path, settings: "Mapping[str, TrainSettings]", resume: bool) -> None:
    """Check before hours of training, rather than after them, that every run can be trained."""
    from training.train.run import CONFIG, check_run

    begun = any(run.glob(f"*/{CONFIG}"))
    if not resume and (begun or (run / CONFIG).exists()):
        raise TrainingError(f"{run} exists. Continue it with --resume, or choose another --run.")
    if resume and not begun:
        raise TrainingError(f"--resume: {run} holds no runs yet. Start it without --resume.")
    for name, each in settings.items():
        if (run / name / CONFIG).exists():
            check_run(run / name, each, resume)
