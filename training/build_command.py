"""`python -m training build`: its options, and what it prints."""

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from etils import epath

if TYPE_CHECKING:
    from training.build import Runner

_THERE = click.Path(path_type=epath.Path, file_okay=False)
_FILE = click.Path(path_type=epath.Path, dir_okay=False)
_PRESETS = {"224": (224, 0.6), "384": (384, 0.5)}  # size, crop: the predecessor's two


@click.command()
@click.option("--isic2019", type=_THERE, multiple=True, help="Folder in ISIC 2019's layout.")
@click.option("--isic2020", type=_THERE, multiple=True, help="Folder in ISIC 2020's layout.")
@click.option("--csv", type=_FILE, multiple=True, help="CSV file with image, target, ...")
@click.option("--tfrecords", type=_THERE, multiple=True, help="Folder of a public Kaggle set.")
@click.option("--isic2019-csv", type=_THERE, multiple=True, help="For --plan: needs no images.")
@click.option("--isic2020-csv", type=_THERE, multiple=True, help="For --plan: needs no images.")
@click.option(
    "--duplicates",
    type=_FILE,
    multiple=True,
    help="ISIC's list of duplicates; one in an ISIC 2020 folder is found.",
)
@click.option(
    "--target",
    type=click.Choice(["melanoma", "malignant"]),
    default="melanoma",
    show_default=True,
    help="What is positive; malignant: melanoma, basal and squamous cell carcinoma.",
)
@click.option("--with-ak", is_flag=True, help="Actinic keratosis is malignant, too.")
@click.option(
    "--per-patient-site",
    type=click.IntRange(1),
    help="Keep at most so many benign images of one patient's body site.",
)
@click.option(
    "--preset",
    type=click.Choice(list(_PRESETS)),
    multiple=True,
    help="224: the centre 60 % at 224 px; 384: the centre 50 % at 384 px.",
)
@click.option("--size", type=click.IntRange(32, 1024), help="Side of the square, pixels.")
@click.option(
    "--crop",
    type=click.FloatRange(0, 1, min_open=True),
    help="Side of the centre crop, of the shorter side.",
)
@click.option(
    "--apart-from",
    type=_THERE,
    multiple=True,
    help="A data folder to share no patient or picture with.",
)
@click.option("--shards", type=click.IntRange(2), default=15, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the rules and shards.")
@click.option("--out", type=_THERE, help="The data folder to make or finish; of several, OUT/SIZE.")
@click.option("--processes", type=click.IntRange(1), help="That cut photos; default: one a core.")
@click.option("--strict", is_flag=True, help="Make every warning an error.")
@click.option("--plan", is_flag=True, help="Print what would be kept; build nothing.")
@click.option("--runner", help="Of Apache Beam: DirectRunner, DataflowRunner, ...")
@click.option("--runner-option", multiple=True, help="NAME=VALUE for the runner.")
def build(**options: Any) -> None:
    """Cut images into TFRecord shards. Options that name a source can be repeated."""
    _check_usage(options)
    # Not sooner: worker processes import this module, and need none of it.
    from training.errors import warn
    from training.metadata import read_sources
    from training.selection import (
        drop_by_metadata,
        find_duplicates,
        read_duplicates,
        render_counts,
    )
    from training.vocabulary import TARGETS

    isic2020 = [*options["isic2020"], *options["isic2020_csv"]]
    listing = read_sources(
        [*options["isic2019"], *options["isic2019_csv"]],
        isic2020,
        options["csv"],
        options["tfrecords"],
        TARGETS[_name_target(options)],
        with_images=not (options["isic2019_csv"] or options["isic2020_csv"]),
    )
    duplicates = read_duplicates([*options["duplicates"], *find_duplicates(isic2020)])
    if options["plan"]:
        dropped = drop_by_metadata(
            listing.cases, duplicates, options["per_patient_site"], options["seed"]
        )
        warn(listing.warnings, options["strict"])
        click.echo(render_counts(listing.cases, dropped))
        click.echo("Unreadable and duplicate pictures are found when the images are read.")
        return

    from training.build import build
    from training.data import BuildSettings, read_data, read_dropped

    apart = [read_data(folder) for folder in options["apart_from"]]
    settings = [
        BuildSettings(
            size=size,
            crop_fraction=crop,
            shards=options["shards"],
            seed=options["seed"],
            target=_name_target(options),
            per_patient_site=options["per_patient_site"],
            apart_from=tuple(data.build.cases_sha256 for data in apart),
        )
        for size, crop in _list_squares(options)
    ]
    folders = build(
        listing,
        duplicates,
        settings,
        options["out"],
        processes=options["processes"] or os.cpu_count() or 1,
        beam=_make_runner(options),
        apart=apart,
        strict=options["strict"],
    )
    click.echo(render_counts(listing.cases, read_dropped(next(iter(folders)))))
    for folder, built in folders.items():
        click.echo(
            f"{folder}: {built.images} images, {built.positives} positive, {built.groups} patients "
            f"or lesions, {len(built.shard_names)} shards of {built.settings.size} px"
        )


def _make_runner(options: dict[str, Any]) -> "Runner | None":
    from training.beam import run_on_beam

    if options["runner"] is None:
        return None
    return partial(run_on_beam, runner=options["runner"], options=options["runner_option"])


def _check_usage(options: dict[str, Any]) -> None:
    squares = _list_squares(options)
    if (options["size"] is None) != (options["crop"] is None):
        raise click.UsageError("--size and --crop go together.")
    if len({size for size, _ in squares}) < len(squares):
        raise click.UsageError("Two data sets of one size: build them in two folders.")
    if options["with_ak"] and options["target"] != "malignant":
        raise click.UsageError("--with-ak goes with --target malignant.")
    if options["plan"]:
        return
    if options["isic2019_csv"] or options["isic2020_csv"]:
        raise click.UsageError("--isic2019-csv and --isic2020-csv serve --plan alone.")
    if options["out"] is None or not squares:
        raise click.UsageError("Give --out, and --preset or --size with --crop.")
    if options["runner_option"] and not options["runner"]:
        raise click.UsageError("--runner-option goes with --runner.")


def _list_squares(options: dict[str, Any]) -> list[tuple[int, float]]:
    """Size and crop of each data folder that is asked for."""
    own = [(options["size"], options["crop"])] if options["size"] else []
    return [_PRESETS[name] for name in options["preset"]] + own


def _name_target(options: dict[str, Any]) -> str:
    name: str = options["target"]
    return f"{name} with actinic keratosis" if options["with_ak"] else name
