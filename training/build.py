"""Cases and their JPEGs -> TFRecord shards, on this machine's cores.

A data folder holds `train%02d-%d.tfrec` (shard, number of records), `cases.csv` and `build.json`.
A build that was killed left `"complete": false` there, and the same command goes on.
"""

import hashlib
import logging
import multiprocessing
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tqdm import tqdm

from processing.image import Cut
from training.cut import cut_file
from training.errors import TrainingError, list_differences
from training.files import write_whole
from training.folds import assign_shards
from training.tfrecords import encode_example, read_sizes, write_shard
from training.vocabulary import DIAGNOSES, SEXES, SITES

CASES, BUILD = "cases.csv", "build.json"
_log = logging.getLogger(__name__)

_CHUNK = 16  # images handed to a worker at once: enough to hide the hand-over


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BuildSettings(_Record):
    """What decides the bytes of a data set, beside its sources."""

    size: Annotated[int, Field(ge=32, le=1024)]
    crop_fraction: Annotated[float, Field(gt=0, le=1)]
    shards: Annotated[int, Field(ge=2)]
    seed: int


class Build(_Record):
    """build.json"""

    settings: BuildSettings
    cases_sha256: str  # of the table of cases: which images, targets, groups and shards
    complete: bool
    sources: dict[str, int]  # images of each
    images: int
    positives: int
    groups: int
    shard_names: tuple[str, ...]
    vocabularies: dict[str, tuple[str, ...]]


def build(cases: pd.DataFrame, settings: BuildSettings, out: Path) -> Build:
    """Cut every case's image and write the data folder `out`, or finish the one begun there.

    Raises:
        TrainingError: an image cannot be used, or `out` holds something else.
    """
    cases = cases.sort_values("image_name", ignore_index=True)
    _log.info("Sharing out %d images over %d shards", len(cases), settings.shards)
    cases["shard"] = assign_shards(cases, settings.shards, settings.seed)
    planned = _plan(cases, settings)
    if _is_finished(out, planned):
        return planned

    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / BUILD, planned.model_copy(update={"complete": False}).model_dump_json())
    _write_shards(cases, planned, out)
    sizes = read_sizes([out / name for name in planned.shard_names])
    cases = cases.merge(sizes, on="image_name", validate="one_to_one")
    write_whole(out / CASES, cases.to_csv(index=False))
    write_whole(out / BUILD, planned.model_dump_json(indent=2))
    return planned


def read_build(folder: Path) -> Build:
    """Read a finished data folder's build.json.

    Raises:
        TrainingError: not a data folder, or an unfinished one.
    """
    try:
        found = Build.model_validate_json((folder / BUILD).read_bytes())
    except (OSError, ValidationError) as error:
        raise TrainingError(
            f"{folder} is not a data folder: {BUILD} cannot be read. Make one with "
            "python -m training build."
        ) from error
    if not found.complete:
        raise TrainingError(f"{folder} is an unfinished build: run its build command again.")
    return found


def read_cases(folder: Path) -> pd.DataFrame:
    """The table of cases of a data folder, in the order of its names."""
    text = ("image_name", "path", "source", "patient_id", "lesion_id", "sex", "anatom_site",
            "diagnosis", "group")  # fmt: skip
    return pd.read_csv(folder / CASES, dtype=dict.fromkeys(text, str)).fillna(
        dict.fromkeys(text, "")
    )


def _plan(cases: pd.DataFrame, settings: BuildSettings) -> Build:
    counts = cases["shard"].value_counts()
    # Not the paths: a data set that was moved is the same data set.
    table = cases.drop(columns="path").to_csv(index=False)
    return Build(
        settings=settings,
        cases_sha256=hashlib.sha256(table.encode()).hexdigest(),
        complete=True,
        sources={str(name): int(n) for name, n in cases["source"].value_counts().items()},
        images=len(cases),
        positives=int(cases["target"].sum()),
        groups=cases["group"].nunique(),
        shard_names=tuple(f"train{i:02d}-{counts[i]}.tfrec" for i in range(settings.shards)),
        vocabularies={"sex": SEXES, "anatom_site": SITES, "diagnosis": DIAGNOSES},
    )


def _is_finished(out: Path, planned: Build) -> bool:
    if not out.exists() or not any(out.iterdir()):
        return False
    try:
        found = Build.model_validate_json((out / BUILD).read_bytes())
    except (OSError, ValidationError) as error:
        raise TrainingError(
            f"{out} is not empty and holds no build. Choose another --out, or remove it."
        ) from error
    if found.model_copy(update={"complete": True}) != planned:
        differing = list_differences(found.settings, planned.settings) or [
            "other images or metadata"
        ]
        raise TrainingError(
            f"{out} holds another build: {'; '.join(differing)}. Choose another --out."
        )
    return found.complete


def _write_shards(cases: pd.DataFrame, planned: Build, out: Path) -> None:
    for stale in out.glob(".partial-*"):
        stale.unlink()
    cases = cases.assign(patient_code=_factorize(cases["patient_id"]))
    missing = [s for s, name in enumerate(planned.shard_names) if not (out / name).exists()]
    todo = cases[cases["shard"].isin(missing)].sort_values("shard", kind="stable")
    size, crop_fraction = planned.settings.size, planned.settings.crop_fraction
    cut = partial(cut_file, size=size, crop_fraction=crop_fraction)
    with (
        multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool,
        tqdm(total=len(todo), unit=" images", mininterval=1) as progress,
    ):
        cuts = pool.imap(cut, todo["path"], _CHUNK)
        for shard in missing:
            members = todo[todo["shard"] == shard]
            write_shard(out / planned.shard_names[shard], _encode(members, cuts, progress))


def _encode(members: pd.DataFrame, cuts: Iterator[Cut], progress: tqdm) -> Iterator[bytes]:
    # The members come first: zip asks for them first, and so takes no cut of the next shard.
    for case, cut in zip(members.to_dict("records"), cuts, strict=False):
        yield encode_example(case, cut)
        progress.update()


def _factorize(patient_ids: pd.Series) -> list[int]:
    """Number of each patient in the order of appearance; -1 where the patient is not known."""
    codes, _ = pd.factorize(patient_ids.mask(patient_ids == ""))
    return list(codes)
