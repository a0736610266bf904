"""`python -m training export`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from etils import epath

from training.commands.evaluate import print_figures
from training.commands.options import FOLDER, served_options

if TYPE_CHECKING:
    from training.serving.graph import Precision


@click.command()
@served_options(run_required=True)
@click.option("--out", type=FOLDER, required=True, help="Bundle folder to create.")
@click.option(
    "--note",
    "notes",
    multiple=True,
    help="A sentence for the model card on what cannot be measured here; repeatable.",
)
@click.option("--report", type=FOLDER, help="Folder in which to write the report of evaluate, too.")
def export(
    run: Path,
    test: tuple[epath.Path, ...],
    precision: "Precision",
    views: int,
    folds_served: int | None,
    average_weights: bool,
    centre: float | None,
    out: Path,
    notes: tuple[str, ...],
    report: Path | None,
) -> None:
    """Turn a run into a model bundle, with everything that evaluate measures."""
    from processing.bundle import refuse_existing
    from training.evaluate.evaluation import evaluate_run
    from training.evaluate.report import INDEX, write_evaluation
    from training.ship.export import export
    from training.ship.memory import describe_memory

    refuse_existing(out)  # before an hour of work
    evaluated = evaluate_run(
        *(run, test, precision, views),
        folds_served=folds_served,
        average_weights=average_weights,
        centre=centre,
    )
    bundle = export(evaluated, out, notes)
    print_figures(evaluated.evaluation)
    if report:
        write_evaluation(evaluated, report)
        click.echo(f"Wrote {report / INDEX}")
    click.echo(f"{out}: version {bundle.manifest.version}")
    click.echo(describe_memory(bundle.model_path))
