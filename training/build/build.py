"""Build data folders from photos, on this machine's cores or on Apache Beam.

A build has three steps: each photo is read once and cut for all folders, into pieces; the rules
that look at pixels choose among the images; and the shards are written. A build that was killed
resumes from its complete pieces and shards when the same command runs again.
"""

import hashlib
import io
import itertools
import logging
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import pandas as pd
from etils import epath
from tqdm import tqdm

from processing.framing import Framing
from training.build.pieces import Piece, make_piece
from training.build.rules import RULES, UNREADABLE, drop_by_content, drop_by_metadata, drop_shared
from training.data.cases import COLUMNS, Listing
from training.data.fingerprints import find_swapped
from training.data.folder import (
    BUILD,
    CASES,
    DROPPED,
    VOCABULARIES,
    Begun,
    Build,
    BuildSettings,
    Data,
    check_shards,
    describe_cases,
    hash_shard,
    read_build,
)
from training.data.folds import assign_shards, require_whole_groups
from training.data.tfrecords import encode_example, write_shard
from training.errors import TrainingError, list_differences, warn
from training.files import holding, write_table, write_whole

_log = logging.getLogger(__name__)

_PIECE_IMAGES = 64  # a few seconds of work, which each process loses when it is killed
_INDEX_TEXT = ("image_name", "fault", "sha256", "phash")
_CASES_COLUMNS = [
    *(column for column in COLUMNS if column not in ("listed", "present", "instead")),
    *("width", "height", "phash", "red_minus_blue", "shard"),
]

# Calls a function on each item and reports the number of images done. An item has `output`, the
# path of a file that exists once the item is done, and `images`, which the function returns.
Runner = Callable[[Callable[[Any], int], Sequence[Any], Callable[[int], object]], None]


class Shard(NamedTuple):
    """One shard to write."""

    output: str
    members: pd.DataFrame  # rows of the table of cases with patient_code, blob, start, length

    @property
    def images(self) -> int:
        """The number of its images."""
        return len(self.members)


def build_folders(
    listing: Listing,
    duplicates: Sequence[tuple[str, str]],
    settings: Sequence[BuildSettings],
    out: epath.Path,
    *,
    processes: int = 1,
    beam: Runner | None = None,
    apart: Sequence[Data] = (),
    earlier: Data | None = None,
    strict: bool = False,
) -> dict[epath.Path, Build]:
    """Build a data folder for each of `settings`, or finish what an earlier call began.

    Args:
        duplicates: pairs of names, see `rules.drop_by_metadata`.
        settings: equal except for size and `crop_fraction`. A single folder is `out` itself,
            several are `out`/SIZE.
        processes: how many cut photos, unless `beam` does.
        beam: runs all work elsewhere.
        apart: data folders that no patient, lesion or picture may be shared with.
        earlier: data folder whose images stay in their shards.
        strict: make every warning an error.

    Returns:
        The build.json of each folder.

    Raises:
        TrainingError: a folder holds something else or lacks a shard, another build is at work
            there, the disk is full, a warning is fatal, or the remaining images cannot be divided
            into shards.
    """
    warnings = warn(listing.warnings, strict)
    common = settings[0]
    dropped = drop_by_metadata(listing.cases, duplicates, common.per_patient_site, common.seed)
    listing_sha256 = _hash_listing(listing.cases, dropped)
    folders = [out] if len(settings) == 1 else [out / str(one.size) for one in settings]
    begun = {
        folder: Begun(settings=one, listing_sha256=listing_sha256)
        for folder, one in zip(folders, settings, strict=True)
    }
    if finished := _find_all_finished(begun):
        return finished
    run = beam or partial(run_here, processes=processes)
    with holding(out):
        # A build that held the folder until now may have finished it.
        if finished := _find_all_finished(begun):
            return finished
        for folder, state in begun.items():
            _open_folder(folder, state)

        cases = listing.cases.drop(index=dropped.index)
        cases = cases.sort_values("image_name", ignore_index=True)
        pieces = out / f".pieces-{_hash(repr([*begun.values()]))[:12]}"
        index = _cut_pieces(cases, settings, pieces, run)
        cases, dropped_by_pixels = _apply_pixel_rules(
            cases.merge(index, validate="one_to_one"), apart
        )
        dropped = pd.concat([dropped, dropped_by_pixels])
        warnings += warn(_list_faults(cases, dropped), strict)
        _log.info("Dividing %d images into %d shards", len(cases), common.shards)
        cases["shard"] = assign_shards(
            *(cases, common.shards, common.seed, common.extra_sources),
            earlier=earlier.cases if earlier else None,
        )
        require_whole_groups(cases, out)

        builds = {}
        for k, (folder, state) in enumerate(begun.items()):
            built = _describe_build(cases, dropped, warnings, state)
            members = cases.assign(start=cases[f"start{k}"], length=cases[f"length{k}"])
            _write_shards(folder, built, members, beam or run_here)
            builds[folder] = _write_tables(folder, built, cases, dropped)
        for left in out.glob(".pieces-*"):
            left.rmtree()
        return builds


def run_here(
    function: Callable[[Any], int],
    items: Sequence[Any],
    report: Callable[[int], object],
    processes: int = 1,
) -> None:
    """Run as a `Runner` on this machine, in this process or in several others."""
    if processes == 1 or len(items) < 2:
        for item in items:
            report(function(item))
        return
    with multiprocessing.get_context("spawn").Pool(min(processes, len(items))) as pool:
        for done in pool.imap_unordered(function, items):
            report(done)


def assemble_shard(shard: Shard) -> int:
    """Write one shard from the pieces, and return the number of its records."""
    write_shard(epath.Path(shard.output), _encode_members(shard.members))
    return shard.images


def _find_all_finished(begun: Mapping[epath.Path, Begun]) -> dict[epath.Path, Build]:
    """Return the build.json of each folder if all are finished, else nothing.

    Raises:
        TrainingError: a folder holds something else, or lacks a shard.
    """
    found = {folder: _find_finished(folder, state) for folder, state in begun.items()}
    finished = {folder: built for folder, built in found.items() if built}
    return finished if len(finished) == len(begun) else {}


def _find_finished(folder: epath.Path, begun: Begun) -> Build | None:
    if not folder.exists() or all(path.name.startswith(".") for path in folder.iterdir()):
        return None
    if not (folder / BUILD).exists():
        raise TrainingError(
            f"{folder} is not empty and holds no build. Choose another --out, or remove it."
        )
    found = read_build(folder)
    if (found.settings, found.listing_sha256) != (begun.settings, begun.listing_sha256):
        differing = list_differences(found.settings, begun.settings) or [
            "other images, metadata or rules"
        ]
        raise TrainingError(
            f"{folder} holds another build: {'; '.join(differing)}. Choose another --out."
        )
    if not isinstance(found, Build):
        return None
    check_shards(folder, found)
    return found


def _open_folder(folder: epath.Path, begun: Begun) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for torn in folder.glob(".partial-*"):
        torn.unlink()
    if not (folder / BUILD).exists():
        write_whole(folder / BUILD, begun.model_dump_json(indent=2) + "\n")


def _cut_pieces(
    cases: pd.DataFrame, settings: Sequence[BuildSettings], pieces: epath.Path, run: Runner
) -> pd.DataFrame:
    """Make the pieces that are missing, and remake those with an unusable image.

    Returns:
        One row per image: `pieces.INDEX_COLUMNS`, the places of its JPEGs, and `blob`, the file
        that holds them.
    """
    pieces.mkdir(parents=True, exist_ok=True)
    framings = {
        source: tuple(Framing(one.size, one.crop_of(source), one.pixel_path) for one in settings)
        for source in set(cases["source"])
    }
    todo, indexes = [], []
    for number, start in enumerate(range(0, len(cases), _PIECE_IMAGES)):
        part = cases[start : start + _PIECE_IMAGES]
        index = pieces / f"{number:05d}.csv"
        indexes.append(index)
        if not index.exists() or (_read_piece(index)["fault"] != "").any():
            each = tuple(framings[source] for source in part["source"])
            todo.append(Piece(tuple(part["image_name"]), tuple(part["path"]), each, str(index)))
    left = sum(piece.images for piece in todo)
    with tqdm(
        desc="Cutting", total=len(cases), initial=len(cases) - left, unit=" images", mininterval=1
    ) as progress:
        run(make_piece, todo, progress.update)
    return pd.concat(map(_read_piece, indexes))


def _read_piece(index: epath.Path) -> pd.DataFrame:
    text = io.StringIO(index.read_text(encoding="utf-8"))
    rows = pd.read_csv(text, dtype=dict.fromkeys(_INDEX_TEXT, str))
    blob = str(index.with_suffix(".blob"))
    return rows.fillna(dict.fromkeys(_INDEX_TEXT, "")).assign(blob=blob)


def _apply_pixel_rules(
    cases: pd.DataFrame, apart: Sequence[Data]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the cases that are kept, with their groups joined, and those that are dropped."""
    dropped, group = drop_by_content(cases)
    cases = cases.assign(group=group).drop(index=dropped.index)
    shared = drop_shared(cases, {str(other.folder): other.cases for other in apart})
    kept = cases.drop(index=shared.index).astype({"width": "int64", "height": "int64"})
    return kept, pd.concat([dropped, shared])


def _list_faults(cases: pd.DataFrame, dropped: pd.DataFrame) -> list[str]:
    faults = []
    unreadable = dropped[dropped["rule"] == UNREADABLE]
    if len(unreadable):
        first = unreadable.iloc[0]
        faults.append(
            f"{first['path']}: {first['detail']} ({len(unreadable)} such images, listed in "
            f"{DROPPED}). Replace the files and run the same command again, or do without them."
        )
    folders = cases["path"].map(lambda path: str(epath.Path(path).parent))
    faults += [
        f"{folder}: red and blue look swapped. Find out which program wrote these files: a model "
        "that is trained on them learns the wrong colours."
        for folder in find_swapped(cases["red_minus_blue"], folders)
    ]
    return faults


def _describe_build(
    cases: pd.DataFrame, dropped: pd.DataFrame, warnings: tuple[str, ...], begun: Begun
) -> Build:
    counts = cases["shard"].value_counts()
    rules = dropped["rule"].value_counts()
    return Build(
        settings=begun.settings,
        listing_sha256=begun.listing_sha256,
        **describe_cases(cases[_CASES_COLUMNS]),
        dropped={rule: int(rules[rule]) for rule in RULES if rule in rules},
        warnings=warnings,
        shard_names=tuple(f"train{k:02d}-{n}.tfrec" for k, n in sorted(counts.items())),
        vocabularies=VOCABULARIES,
    )


def _write_shards(folder: epath.Path, built: Build, cases: pd.DataFrame, run: Runner) -> None:
    """Write the shards that are missing."""
    state = Begun(**built.model_dump(include=set(Begun.model_fields) - {"complete"}))
    if read_build(folder) != state:
        # Shards from before an unusable image was replaced divide the images differently.
        for stale in folder.glob("*.tfrec"):
            stale.unlink()
        write_whole(folder / BUILD, state.model_dump_json(indent=2) + "\n")
    cases = cases.assign(patient_code=_factorize(cases["patient_id"]))
    todo = [
        Shard(str(folder / name), cases[cases["shard"] == k])
        for k, name in enumerate(built.shard_names)
        if not (folder / name).exists()
    ]
    images = sum(shard.images for shard in todo)
    with tqdm(
        desc=f"Writing {folder}", total=len(cases), initial=len(cases) - images, unit=" images",
        mininterval=1,
    ) as progress:  # fmt: skip
        run(assemble_shard, todo, progress.update)


def _write_tables(
    folder: epath.Path, built: Build, cases: pd.DataFrame, dropped: pd.DataFrame
) -> Build:
    """Finish a folder whose shards are written, and return its build.json."""
    hashes = tuple(hash_shard(folder / name) for name in built.shard_names)
    built = built.model_copy(update={"shard_sha256": hashes})
    write_table(folder / CASES, cases[_CASES_COLUMNS])
    write_table(folder / DROPPED, dropped)
    write_whole(folder / BUILD, built.model_dump_json(indent=2) + "\n")
    return built


def _encode_members(members: pd.DataFrame) -> Iterator[bytes]:
    for blob, cases in itertools.groupby(members.to_dict("records"), itemgetter("blob")):
        with epath.Path(blob).open("rb") as file:
            for case in cases:
                file.seek(int(case["start"]))
                yield encode_example(case, file.read(int(case["length"])))


def _factorize(patient_ids: pd.Series) -> list[int]:
    """Number the patients in the order of appearance; -1 where the patient is unknown."""
    codes, _ = pd.factorize(patient_ids.mask(patient_ids == ""))
    return list(codes)


def _hash_listing(cases: pd.DataFrame, dropped: pd.DataFrame) -> str:
    """Return the SHA-256 of what is to be built, without paths, since archives are moved."""
    table = cases.drop(columns=["path", "listed", "instead"]).assign(rule=dropped["rule"])
    return _hash(table.to_csv(index=False))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
