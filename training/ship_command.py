"""`python -m training evaluate`, `export`, `publish`, `rollback` and `models`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from etils import epath

if TYPE_CHECKING:
    from training.evaluate import Evaluation
    from training.serving_graph import Precision

_DATA = click.Path(path_type=epath.Path, file_okay=False)  # also gs://
_FOLDER = click.Path(path_type=Path, file_okay=False)
_EXISTING_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)

_SERVED = [
    click.option("--run", type=_EXISTING_FOLDER, required=True, help="A run, all folds finished."),
    click.option(
        "--test",
        type=_DATA,
        multiple=True,
        help="A data folder to report on, apart from the training data; repeatable.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["float32", "float16", "int8"]),
        default="float32",
        show_default=True,
        help="Of the served graph. Less than float32 only where it costs no AUC on --test.",
    ),
    click.option(
        "--views",
        type=click.Choice(["1", "2", "4", "8"]),
        default="1",
        show_default=True,
        callback=lambda _context, _option, value: int(value),
        help="Orientations of a photo that are averaged.",
    ),
]


def _served_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_SERVED):
        command = option(command)
    return command


@click.command()
@_served_options
@click.option("--against", type=_EXISTING_FOLDER, help="Another run, to compare with.")
@click.option("--out", type=_FOLDER, required=True, help="The folder of the report.")
def evaluate(
    run: Path,
    test: tuple[epath.Path, ...],
    precision: "Precision",
    views: int,
    against: Path | None,
    out: Path,
) -> None:
    """Measure a run as it is served, and write a report."""
    from training.evaluate import evaluate_run
    from training.evaluation_report import INDEX, write_evaluation

    evaluated = evaluate_run(run, test, precision, views, against)
    write_evaluation(evaluated, out)
    _print_figures(evaluated.evaluation)
    click.echo(f"Wrote {out / INDEX}")


@click.command()
@_served_options
@click.option("--out", type=_FOLDER, required=True, help="The bundle to make.")
@click.option("--report", type=_FOLDER, help="A folder for the report of evaluate, too.")
def export(
    run: Path,
    test: tuple[epath.Path, ...],
    precision: "Precision",
    views: int,
    out: Path,
    report: Path | None,
) -> None:
    """Turn a run into a model bundle, with all that evaluate measures."""
    from training.evaluation_report import INDEX, write_evaluation
    from training.export import export

    bundle, evaluated = export(run, test, out, precision, views)
    _print_figures(evaluated.evaluation)
    if report:
        write_evaluation(evaluated, report)
        click.echo(f"Wrote {report / INDEX}")
    click.echo(f"{out}: version {bundle.manifest.version}")


@click.command()
@click.argument("bundle", type=_EXISTING_FOLDER)
@click.argument("store")
@click.option("--test", help="Name of the test set to compare on.  [default: all that either has]")
@click.option("--force", metavar="REASON", default="", help="Publish though it is not as good.")
def publish(bundle: Path, store: str, test: str | None, force: str) -> None:
    """Upload BUNDLE to STORE (s3://bucket/prefix or a folder) and put it in force.

    It must give its golden answers, and its AUC on the test sets must not be below that of the
    version in force.
    """
    from training.publish import publish

    size_bytes = sum(file.stat().st_size for file in bundle.iterdir())
    with click.progressbar(length=size_bytes, label="Uploading", file=sys.stderr) as bar:
        version = publish(bundle, store, test, force, bar.update)
    click.echo(f"{store}: {version} is current")


@click.command()
@click.argument("store")
def rollback(store: str) -> None:
    """Put the version before the one in force back in force."""
    from processing.store import open_store

    click.echo(f"{store}: {open_store(store).rollback()} is current")


@click.command()
@click.argument("store")
def models(store: str) -> None:
    """List the versions in STORE, the one in force first."""
    from training.publish import list_models
    from training.run import align, render_estimate

    rows = [("version", "made", "", "backbone", "AUC on test sets", "forced because")]
    for model in list_models(store):
        manifest = model.manifest
        aucs = [f"{name} {render_estimate(each.estimate)}" for name, each in model.aucs.items()]
        made = f"{manifest.created:%Y-%m-%d %H:%M}"
        backbone = f"{manifest.backbone}, {manifest.input.size} px"
        measured = "; ".join(aucs) or "-"
        rows.append((manifest.version[:12], made, model.place, backbone, measured, model.note))
    click.echo(align(rows))


def _print_figures(evaluation: "Evaluation") -> None:
    from training.run import render_estimate

    for judgement in evaluation.judgements:
        click.echo(
            f"{judgement.dataset}: AUC {render_estimate(judgement.figures['AUC'])}, "
            f"{judgement.images:,} images, {judgement.positives:,} positive"
        )
        if judgement.refused:
            click.echo(f"  taken for no lesion: {render_estimate(judgement.refused)}")
    everything = evaluation.nonlesions[0]
    click.echo(
        f"Photos of no lesion: {render_estimate(everything.refused)} of {everything.pictures} "
        "refused"
    )
    for each in evaluation.against:
        low, high = each.bootstrap.low, each.bootstrap.high
        click.echo(
            f"Against {evaluation.other_run}, {each.dataset}: {each.bootstrap.value:+.3f} "
            f"({low:+.3f} to {high:+.3f}; DeLong's p {each.delong.p:.2g})"
        )
