"""`python -m training publish`, `rollback` and `models`."""

import sys
from pathlib import Path

import click

from training.commands.options import EXISTING_FOLDER


@click.command()
@click.argument("bundle", type=EXISTING_FOLDER)
@click.argument("store")
@click.option(
    "--test", help="Name of the test set to compare on.  [default: all test sets of either]"
)
@click.option(
    "--force",
    metavar="REASON",
    default="",
    help="Publish even if it is not good enough, and record why.",
)
def publish(bundle: Path, store: str, test: str | None, force: str) -> None:
    """Upload BUNDLE to STORE (s3://bucket/prefix or a folder) and make it the current version.

    The bundle must give its golden answers, and its AUC on the test sets must not be below that of
    the current version. In an empty store, the AUC's interval must lie above 0.75 on a test set.
    """
    from training.ship.publish import publish

    size_bytes = sum(file.stat().st_size for file in bundle.iterdir())
    with click.progressbar(length=size_bytes, label="Uploading", file=sys.stderr) as bar:
        version = publish(bundle, store, test, force, bar.update)
    click.echo(f"{store}: {version} is current")


@click.command()
@click.argument("store")
def rollback(store: str) -> None:
    """Make the previous version current again."""
    from processing.store.open import open_store

    click.echo(f"{store}: {open_store(store).rollback()} is current")


@click.command()
@click.argument("store")
def models(store: str) -> None:
    """List the versions in STORE, the current one first."""
    from training.ship.publish import list_models
    from training.text import align, render_estimate

    rows = [("version", "made", "", "backbone", "AUC on test sets", "forced because")]
    for model in list_models(store):
        manifest = model.manifest
        aucs = [f"{name} {render_estimate(each.estimate)}" for name, each in model.aucs.items()]
        made = f"{manifest.created:%Y-%m-%d %H:%M}"
        backbone = f"{manifest.backbone}, {manifest.input.size} px"
        measured = "; ".join(aucs) or "-"
        rows.append((manifest.version[:12], made, model.place, backbone, measured, model.note))
    click.echo(align(rows))
