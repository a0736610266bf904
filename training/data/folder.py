"""Data folders: `build` writes them; training, evaluation, audit and inspect read them.

A data folder holds `train%02d-%d.tfrec` (number of the shard, number of its records), `cases.csv`,
`dropped.csv` and `build.json`. The public Kaggle sets, which hold records alone, are read as well.
"""

import hashlib
import io
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple

import pandas as pd
from etils import epath
from PIL import Image
from pydantic import Field, TypeAdapter

from processing.manifest import PixelPath
from training.data.folds import require_whole_groups
from training.data.kaggle import find_shards, read_jpeg, read_kaggle
from training.data.vocabulary import (
    DIAGNOSES,
    MODALITIES,
    SEXES,
    SITES,
    SKIN_TONES,
    TARGETS,
)
from training.errors import BUILD_AGAIN, TrainingError
from training.files import release_cells
from training.strict import StrictModel

CASES, DROPPED, BUILD = "cases.csv", "dropped.csv", "build.json"
_HASHED_BYTES = 1 << 20  # at once
VOCABULARIES = {
    "sex": SEXES,
    "anatom_site": SITES,
    "diagnosis": DIAGNOSES,
    "modality": MODALITIES,
    "skin_tone": SKIN_TONES,
}
_TEXT = ("image_name", "path", "source", "patient_id", "lesion_id", "sex", "anatom_site",
         "diagnosis", "modality", "skin_tone", "group", "phash", "rule", "detail")  # fmt: skip


_CropFraction = Annotated[float, Field(gt=0, le=1)]


class BuildSettings(StrictModel):
    """All settings that, with the sources, decide the bytes of a data set."""

    size: Annotated[int, Field(ge=32, le=1024)]
    crop_fraction: _CropFraction  # also that of the photos that a model on these data is served
    pixel_path: PixelPath = 2
    shards: Annotated[int, Field(ge=2)]
    seed: int
    target: str = "melanoma"  # one of TARGETS
    per_patient_site: Annotated[int, Field(ge=1)] | None = None
    apart_from: tuple[str, ...] = ()  # cases_sha256 of the data folders to stay apart from
    extra_sources: tuple[str, ...] = ()  # trained on, but never scored
    shards_of: str | None = None  # cases_sha256 of the data folder whose shards are kept
    source_crops: dict[str, _CropFraction] = Field({})  # of the sources that are cut otherwise

    def crop_of(self, source: str) -> float:
        """Return the side of the square that is cut from a source's photos, as a fraction."""
        return self.source_crops.get(source, self.crop_fraction)


class Begun(StrictModel):
    """The build.json of an unfinished folder."""

    settings: BuildSettings
    listing_sha256: str  # of the table of cases as the sources list them
    cases_sha256: str = ""  # of the cases that are kept; set when writing the shards begins
    complete: Literal[False] = False


class Build(StrictModel):
    """The build.json of a finished folder."""

    settings: BuildSettings
    listing_sha256: str
    cases_sha256: str  # of cases.csv without its paths: which images, targets, groups and shards
    complete: Literal[True] = True
    sources: dict[str, int]  # images by source
    images: int
    positives: int
    groups: int
    dropped: dict[str, int]  # images by rule
    warnings: tuple[str, ...]
    shard_names: tuple[str, ...]
    vocabularies: dict[str, tuple[str, ...]]
    fingerprint_version: Literal[1] = 1  # of `phash`: versions cannot be compared
    shard_sha256: tuple[str, ...] = ()  # in the order of `shard_names`; none in older folders


class Data(NamedTuple):
    """A data folder that was read."""

    folder: epath.Path
    build: Build
    cases: pd.DataFrame  # sorted by name

    @property
    def scored(self) -> pd.DataFrame:
        """The cases that may be scored: those of the extra sources are trained on only."""
        return self.cases[~self.cases["source"].isin(self.build.settings.extra_sources)]

    @property
    def diagnoses(self) -> tuple[str, ...]:
        """The diagnoses that were known when the data were built; a second head learns these."""
        return self.build.vocabularies.get("diagnosis", DIAGNOSES)

    def shards(self, numbers: Iterable[int] | None = None) -> list[epath.Path]:
        """Return the paths of the shards `numbers`, or of all shards."""
        names = self.build.shard_names
        return [self.folder / names[k] for k in (range(len(names)) if numbers is None else numbers)]


def read_data(folder: epath.Path, *, shards: bool = True) -> Data:
    """Read a finished data folder, or a public Kaggle set.

    Args:
        shards: whether to check the shards; the table of cases is read without them.

    Raises:
        TrainingError: the folder is neither, is unfinished or damaged, or leaks: a group is in two
            shards.
    """
    if not (folder / BUILD).exists() and find_shards(folder):
        return _read_kaggle(folder)
    found = read_build(folder)
    if isinstance(found, Begun):
        raise TrainingError(f"{folder} is an unfinished build: run its build command again.")
    cases = _read_csv(folder / CASES)
    if hash_cases(cases) != found.cases_sha256:
        cases = release_cells(cases)  # older folders were written as they are
    if hash_cases(cases) != found.cases_sha256:
        raise TrainingError(f"{folder / CASES} was changed since it was built. Build it again.")
    require_whole_groups(cases, folder)
    if shards:
        check_shards(folder, found)
    return Data(folder, found, _add_columns(cases))


def check_shards(folder: epath.Path, build: Build) -> None:
    """Check that all shards are there and, if their hashes were recorded, are what was built.

    Hashing takes a second for each gigabyte or two, and finds before hours of work what TensorFlow
    would only find once it comes there.

    Raises:
        TrainingError: a shard is missing or was changed.
    """
    shards = [folder / name for name in build.shard_names]
    there = {path.name for path in folder.iterdir()}
    for shard in shards:
        if shard.name not in there:
            raise TrainingError(f"{shard} is missing. {BUILD_AGAIN}")
    for shard, built in zip(shards, build.shard_sha256, strict=False):
        if hash_shard(shard) != built:
            raise TrainingError(
                f"{shard} is damaged or was changed: its SHA-256 is not that in {BUILD}. "
                f"{BUILD_AGAIN}"
            )


def hash_shard(shard: epath.Path) -> str:
    """Return the SHA-256 of a shard.

    Raises:
        TrainingError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with shard.open("rb") as file:  # of gs:// hashlib.file_digest cannot read
            while block := file.read(_HASHED_BYTES):
                digest.update(block)
    except OSError as error:
        raise TrainingError(f"{shard} cannot be read: {error}. {BUILD_AGAIN}") from error
    return digest.hexdigest()


def read_build(folder: epath.Path) -> Begun | Build:
    """Read the build.json of a finished or unfinished folder.

    Raises:
        TrainingError: the file cannot be read.
    """
    try:
        fields = json.loads((folder / BUILD).read_bytes())
        # Folders that were built before there were two pixel paths name none.
        fields["settings"].setdefault("pixel_path", 1)
        return _STATE.validate_json(json.dumps(fields))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise TrainingError(
            f"{folder} is not a data folder: {BUILD} cannot be read. Make one with "
            "python -m training build."
        ) from error


def read_dropped(folder: epath.Path) -> pd.DataFrame:
    """Read what the build dropped: columns image_name, path, source, target, rule, detail."""
    return release_cells(_read_csv(folder / DROPPED))


def describe_cases(cases: pd.DataFrame) -> dict[str, Any]:
    """Summarise a table of cases as some of the fields of `Build`."""
    return {
        "cases_sha256": hash_cases(cases),
        "sources": {str(name): int(n) for name, n in cases["source"].value_counts().items()},
        "images": len(cases),
        "positives": int(cases["target"].sum()),
        "groups": cases["group"].nunique(),
    }


def hash_cases(cases: pd.DataFrame) -> str:
    """Return the SHA-256 of a table of cases without its paths, since data sets are moved."""
    text = cases.drop(columns="path").to_csv(index=False, lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()


def _add_columns(cases: pd.DataFrame) -> pd.DataFrame:
    """Add what a table from before the columns `modality` and `skin_tone` lacks."""
    if "modality" in cases:
        return cases
    known = cases["source"].isin(["isic2019", "isic2020"])
    return cases.assign(modality=known.map({True: "dermoscopic", False: ""}), skin_tone="")


def _read_kaggle(folder: epath.Path) -> Data:
    listing = read_kaggle(folder, TARGETS["melanoma"])
    cases = listing.cases.drop(columns=["listed", "present", "instead"]).assign(
        phash="", red_minus_blue=float("nan")
    )
    cases = cases.sort_values("image_name", ignore_index=True)
    require_whole_groups(cases, folder)
    try:
        with Image.open(io.BytesIO(read_jpeg(cases["path"][0]))) as image:
            size = image.size
    except OSError as error:
        raise TrainingError(f"{cases['path'][0]} holds no image that can be read.") from error
    if size[0] != size[1]:
        raise TrainingError(
            f"{folder} holds images of {size[0]}x{size[1]}, not squares. Cut squares with "
            "python -m training build --tfrecords."
        )
    shards = find_shards(folder)
    # By their descriptions, these sets hold whole squares, resized: crop 1.0.
    settings = BuildSettings(size=size[0], crop_fraction=1.0, shards=len(shards), seed=0)
    build = Build(
        settings=settings,
        listing_sha256="",
        **describe_cases(cases),
        dropped={},
        warnings=(),
        shard_names=tuple(shard.name for shard in shards),
        vocabularies={},
    )
    return Data(folder, build, cases)


def _read_csv(path: epath.Path) -> pd.DataFrame:
    try:
        text = io.StringIO(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error}. Build the data set again.") from error
    table = pd.read_csv(text, dtype=dict.fromkeys(_TEXT, str))
    return table.fillna(dict.fromkeys(_TEXT, ""))


_STATE: TypeAdapter[Begun | Build] = TypeAdapter(Begun | Build)
