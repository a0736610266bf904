"""`python -m training audit`."""

import sys

import click
from etils import epath

from training.commands.options import DATA, FILE


@click.command()
@click.option("--data", type=DATA, required=True, help="A data folder, or a public Kaggle set.")
@click.option("--test", type=DATA, multiple=True, help="One to be judged on later; repeatable.")
@click.option("--csv", type=FILE, help="A file for all that was found, to be written.")
def audit(data: epath.Path, test: tuple[epath.Path, ...], csv: epath.Path | None) -> None:
    """Look for leaks between folds and into test sets, and for shortcuts."""
    from training.inspect.leaks import run_audit

    if not run_audit(data, test, csv):
        sys.exit(1)
