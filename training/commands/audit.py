"""`python -m training audit`."""

import sys

import click
from etils import epath

from training.commands.options import DATA, FILE


@click.command()
@click.option("--data", type=DATA, required=True, help="Data folder or public Kaggle set.")
@click.option("--test", type=DATA, multiple=True, help="Test set, in the same formats; repeatable.")
@click.option("--csv", type=FILE, help="CSV file to write all findings to.")
def audit(data: epath.Path, test: tuple[epath.Path, ...], csv: epath.Path | None) -> None:
    """Look for leaks and shortcuts in a data folder.

    A leak is a patient, lesion, image name or picture that is in two shards, or in the data and in
    a test set; the exit status is then 1. A shortcut is metadata that predicts the target without
    the image.
    """
    from training.inspect.leaks import run_audit

    if not run_audit(data, test, csv):
        sys.exit(1)
