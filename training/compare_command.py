"""`python -m training compare`: the same training with other losses, schedules and batch sizes."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from etils import epath

from training.errors import TrainingError
from training.train_command import (
    LOSSES,
    SCHEDULES,
    checkpoint_option,
    data_option,
    make_settings,
    only_fold_option,
    precision_option,
    recipe_options,
    resume_option,
    run_option,
)

if TYPE_CHECKING:
    from training.run import TrainSettings

_log = logging.getLogger(__name__)


@click.command()
@data_option
@run_option
@resume_option
@only_fold_option
@click.option(
    "--loss",
    type=LOSSES,
    multiple=True,
    default=["bce", "weighted_bce", "focal"],
    show_default=True,
    help="Repeatable, as are the next two: every combination is trained.",
)
@click.option(
    "--schedule",
    type=SCHEDULES,
    multiple=True,
    default=["cyclic", "decay", "warmup_decay"],
    show_default=True,
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    multiple=True,
    default=[8, 16, 32],
    show_default=True,
)
@click.option(
    "--reference",
    metavar="LOSS-SCHEDULE-BATCH_SIZE",
    help="What the others are compared with; default: the first combination.",
)
@click.option(
    "--price", type=click.FloatRange(0), help="Of an hour of this machine, in any currency."
)
@recipe_options
@precision_option
@checkpoint_option
def compare(
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

    Each is a run as `train` makes it, on the same folds and with the same seed, in a folder of RUN.
    To go on, give the same command with --resume: what is done is passed over.
    """
    from training.hardware import choose_backend

    choose_backend()  # before Keras is imported
    import keras

    from training.compare import (
        COMPARISON,
        compare_runs,
        describe,
        list_combinations,
        make_table,
        write_comparison,
    )
    from training.compare_report import write_comparison_page
    from training.data import read_data
    from training.run import CONFIG, align
    from training.train import cross_validate

    if data is None:
        raise click.UsageError("Give --data.")
    combinations = list_combinations(loss, schedule, batch_size)
    names = [each.name for each in combinations]
    if len(names) < 2:
        raise click.UsageError(
            "One combination has none to be compared with: give a second --loss, --schedule or "
            "--batch-size."
        )
    reference = reference or names[0]
    if reference not in names:
        raise click.UsageError(f"--reference {reference} is none of {', '.join(names)}.")
    read = read_data(data)
    settings = {each.name: make_settings(read, recipe | each._asdict()) for each in combinations}
    _check_runs(run, settings, resume)
    metrics = None
    for number, (name, its) in enumerate(settings.items(), start=1):
        _log.info("Run %d of %d: %s", number, len(names), name)
        keras.utils.clear_session()  # what Keras keeps of the runs before
        metrics = cross_validate(
            its,
            read,
            run / name,
            only_folds=only_fold,
            resume=(run / name / CONFIG).exists(),
            checkpoint_minutes=checkpoint_minutes,
            precision=precision,
        )
    if metrics is None:  # another process writes
        return
    comparison = compare_runs(run, combinations, reference, price)
    page = run / Path(COMPARISON).with_suffix(".html")
    write_comparison(comparison, run / COMPARISON)
    write_comparison_page(comparison, epath.Path(page))
    click.echo(align(make_table(comparison)))
    click.echo("\n".join(describe(comparison)))
    click.echo(f"Wrote {run / COMPARISON} and {page}")


def _check_runs(run: Path, settings: "Mapping[str, TrainSettings]", resume: bool) -> None:
    """Find what cannot go on before hours of training rather than after them."""
    from training.run import CONFIG, check_run

    begun = any(run.glob(f"*/{CONFIG}"))
    if not resume and (begun or (run / CONFIG).exists()):
        raise TrainingError(f"{run} exists. Go on with --resume, or choose another --run.")
    if resume and not begun:
        raise TrainingError(f"--resume: {run} holds no runs yet. Start it without --resume.")
    for name, its in settings.items():
        if (run / name / CONFIG).exists():
            check_run(run / name, its, resume)
