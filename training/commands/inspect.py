"""`python -m training inspect`."""

import click
from etils import epath

from training.commands.options import DATA, FILE, augment_option


@click.command()
@click.argument("data", type=DATA)
@click.option("--out", type=FILE, help="HTML page to write.  [default: DATA/inspect.html]")
@click.option("--augmented", is_flag=True, help="Also show one image under random augmentation.")
@click.option(
    "--image", metavar="NAME", help="Image to augment.  [default: the first positive on the page]"
)
@augment_option
def inspect(
    data: epath.Path,
    out: epath.Path | None,
    augmented: bool,
    image: str | None,
    augment: tuple[str, ...],
) -> None:
    """Show a data folder on one HTML page.

    DATA is a data folder or a public Kaggle set.
    """
    for option, given in (("--image", image), ("--augment", augment)):
        if given and not augmented:
            raise click.UsageError(f"{option} needs --augmented.")
    from training.data.folder import DROPPED, read_data, read_dropped
    from training.inspect.report import write_report
    from training.inspect.sheets import make_augmented_sheet
    from training.recipe import Augmentation, parse_strengths

    out = out or data / "inspect.html"
    strength = Augmentation(**parse_strengths(augment))
    read = read_data(data)
    dropped = read_dropped(data) if (data / DROPPED).exists() else None
    sheet = make_augmented_sheet(read, strength, image) if augmented else None
    write_report(read, dropped, out, sheet)
    click.echo(f"Wrote {out}")
