"""`python -m training train`."""

from pathlib import Path
from typing import Any

import click
from etils import epath

from training.commands.options import (
    EXISTING_FILE,
    FOLDER,
    checkpoint_option,
    data_option,
    make_settings,
    merge,
    only_fold_option,
    precision_option,
    read_given,
    recipe_options,
)
from training.recipe import read_config


@click.command()
@data_option
@click.option("--run", type=FOLDER, required=True, help="Run folder to create or resume.")
@click.option(
    "--config",
    type=EXISTING_FILE,
    help="Read settings from a TOML file or a run's config.json; options on the command line win.",
)
@click.option("--resume", is_flag=True, help="Continue an existing run with its own settings.")
@only_fold_option
@recipe_options()
@precision_option
@checkpoint_option
@click.pass_context
def train(
    context: click.Context,
    /,
    data: epath.Path | None,
    run: Path,
    config: Path | None,
    resume: bool,
    only_fold: tuple[int, ...],
    precision: str,
    checkpoint_minutes: float,
    **recipe: Any,
) -> None:
    """Cross-validate EfficientNet on a data folder.

    Hardware is detected and logged. An interrupted run continues with --resume.
    """
    from training.train.hardware import choose_backend

    choose_backend()  # before Keras is imported
    from training.data.folder import read_data
    from training.train.cross_validation import cross_validate
    from training.train.report import REPORT
    from training.train.run import read_settings, render_metrics

    given = merge(read_config(config) if config else {}, read_given(context, recipe))
    earlier = read_settings(run) if resume else None
    folder = data or given.pop("data", None) or (earlier and earlier.data)
    given.pop("data", None)
    if folder is None:
        raise click.UsageError("Give --data.")
    read = read_data(epath.Path(folder))
    metrics = cross_validate(
        make_settings(read, given, earlier),
        read,
        run,
        only_folds=only_fold,
        resume=resume,
        checkpoint_minutes=checkpoint_minutes,
        precision=precision,
    )
    if metrics:
        click.echo(render_metrics(metrics))
        click.echo(f"{run}: {metrics.folds_done} of {metrics.folds} folds are finished")
        click.echo(f"Wrote {run / REPORT}")
