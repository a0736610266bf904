"""python -m training COMMAND

Each command imports what it needs when it runs, so that `--help` and the worker processes of a
build, which import this module, do not wait for TensorFlow.
"""

import sys

import click

from processing.bundle import BundleError
from processing.store.base import StoreError
from training.commands.audit import audit
from training.commands.build import build
from training.commands.compare import compare
from training.commands.draw import draw
from training.commands.evaluate import evaluate
from training.commands.export import export
from training.commands.inspect import inspect
from training.commands.processes import quiet_tensorflow, show_log
from training.commands.publish import models, publish, rollback
from training.commands.train import train
from training.errors import TrainingError


@click.group()
def main() -> None:
    """Build data sets from ISIC archives, train and evaluate models, and publish them."""


for command in (
    draw, build, inspect, audit, train, compare, evaluate, export, publish, rollback, models,
):  # fmt: skip
    main.add_command(command)


def run() -> None:
    """Run the command line; a fault that the user can mend ends in one line, not a traceback."""
    with quiet_tensorflow():
        show_log()
        try:
            main()
        except (TrainingError, BundleError, StoreError) as error:
            sys.exit(f"Error: {error}")
        except OSError as error:  # a path that cannot be read or written
            sys.exit(f"Error: {error.filename or ''}: {error.strerror}. Give another path.")


if __name__ == "__main__":
    run()
