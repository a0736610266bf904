"""`python -m training build`."""

import os
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import click

from processing.beam import run_on_beam, runner_options
from processing.manifest import PixelPath
from training.commands.options import DATA, FILE

if TYPE_CHECKING:
    import pandas as pd

    from training.build.build import Runner

_PRESETS = {"224": (224, 0.6), "384": (384, 0.5)}  # size and crop of the predecessor's two models


_FRACTION = click.FloatRange(0, 1, min_open=True)


class _Crop(click.ParamType[tuple[str, float]]):
    """A crop, for all sources ("") or for one."""

    name = "[SOURCE=]FRACTION"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        source, given, fraction = value.rpartition("=")
        if given and not source:
            self.fail(f"{value!r} names no source. Give SOURCE=FRACTION.", param, ctx)
        side: float = _FRACTION(fraction, param, ctx)
        return source, side


@click.command()
@click.option("--isic2019", type=DATA, multiple=True, help="Folder in ISIC 2019's own layout.")
@click.option("--isic2020", type=DATA, multiple=True, help="Folder in ISIC 2020's own layout.")
@click.option("--milk10k", type=DATA, multiple=True, help="Folder in MILK10k's own layout.")
@click.option(
    "--csv", type=FILE, multiple=True, help="CSV file of images, with columns image and target."
)
@click.option(
    "--tfrecords", type=DATA, multiple=True, help="Folder of a public TFRecord set from Kaggle."
)
@click.option(
    "--isic2019-csv",
    type=DATA,
    multiple=True,
    help="With --plan: folder of ISIC 2019's CSV files, without images.",
)
@click.option(
    "--isic2020-csv",
    type=DATA,
    multiple=True,
    help="With --plan: folder of ISIC 2020's CSV files, without images.",
)
@click.option(
    "--duplicates",
    type=FILE,
    multiple=True,
    help="ISIC's list of duplicates, if it is not in the ISIC 2020 folder.",
)
@click.option(
    "--target",
    type=click.Choice(["melanoma", "malignant"]),
    default="melanoma",
    show_default=True,
    help="Which lesions are positive. malignant: melanoma, basal cell carcinoma and squamous cell "
    "carcinoma.",
)
@click.option(
    "--with-ak", is_flag=True, help="With --target malignant: count actinic keratosis as malignant."
)
@click.option(
    "--per-patient-site",
    type=click.IntRange(1),
    help="How many benign images of a patient's body site to keep at most.  [default: all]",
)
@click.option(
    "--preset",
    type=click.Choice(list(_PRESETS)),
    multiple=True,
    help="Size and crop. 224: the centre 60 % at 224 px; 384: the centre 50 % at 384 px. Give both "
    "to build two folders.",
)
@click.option("--size", type=click.IntRange(32, 1024), help="Side of the images in pixels.")
@click.option(
    "--crop",
    type=_Crop(),
    multiple=True,
    help="Side of the centre square to cut, as a fraction of the photo's shorter side. "
    "SOURCE=FRACTION sets that of one source, whose photos have a round black field; repeatable.",
)
@click.option(
    "--pixel-path",
    type=click.Choice([str(path) for path in get_args(PixelPath)]),
    default="2",
    callback=lambda _context, _option, value: int(value),
    show_default=True,
    help="How photos are read and resized: 3 for archives that were cut to small squares "
    "beforehand, 1 for test sets of a model from before path 2.",
)
@click.option(
    "--apart-from",
    type=DATA,
    multiple=True,
    help="Data folder, such as a test set, whose patients, lesions and pictures are left out.",
)
@click.option(
    "--extra",
    "extra_sources",
    metavar="SOURCE",
    multiple=True,
    help="Source to train on but never to score; repeatable.",
)
@click.option(
    "--shards",
    type=click.IntRange(2),
    default=15,
    show_default=True,
    help="Number of shards; the number of folds must divide it.",
)
@click.option(
    "--shards-of",
    type=DATA,
    help="Data folder whose images stay in the shards that they have there, so that a run on it "
    "can be the start of one on the new data.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed for --per-patient-site and for the division into shards.",
)
@click.option(
    "--out", type=DATA, help="Data folder to build or finish; several sizes go to OUT/SIZE."
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    help="Number of processes that cut photos.  [default: one per core]",
)
@click.option("--strict", is_flag=True, help="Treat every warning as an error.")
@click.option(
    "--plan", is_flag=True, help="Show how many images would be kept or dropped; build nothing."
)
@runner_options
def build(**options: Any) -> None:
    """Cut images from all sources into TFRecord shards.

    Give one or more sources: --isic2019, --isic2020, --csv and --tfrecords can be repeated and
    combined. If a build is interrupted, run the same command again; it resumes.
    """
    _check_usage(options)
    # Imported late: worker processes import this module without needing any of these.
    from training.build.rules import (
        drop_by_metadata,
        find_duplicates,
        read_duplicates,
    )
    from training.build.sources import read_sources
    from training.data.vocabulary import TARGETS
    from training.errors import TrainingError, warn

    isic2020 = [*options["isic2020"], *options["isic2020_csv"]]
    listing = read_sources(
        TARGETS[_name_target(options)],
        isic2019=[*options["isic2019"], *options["isic2019_csv"]],
        isic2020=isic2020,
        milk10k=options["milk10k"],
        csv=options["csv"],
        kaggle=options["tfrecords"],
        with_images=not (options["isic2019_csv"] or options["isic2020_csv"]),
    )
    _, source_crops = _divide_crops(options)
    sources = sorted(set(listing.cases["source"]))
    for option, given in (("--extra", options["extra_sources"]), ("--crop", source_crops)):
        if absent := sorted(set(given) - set(sources)):
            raise TrainingError(f"{option} {absent[0]}: the sources are {', '.join(sources)}.")
    scored = sorted(set(source_crops) - set(options["extra_sources"]))
    if scored:
        warning = (
            f"--crop {scored[0]}={source_crops[scored[0]]:g}: folds are scored on this source, but "
            "the photos that a model is given are cut by the fraction for all sources, so figures "
            f"on {scored[0]} are not those of serving. Give it as --extra, too, to learn from only."
        )
        listing = listing._replace(warnings=(*listing.warnings, warning))
    duplicates = read_duplicates([*options["duplicates"], *find_duplicates(isic2020)])
    if options["plan"]:
        dropped = drop_by_metadata(
            listing.cases, duplicates, options["per_patient_site"], options["seed"]
        )
        warn(listing.warnings, options["strict"])
        click.echo(render_counts(listing.cases, dropped))
        click.echo("Unreadable images and duplicate pictures are only found when images are read.")
        return

    from training.build.build import build_folders
    from training.data.folder import BuildSettings, read_data, read_dropped

    apart = [read_data(folder, shards=False) for folder in options["apart_from"]]
    earlier = options["shards_of"] and read_data(options["shards_of"], shards=False)
    if earlier and earlier.build.settings.shards != options["shards"]:
        raise TrainingError(
            f"--shards-of {earlier.folder} has {earlier.build.settings.shards} shards. Give "
            f"--shards {earlier.build.settings.shards}."
        )
    settings = [
        BuildSettings(
            size=size,
            crop_fraction=crop,
            pixel_path=options["pixel_path"],
            shards=options["shards"],
            seed=options["seed"],
            target=_name_target(options),
            per_patient_site=options["per_patient_site"],
            extra_sources=tuple(sorted(options["extra_sources"])),
            source_crops=source_crops,
            shards_of=earlier.build.cases_sha256 if earlier else None,
            apart_from=tuple(data.build.cases_sha256 for data in apart),
        )
        for size, crop in _list_squares(options)
    ]
    folders = build_folders(
        listing,
        duplicates,
        settings,
        options["out"],
        processes=options["processes"] or os.cpu_count() or 1,
        beam=_make_runner(options),
        apart=apart,
        earlier=earlier,
        strict=options["strict"],
    )
    click.echo(render_counts(listing.cases, read_dropped(next(iter(folders)))))
    for folder, built in folders.items():
        click.echo(
            f"{folder}: {built.images} images, {built.positives} positive, {built.groups} patients "
            f"or lesions, {len(built.shard_names)} shards of {built.settings.size} px"
        )


def _make_runner(options: dict[str, Any]) -> "Runner | None":
    from training.errors import TrainingError

    if options["runner"] is None:
        return None
    return partial(
        run_on_beam,
        runner=options["runner"],
        options=options["runner_option"],
        fault=TrainingError,
    )


def _check_usage(options: dict[str, Any]) -> None:
    squares = _list_squares(options)
    crop, _ = _divide_crops(options)
    if (options["size"] is None) != (crop is None):
        raise click.UsageError("--size and --crop FRACTION go together.")
    if len({size for size, _ in squares}) < len(squares):
        raise click.UsageError("Two data sets have the same size: build them in two folders.")
    if options["with_ak"] and options["target"] != "malignant":
        raise click.UsageError("--with-ak needs --target malignant.")
    if options["plan"]:
        return
    if options["isic2019_csv"] or options["isic2020_csv"]:
        raise click.UsageError("--isic2019-csv and --isic2020-csv need --plan.")
    if options["out"] is None or not squares:
        raise click.UsageError("Give --out, and --preset or --size with --crop.")
    if options["runner_option"] and not options["runner"]:
        raise click.UsageError("--runner-option needs --runner.")


def _list_squares(options: dict[str, Any]) -> list[tuple[int, float]]:
    """Return the size and crop of each data folder to build."""
    crop, _ = _divide_crops(options)
    own = [(options["size"], crop)] if options["size"] and crop else []
    return [_PRESETS[name] for name in options["preset"]] + own


def _divide_crops(options: dict[str, Any]) -> tuple[float | None, dict[str, float]]:
    """Return the crop for all sources, if it is given, and those of single sources."""
    given: list[tuple[str, float]] = sorted(options["crop"])
    crops = dict(given)
    if len(crops) < len(given):
        raise click.UsageError("--crop: give one FRACTION for all sources, and one for each.")
    return crops.pop("", None), crops


def _name_target(options: dict[str, Any]) -> str:
    name: str = options["target"]
    return f"{name} with actinic keratosis" if options["with_ak"] else name


def render_counts(listed: "pd.DataFrame", dropped: "pd.DataFrame") -> str:
    """Format the images and positives of each source: listed, dropped by each rule, and kept."""
    from training.build.rules import RULES

    rules = [rule for rule in RULES if (dropped["rule"] == rule).any()]
    steps = {
        "listed": listed,
        **{f"- {rule}": dropped[dropped["rule"] == rule] for rule in rules},
        "= kept": listed[~listed["image_name"].isin(dropped["image_name"])],
    }
    sources = list(dict.fromkeys(listed["source"]))
    lines = [f"{'':26}" + "".join(f"{name:>21}" for name in [*sources, "all"])]
    lines += [f"{'':26}" + f"{'images':>11}{'positive':>10}" * (len(sources) + 1)]
    for step, table in steps.items():
        parts = [table[table["source"] == source] for source in sources] + [table]
        cells = [f"{len(part):>11,}{part['target'].sum():>10,}" for part in parts]
        lines.append(f"{step:26}" + "".join(cells))
    return "\n".join(lines)
