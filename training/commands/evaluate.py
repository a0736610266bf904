"""`python -m training evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from etils import epath

from training.commands.options import EXISTING_FOLDER, FOLDER, served_options

if TYPE_CHECKING:
    from training.evaluate.evaluation import Evaluation
    from training.serving.graph import Precision


@click.command()
@served_options
@click.option("--against", type=EXISTING_FOLDER, help="Other run to compare with.")
@click.option("--out", type=FOLDER, required=True, help="Folder for the report.")
def evaluate(
    run: Path,
    test: tuple[epath.Path, ...],
    precision: "Precision",
    views: int,
    against: Path | None,
    out: Path,
) -> None:
    """Measure a run as it is served, and write a report.

    All folds are averaged in one graph. Test sets are never used to choose anything.
    """
    from training.evaluate.evaluation import evaluate_run
    from training.evaluate.report import INDEX, write_evaluation

    evaluated = evaluate_run(run, test, precision, views, against)
    write_evaluation(evaluated, out)
    print_figures(evaluated.evaluation)
    click.echo(f"Wrote {out / INDEX}")


def print_figures(evaluation: "Evaluation") -> None:
    """Print the AUC on each data set, the share rejected as not a lesion, and the comparison."""
    from training.text import render_estimate

    for judgement in evaluation.judgements:
        click.echo(
            f"{judgement.dataset}: AUC {render_estimate(judgement.figures['AUC'])}, "
            f"{judgement.images:,} images, {judgement.positives:,} positive"
        )
        if judgement.refused:
            click.echo(f"  rejected as not a lesion: {render_estimate(judgement.refused)}")
    everything = evaluation.nonlesions[0]
    click.echo(
        f"Pictures without a lesion: {render_estimate(everything.refused)} of "
        f"{everything.pictures} rejected"
    )
    for each in evaluation.against:
        low, high = each.bootstrap.low, each.bootstrap.high
        click.echo(
            f"Compared with {evaluation.other_run}, {each.dataset}: {each.bootstrap.value:+.3f} "
            f"({low:+.3f} to {high:+.3f}; DeLong's p {each.delong.p:.2g})"
        )
