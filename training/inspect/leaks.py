"""Audit a data folder: find leaks, and measure how well metadata alone predicts the target."""

import io
import itertools
import textwrap
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import click
import pandas as pd
from etils import epath
from PIL import Image
from tqdm import tqdm

from training.data.cases import strip_name
from training.data.fingerprints import find_pairs, fingerprint
from training.data.folder import BUILD, CASES, Data, read_data
from training.data.kaggle import read_jpeg
from training.data.tfrecords import read_examples
from training.errors import TrainingError
from training.files import write_table
from training.inspect.shortcuts import (
    Shortcut,
    count_strata,
    measure_origins,
    measure_shortcuts,
)
from training.text import align

_PICTURES = "near-duplicate pictures"
_PRINTED = 5  # findings of each check
_RECORD_COLUMNS = ["image_name", "group", "target", "shard"]


class Check(NamedTuple):
    """One question about the data, and its answer."""

    where: str
    what: str
    compared: int  # number of values that were compared; 0: unknown in this data
    found: pd.DataFrame  # text columns found, other, detail; no rows where clean


class Report(NamedTuple):
    """What an audit found."""

    checks: list[Check]
    strata: dict[str, pd.DataFrame]  # of each folder, as from `count_strata`
    extra_sources: tuple[str, ...]  # of the data, trained on and never scored
    shortcuts: list[Shortcut]
    origins: list[Shortcut]  # over the images that are trained on only, too
    no_shortcuts: str  # why none were measured, else ""


def run_audit(data: epath.Path, tests: Sequence[epath.Path], csv: epath.Path | None) -> bool:
    """Audit a data folder, print the report, and write all findings to `csv`.

    Returns:
        Whether there are no leaks.

    Raises:
        TrainingError: a folder cannot be read.
    """
    report = audit_data(read_data(data), [read_data(test) for test in tests])
    click.echo(render(report))
    if csv is not None:
        columns = ["where", "what", "found", "other", "detail"]
        found = [check.found.assign(where=check.where, what=check.what) for check in report.checks]
        write_table(csv, pd.concat(found)[columns])
    return all(check.found.empty for check in report.checks)


def audit_data(data: Data, tests: Sequence[Data], folds: int = 5) -> Report:
    """Look for leaks between the shards of `data` and into `tests`, and for shortcuts.

    Raises:
        TrainingError: a shard, or an image that has no fingerprint yet, cannot be read.
    """
    cases = with_fingerprints(data)
    checks = compare_shards(cases, f"Between the shards of {data.folder}")
    for test in tests:
        where = f"Between {data.folder} and {test.folder}"
        checks += compare_test_set(cases, with_fingerprints(test), where)
    for each in (data, *tests):
        if not _is_public(each):  # the cases of public sets are read from their records
            differing = find_differing_records(each.cases, tabulate_records(each.shards()))
            checks.append(
                Check(f"In {each.folder}", f"records unlike {CASES}", len(each.cases), differing)
            )
    strata = {str(each.folder): count_strata(each.cases) for each in (data, *tests)}
    known = checks, strata, data.build.settings.extra_sources
    try:
        scored = cases[cases["image_name"].isin(data.scored["image_name"])]
        return Report(*known, measure_shortcuts(scored, folds), measure_origins(cases, folds), "")
    except TrainingError as error:
        return Report(*known, [], [], str(error))


def compare_shards(cases: pd.DataFrame, where: str) -> list[Check]:
    """Look for what shards share, since any of them can be held out from the others."""
    shards, names = cases["shard"], strip_name(cases["image_name"])
    columns = {"patients": "patient_id", "lesions": "lesion_id", "groups": "group"}
    return [
        *(
            Check(where, what, _count(cases[column]), find_torn(cases[column], shards))
            for what, column in columns.items()
        ),
        Check(where, "image names", _count(names), find_repeated(names, shards)),
        Check(where, _PICTURES, (cases["phash"] != "").sum(), find_torn_pictures(cases)),
    ]


def compare_test_set(cases: pd.DataFrame, test: pd.DataFrame, where: str) -> list[Check]:
    """Look for what a data folder and a test set share."""
    columns = {
        "patients": (cases["patient_id"], test["patient_id"]),
        "lesions": (cases["lesion_id"], test["lesion_id"]),
        "image names": (strip_name(cases["image_name"]), strip_name(test["image_name"])),
    }
    return [
        *(
            Check(where, what, min(_count(values), _count(others)), find_shared(values, others))
            for what, (values, others) in columns.items()
        ),
        Check(where, _PICTURES, (test["phash"] != "").sum(), find_shared_pictures(cases, test)),
    ]


def find_torn(values: pd.Series, shards: pd.Series) -> pd.DataFrame:
    """Find patients or lesions that are in more than one shard; "" is unknown."""
    where = pd.DataFrame({"value": values, "shard": shards})[values != ""].drop_duplicates()
    return find_repeated(where["value"], where["shard"])


def find_repeated(names: pd.Series, shards: pd.Series) -> pd.DataFrame:
    """Find names that occur more than once, and their shards."""
    where = shards.groupby(names).agg(list)
    return _tabulate(
        (name, "", _name_shards(numbers)) for name, numbers in where.items() if len(numbers) > 1
    )


def find_torn_pictures(cases: pd.DataFrame) -> pd.DataFrame:
    """Find images in different shards that look the same."""
    names, shards = cases["image_name"].tolist(), cases["shard"].tolist()
    return _tabulate(
        (
            names[i],
            names[j],
            f"{distance} of 256 bits differ, {_name_shards([shards[i], shards[j]])}",
        )
        for i, j, distance in find_pairs(cases["phash"].tolist())
        if shards[i] != shards[j]
    )


def find_shared(values: pd.Series, others: pd.Series) -> pd.DataFrame:
    """Find values that are in both; "" is unknown."""
    here, there = values.value_counts(), others.value_counts()
    shared = sorted((set(here.index) & set(there.index)) - {""})
    return _tabulate(
        (value, "", f"images: {here[value]} here, {there[value]} in the test set")
        for value in shared
    )


def find_shared_pictures(cases: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Find images of a data folder and of a test set that look the same."""
    names, others = cases["image_name"].tolist(), test["image_name"].tolist()
    return _tabulate(
        (names[i], others[j], f"{distance} of 256 bits differ")
        for i, j, distance in find_pairs(cases["phash"].tolist(), test["phash"].tolist())
    )


def find_differing_records(cases: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
    """Find images without a record, records without an image, and records unlike their image's row.

    Args:
        cases: the table of cases.
        records: as from `tabulate_records`.
    """
    listed, written = (
        Counter(table[_RECORD_COLUMNS].itertuples(index=False, name=None))
        for table in (cases, records)
    )
    differing = [(row, f"only in {CASES}") for row in (listed - written).elements()]
    differing += [(row, "only in a record") for row in (written - listed).elements()]
    return _tabulate(
        (name, "", f"{place}: shard {shard}, group {group}, target {target}")
        for (name, group, target, shard), place in sorted(differing)
    )


def tabulate_records(shards: Sequence[epath.Path]) -> pd.DataFrame:
    """Read the records of a built folder without their images.

    Returns:
        One row per record: image_name, group, target, shard.

    Raises:
        TrainingError: a shard is missing or damaged.
    """
    keys = [column for column in _RECORD_COLUMNS if column != "shard"]
    rows = [
        row | {"shard": number}
        for number, shard in enumerate(tqdm(shards, "Reading records", unit=" shards"))
        for row in read_examples(shard, *keys)
    ]
    table = pd.DataFrame(rows, columns=_RECORD_COLUMNS)
    return table.assign(
        **{key: table[key].str.decode("utf-8", "replace") for key in ("image_name", "group")}
    )


def render(report: Report) -> str:
    """Format the report as plain text."""
    lines = []
    for where, checks in itertools.groupby(report.checks, lambda check: check.where):
        lines += [where, *(line for check in checks for line in _render_check(check)), ""]
    if any(len(check.found) for check in report.checks):
        lines.append(
            "LEAKS. Build the data again, with --apart-from for a test set that shares something. "
            "--csv FILE writes all findings."
        )
    else:
        lines.append("No leak found.")
    for where, strata in report.strata.items():
        lines += ["", f"Images of {where} by source and kind of photo", _render_strata(strata)]
    if warning := _warn_of_single_classes(report):
        lines += ["", *warning]
    return "\n".join([*lines, "", *_render_predictions(report)])


def _render_predictions(report: Report) -> list[str]:
    lines = ["What metadata alone predicts: out-of-fold AUC of boosted trees (95 % interval)"]
    if report.no_shortcuts:
        return [*lines, f"  not measured: {report.no_shortcuts}"]
    lines += map(_render_shortcut, report.shortcuts)
    if report.origins:
        also = ", scored or not" if report.extra_sources else ""
        lines += [f"What the origin alone predicts, over all images{also}"]
        lines += map(_render_shortcut, report.origins)
    return [
        *lines,
        "Compare every AUC of a model on this data with these: up to there, the model need not",
        "have looked at the lesion. What width, height, source and images (the number of images",
        "of the patient or lesion) add comes from how the archive was collected, and does not",
        "hold elsewhere.",
    ]


def _render_strata(strata: pd.DataFrame) -> str:
    rows = [("source", "kind of photo", "images", "positive", "")]
    for source, modality, images, positives, _ in strata.itertuples(index=False):
        share = f"{positives / images:.1%}"
        rows.append((source, modality or "not known", f"{images:,}", f"{positives:,}", share))
    return textwrap.indent(align(rows), "  ")


def _warn_of_single_classes(report: Report) -> list[str]:
    """Warn of the sources of the data whose images all have one target."""
    strata = next(iter(report.strata.values()))
    single = strata.dropna(subset="only").drop_duplicates("source")
    if single.empty or strata["source"].nunique() < 2:
        return []
    lines = [
        f"Warning: every image of {source} is {'positive' if only else 'negative'}"
        + (" (trained on, never scored)." if source in report.extra_sources else ".")
        for source, only in single[["source", "only"]].itertuples(index=False)
    ]
    return [
        *lines,
        "There, whatever shows the source shows the target, and a model learns the one for the",
        "other. Leave such a source out (train --omit), or add images of the other class that look",
        "alike, and compare runs with and without it on images from elsewhere.",
    ]


def _render_shortcut(shortcut: Shortcut) -> str:
    return (
        f"  {', '.join(shortcut.columns):<52} {shortcut.auc.value:.3f} "
        f"({shortcut.auc.low:.3f} to {shortcut.auc.high:.3f})"
    )


def _render_check(check: Check) -> list[str]:
    if not check.compared:
        verdict = "not known here"
    elif check.found.empty:
        verdict = f"none of {check.compared:,}"
    else:
        verdict = f"{len(check.found):,}  <- LEAK"
    shown = [
        f"    {' = '.join(filter(None, (found, other)))}: {detail}"
        for found, other, detail in check.found[:_PRINTED].itertuples(index=False)
    ]
    more = len(check.found) - len(shown)
    return [f"  {check.what:<52} {verdict}", *shown, *([f"    and {more:,} more"] if more else [])]


def _is_public(data: Data) -> bool:
    return not (data.folder / BUILD).exists()


def with_fingerprints(data: Data) -> pd.DataFrame:
    """Return the cases; for a public set, compute the missing `phash` from its records.

    Raises:
        TrainingError: a record holds no image that can be read.
    """
    if not _is_public(data) or data.cases["phash"].any():
        return data.cases
    hashes = []
    for path in tqdm(data.cases["path"], "Fingerprinting", unit=" images", mininterval=1):
        try:
            with Image.open(io.BytesIO(read_jpeg(path))) as image:
                hashes.append(fingerprint(image.convert("RGB")).phash)
        except OSError as error:
            raise TrainingError(f"{path} holds no image that can be read: {error}") from error
    return data.cases.assign(phash=hashes)


def _count(values: pd.Series) -> int:
    return values[values != ""].nunique()


def _name_shards(numbers: Iterable[int]) -> str:
    return "shards " + ", ".join(str(number) for number in sorted(numbers))


def _tabulate(found: Iterable[tuple[Hashable, Hashable, str]]) -> pd.DataFrame:
    return pd.DataFrame(found, columns=["found", "other", "detail"])
