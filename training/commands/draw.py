"""`python -m training draw`."""

from pathlib import Path

import click

from training.commands.options import FOLDER

LISTING = "drawn.csv"


@click.command()
@click.option("--out", type=FOLDER, required=True, help="Folder for the images and their list.")
@click.option(
    "--images", type=click.IntRange(2), default=240, show_default=True, help="Number of lesions."
)
@click.option(
    "--side",
    type=click.IntRange(32),
    default=256,
    show_default=True,
    help="Side of the images in pixels.",
)
def draw(out: Path, images: int, side: int) -> None:
    """Draw lesions, to try the other commands without any photo.

    Every fourth one is irregular and counts as a melanoma. A model that learns from them is of no
    use. Writes JPEGs and drawn.csv, a list for `build --csv`.
    """
    import pandas as pd
    from PIL import Image

    from processing.drawing import draw_photo
    from training.files import replacing, write_table

    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(images):
        melanoma = number % 4 == 0
        name = f"drawn{number:04d}.jpg"
        with replacing(out / name) as partial:
            Image.fromarray(draw_photo(number, side, irregular=melanoma)).save(partial, quality=90)
        rows.append((name, int(melanoma), "melanoma" if melanoma else "nevus"))
    table = pd.DataFrame(rows, columns=["image", "target", "diagnosis"])
    write_table(out / LISTING, table)
    click.echo(f"Wrote {images} images and {out / LISTING}")
