"""`python -m training compare`: the same training with several losses, schedules, batch sizes."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from etils import epath

from training.commands.options import (
    FOLDER,
    checkpoint_option,
    data_option,
    find_setting,
    list_choices,
    make_settings,
    merge,
    only_fold_option,
    precision_option,
    read_given,
    recipe_options,
)
from training.commands.processes import run_in_own_process
from training.errors import TrainingError

if TYPE_CHECKING:
    from training.data.folder import Data
    from training.evaluate.comparison import Combination
    from training.recipe import TrainSettings

_log = logging.getLogger(__name__)


def _default(option: str) -> int:
    default: int = find_setting(option).field.default
    return default


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
@click.option(
    "--seed",
    type=click.IntRange(0),
    multiple=True,
    default=[_default("seed")],
    show_default=True,
    help="Seed of the initial weights, the image order and the augmentation; repeatable. Every "
    "combination is trained with each, and the table has their mean and spread.",
)
@click.option(
    "--scale-learning-rate",
    is_flag=True,
    help="Multiply --learning-rate, which then is that of a batch of "
    f"{_default('batch-size')}, by the batch size over {_default('batch-size')}.",
)
@recipe_options("loss", "schedule", "batch-size", "seed")
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
    seed: tuple[int, ...],
    scale_learning_rate: bool,
    precision: str,
    checkpoint_minutes: float,
    **recipe: Any,
) -> None:
    """Cross-validate every combination of losses, schedules and batch sizes, and compare them.

    Each combination becomes a run like those of `train`, in a folder inside --run, with the same
    folds and the same seed; with several seeds, a run for each. To continue an interrupted
    comparison, give the same command with --resume; finished folds are skipped.
    """
    from training.train.hardware import choose_backend

    choose_backend()  # before the processes that train import Keras
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
    settings, folders = _plan_runs(run, read, given, combinations, seed, scale_learning_rate)
    _check_runs(run, settings, resume)
    writes = True
    for number, (name, each) in enumerate(settings.items(), start=1):
        if _is_finished(run / name, each, only_fold):
            _log.info("Run %d of %d: %s is already finished", number, len(settings), name)
            continue
        _log.info("Run %d of %d: %s", number, len(settings), name)
        writes = run_in_own_process(
            _train, each, data, run / name, only_fold, checkpoint_minutes, precision
        )
    if not writes:  # the first of several processes writes
        return
    comparison = compare_runs(run, combinations, reference, price, folders)
    page = run / Path(COMPARISON).with_suffix(".html")
    write_comparison(comparison, run / COMPARISON)
    write_comparison_page(comparison, epath.Path(page))
    click.echo(align(make_table(comparison)))
    click.echo("\n".join(describe(comparison)))
    click.echo(f"Wrote {run / COMPARISON} and {page}")


def _plan_runs(
    run: Path,
    read: "Data",
    given: Mapping[str, Any],
    combinations: "Sequence[Combination]",
    seeds: Sequence[int],
    scale_learning_rate: bool,
) -> "tuple[dict[str, TrainSettings], dict[str, list[str]]]":
    """Return the settings of each run folder, and each combination's run folders, one per seed."""
    seeds = list(dict.fromkeys(seeds))
    settings = {}
    folders: dict[str, list[str]] = {}
    for each in combinations:
        own = merge(given, each.settings)
        if scale_learning_rate:
            own = merge(own, _scale_learning_rate(own))
        for seed in seeds:
            folder = _name_folder(run, each.name, seed, several=len(seeds) > 1)
            settings[folder] = make_settings(read, merge(own, {"seed": seed}))
            folders.setdefault(each.name, []).append(folder)
    return settings, folders


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


def _scale_learning_rate(given: Mapping[str, Any]) -> dict[str, Any]:
    """Scale the learning rate in proportion to the batch size (Goyal et al. 2017)."""
    rate = given["schedule"].get("learning_rate", find_setting("learning-rate").field.default)
    return {"schedule": {"learning_rate": rate * given["batch_size"] / _default("batch-size")}}


def _name_folder(run: Path, name: str, seed: int, several: bool) -> str:
    """Name the run folder of a combination and a seed.

    A run that is there keeps its name, so that seeds can be added to a comparison of one seed.
    """
    from training.train.run import CONFIG, read_settings

    alone, among_several = name, f"{name}-seed{seed}"
    for folder in (alone, among_several):
        if (run / folder / CONFIG).exists() and read_settings(run / folder).seed == seed:
            return folder
    return among_several if several else alone


def _is_finished(run: Path, settings: "TrainSettings", only_folds: Sequence[int]) -> bool:
    from training.train.run import METRICS, is_finished

    folds = only_folds or range(settings.folds)
    return (run / METRICS).exists() and all(is_finished(run, k) for k in folds)


def _train(
    settings: "TrainSettings",
    data: epath.Path,
    run: Path,
    only_folds: Sequence[int],
    checkpoint_minutes: float,
    precision: str,
) -> bool:
    """Train one run, and return whether this is the first of several processes.

    In a process of its own, because TensorFlow keeps hundreds of megabytes of each model that it
    has trained.
    """
    from training.data.folder import read_data
    from training.train.cross_validation import cross_validate
    from training.train.run import CONFIG

    metrics = cross_validate(
        settings,
        read_data(data, shards=False),  # the comparison has checked them
        run,
        only_folds=only_folds,
        resume=(run / CONFIG).exists(),
        checkpoint_minutes=checkpoint_minutes,
        precision=precision,
    )
    return metrics is not None
