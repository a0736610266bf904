"""python -m training COMMAND

Each command imports what it needs when it runs: `--help` and the build's worker processes, which
import this module, do not wait for TensorFlow.
"""

import logging
import sys

import click
from etils import epath

from processing.bundle import BundleError
from processing.store import StoreError
from training.build_command import build
from training.compare_command import compare
from training.errors import TrainingError
from training.ship_command import evaluate, export, models, publish, rollback
from training.train_command import augment_option, train

_DATA = click.Path(path_type=epath.Path, file_okay=False)  # also gs://
_FILE = click.Path(path_type=epath.Path, dir_okay=False)


@click.group()
def main() -> None:
    """From ISIC archives to a published model bundle."""


main.add_command(build)
main.add_command(train)
main.add_command(compare)
main.add_command(evaluate)
main.add_command(export)
main.add_command(publish)
main.add_command(rollback)
main.add_command(models)


@main.command()
@click.argument("data", type=_DATA)
@click.option("--out", type=_FILE, help="The page to write.  [default: DATA/inspect.html]")
@click.option("--augmented", is_flag=True, help="Show an image as training varies it, too.")
@click.option("--image", help="Name of that image.  [default: the first positive that is shown]")
@augment_option
def inspect(
    data: epath.Path,
    out: epath.Path | None,
    augmented: bool,
    image: str | None,
    augment: tuple[str, ...],
) -> None:
    """Show a data folder or public Kaggle set on one HTML page."""
    for option, given in (("--image", image), ("--augment", augment)):
        if given and not augmented:
            raise click.UsageError(f"{option} goes with --augmented.")
    from training.augment import Augmentation, parse_strengths
    from training.data import DROPPED, read_data, read_dropped
    from training.data_report import write_report
    from training.sheets import make_augmented_sheet

    out = out or data / "inspect.html"
    strength = Augmentation(**parse_strengths(augment))
    read = read_data(data)
    dropped = read_dropped(data) if (data / DROPPED).exists() else None
    sheet = make_augmented_sheet(read, strength, image) if augmented else None
    write_report(read, dropped, out, sheet)
    click.echo(f"Wrote {out}")


@main.command()
@click.option("--data", type=_DATA, required=True, help="A data folder, or a public Kaggle set.")
@click.option("--test", type=_DATA, multiple=True, help="One to be judged on later; repeatable.")
@click.option("--csv", type=_FILE, help="A file for all that was found, to be written.")
def audit(data: epath.Path, test: tuple[epath.Path, ...], csv: epath.Path | None) -> None:
    """Look for leaks between folds and into test sets, and for shortcuts."""
    from training.audit import run_audit

    if not run_audit(data, test, csv):
        sys.exit(1)


def run() -> None:
    """Run the command line; a fault that the user can mend is one line, not a traceback."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("training").setLevel(logging.INFO)
    try:
        main()
    except (TrainingError, BundleError, StoreError) as error:
        sys.exit(f"Error: {error}")
    except OSError as error:  # a place that cannot be read or written
        sys.exit(f"Error: {error.filename or ''}: {error.strerror}. Give another path.")


if __name__ == "__main__":
    run()
