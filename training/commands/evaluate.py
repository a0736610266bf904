"""`python -m training evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource
from etils import epath

from training.commands.options import DATA, EXISTING_FOLDER, FOLDER, served_options

if TYPE_CHECKING:
    from training.evaluate.evaluation import Evaluation
    from training.serving.graph import Precision

_OF_RUNS = ("precision", "views", "folds_served", "average_weights", "centre", "against")


@click.command()
@served_options(run_required=False)
@click.option(
    "--bundle",
    metavar="BUNDLE_OR_STORE",
    help="In the place of --run: bundle to measure as it is, or store (s3://BUCKET/PREFIX or a "
    "folder) whose current version to measure.",
)
@click.option(
    "--data",
    type=DATA,
    help="With --bundle: the data that it was trained on. A test set that shares something with "
    "them is refused, and what metadata predict is learned from them.",
)
@click.option("--against", type=EXISTING_FOLDER, help="Other run to compare with.")
@click.option(
    "--out", type=FOLDER, help="Folder for the report.  [default: print the main figures only]"
)
@click.pass_context
def evaluate(
    context: click.Context,
    run: Path | None,
    bundle: str | None,
    test: tuple[epath.Path, ...],
    data: epath.Path | None,
    precision: "Precision",
    views: int,
    folds_served: int | None,
    average_weights: bool,
    centre: float | None,
    against: Path | None,
    out: Path | None,
) -> None:
    """Measure a run as it is served, or a published bundle, and write a report.

    The folds of a run are averaged in one graph. Test sets are never used to choose anything.
    """
    _check_usage(context, run, bundle, test, data)
    from training.evaluate.evaluation import Measured, evaluate_bundle, evaluate_run
    from training.evaluate.report import INDEX, write_evaluation

    measured: Measured
    if bundle is not None:
        measured = evaluate_bundle(bundle, test, data)
    else:
        assert run is not None
        measured = evaluate_run(
            *(run, test, precision, views, against),
            folds_served=folds_served,
            average_weights=average_weights,
            centre=centre,
        )
    if out:
        write_evaluation(measured, out)
    print_figures(measured.evaluation)
    if out:
        click.echo(f"Wrote {out / INDEX}")


def _check_usage(
    context: click.Context,
    run: Path | None,
    bundle: str | None,
    test: tuple[epath.Path, ...],
    data: epath.Path | None,
) -> None:
    if (run is None) == (bundle is None):
        raise click.UsageError("Give --run or --bundle, one of them.")
    if bundle is None:
        if data:
            raise click.UsageError("--data goes with --bundle; a run names its own.")
        return
    for name in _OF_RUNS:
        if context.get_parameter_source(name) != ParameterSource.DEFAULT:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(
                f"{option} goes with --run; a bundle is measured as it is served."
            )
    if not test:
        raise click.UsageError("--bundle needs --test, a data folder to measure it on.")


def print_figures(evaluation: "Evaluation") -> None:
    """Print the AUC on each data set, the share rejected as not a lesion, and the comparison."""
    from training.text import render_estimate

    evidence = evaluation.evidence
    thresholds = " or ".join(
        [f"{e.in_force.threshold:.4f} ({kind})" for kind, e in evidence.modalities.items()]
        or [f"{evidence.in_force.threshold:.4f}"]
    )
    for judgement in evaluation.judgements:
        click.echo(
            f"{judgement.dataset}: AUC {render_estimate(judgement.figures['AUC'])}, "
            f"{judgement.images:,} images, {judgement.positives:,} positive"
        )
        point = next(
            each
            for each in judgement.at_thresholds
            if each.operating_point == evidence.operating_point
        )
        click.echo(
            f"  from probability {thresholds}: sensitivity "
            f"{render_estimate(point.sensitivity)}, specificity "
            f"{render_estimate(point.specificity)}"
        )
        if judgement.by_lesion:
            click.echo(
                f"  by lesion: AUC {render_estimate(judgement.by_lesion.auc)}, "
                f"{judgement.by_lesion.lesions:,} lesions"
            )
        if judgement.refused:
            click.echo(f"  rejected as not a lesion: {render_estimate(judgement.refused)}")
        for each in judgement.baselines:
            click.echo(
                f"  {', '.join(each.columns)} alone, learned from "
                f"{judgement.baselines_fitted_on}: AUC {render_estimate(each.auc)}"
            )
    for kind in evaluation.nonlesions[:1]:
        click.echo(
            f"Pictures without a lesion: {render_estimate(kind.refused)} of "
            f"{kind.pictures} rejected"
        )
    for difference in evaluation.against:
        low, high = difference.bootstrap.low, difference.bootstrap.high
        click.echo(
            f"Compared with {evaluation.other_run}, {difference.dataset}: "
            f"{difference.bootstrap.value:+.3f} ({low:+.3f} to {high:+.3f}; DeLong's p "
            f"{difference.delong.p:.2g})"
        )
    click.echo(evaluation.leaks)
