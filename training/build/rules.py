"""Decide which images are kept, and by which rule each of the others is dropped.

The rules apply in the order of `RULES`; the first that matches drops the image. Those of
`drop_by_metadata` need no pixels.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from etils import epath
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from processing.refusals import SUFFIXES
from training.data.cases import read_cells, strip_name
from training.data.fingerprints import find_pairs
from training.errors import TrainingError

RULES = ABSENT, OFFICIAL, LIMIT, UNREADABLE, CONFLICT, EXACT, NEAR, APART = (
    "absent", "official duplicate", "patient and site limit", "unreadable",
    "contradicting duplicates", "exact duplicate", "near duplicate", "in a set apart",
)  # fmt: skip
_DROPPED = ["image_name", "path", "source", "target", "rule", "detail"]
_DUPLICATES_COLUMNS = (["image_name_1", "image_name_2"], ["ISIC_id", "ISIC_id_paired"])


class _Reason(NamedTuple):
    rule: str
    detail: str


_Reasons = dict[Any, _Reason]  # by row of the table of cases


def find_duplicates(folders: Iterable[epath.Path]) -> list[epath.Path]:
    """Find the lists of duplicates that lie in ISIC 2020 folders under their original name."""
    paths = [folder / "ISIC_2020_Training_Duplicates.csv" for folder in folders]
    return [path for path in paths if path.exists()]


def read_duplicates(paths: Iterable[epath.Path]) -> list[tuple[str, str]]:
    """Read the pairs in lists of duplicates, in the format of ISIC or of Kaggle.

    Raises:
        TrainingError: a file is not such a list.
    """
    pairs: list[tuple[str, str]] = []
    for path in paths:
        table = read_cells(path)
        columns = next((c for c in _DUPLICATES_COLUMNS if set(c) <= set(table)), None)
        if columns is None:
            raise TrainingError(
                f"{path}: columns {' and '.join(_DUPLICATES_COLUMNS[0])} are missing. "
                f"Found: {', '.join(table.columns)}"
            )
        pairs += table[columns].itertuples(index=False, name=None)
    return pairs


def name_other_kind(path: str) -> str:
    """Say that the file which lies in an image's place is of no kind that is read."""
    return f"{path} lies there, which is none of {', '.join(SUFFIXES)}"


def drop_by_metadata(
    cases: pd.DataFrame,
    duplicates: Sequence[tuple[str, str]],
    per_patient_site: int | None,
    seed: int,
) -> pd.DataFrame:
    """Apply the rules that need no pixels.

    Args:
        cases: the table of cases, in any order.
        duplicates: pairs of names. The second image is dropped if the first exists.
        per_patient_site: how many benign images of a patient's body site to keep at most, drawn
            by `seed`. Positive images and those without patient are always kept. None keeps all.

    Returns:
        The dropped images: image_name, path, source, target, rule, detail, with the index of
        `cases`.
    """
    absent = cases[~cases["present"]]
    detail = absent["listed"].where(
        absent["instead"] == "", absent["listed"] + ": " + absent["instead"].map(name_other_kind)
    )
    dropped: _Reasons = {row: _Reason(ABSENT, text) for row, text in detail.items()}
    kept = cases.drop(index=list(dropped))
    there = set(kept["image_name"])
    twins = {second: first for first, second in duplicates if first in there}
    paired = kept["image_name"].map(twins).dropna()
    dropped |= {row: _Reason(OFFICIAL, f"of {first}") for row, first in paired.items()}
    if per_patient_site is not None:
        kept = kept.drop(index=paired.index)
        benign = kept[(kept["target"] == 0) & (kept["patient_id"] != "")]
        # Sorted, so that the draw does not depend on the order of the sources.
        drawn = benign.sort_values("image_name").sample(frac=1, random_state=seed)
        rank = drawn.groupby(["patient_id", "anatom_site"]).cumcount()
        site = kept["anatom_site"].replace("", "site unknown")
        detail = kept["patient_id"] + ", " + site
        over = rank.index[rank >= per_patient_site]
        dropped |= {row: _Reason(LIMIT, detail[row]) for row in over}
    return _tabulate(cases, dropped)


def drop_by_content(cases: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Apply the rules on pixels, and join the groups of images that show one picture.

    The largest of such images is kept, or the first by name. If their targets contradict each
    other, all are dropped, since none can be trusted. Their patients or lesions become one group:
    a photo under two names shows one patient.

    Args:
        cases: with the columns `fault`, `sha256`, `phash`, `width`, `height` of the pieces.

    Returns:
        The dropped images as from `drop_by_metadata`, and the group of every case.
    """
    faults = cases.loc[cases["fault"] != "", "fault"]
    dropped: _Reasons = {row: _Reason(UNREADABLE, fault) for row, fault in faults.items()}
    pairs = _find_same(cases.drop(index=list(dropped)))
    names, targets = cases["image_name"], cases["target"]
    for row, twin in [*pairs, *((second, first) for first, second in pairs)]:
        if targets[row] != targets[twin]:
            detail = f"of {names[twin]}, which has target {targets[twin]}"
            dropped[row] = _Reason(CONFLICT, detail)
    # Pairs are in the order of preference: whatever could drop the first image was applied before.
    for (first, second), reason in pairs.items():
        if first not in dropped and second not in dropped:
            dropped[second] = reason._replace(detail=f"of {names[first]}{reason.detail}")
    return _tabulate(cases, dropped), _join_groups(cases["group"], list(pairs))


def drop_shared(cases: pd.DataFrame, apart: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Drop every group that shares a patient, lesion, name or picture with one of some other sets.

    Args:
        cases: with the groups that `drop_by_content` joined.
        apart: the tables of cases of these sets, by name.

    Returns:
        The dropped images as from `drop_by_metadata`.
    """
    reasons: dict[str, str] = {}  # by group
    for where, others in apart.items():
        for column in ("patient_id", "lesion_id", "image_name"):
            known = set(strip_name(others[column])) - {""}
            shared = cases[strip_name(cases[column]).isin(known)]
            reasons |= dict.fromkeys(shared["group"], f"its {column} is in {where}")
        for row, other, bits in find_pairs(cases["phash"].tolist(), others["phash"].tolist()):
            name, twin = cases["image_name"].iloc[row], others["image_name"].iloc[other]
            reasons[cases["group"].iloc[row]] = (
                f"{name} is {twin} in {where}, {bits} of 256 bits differ"
            )
    hit = cases.loc[cases["group"].isin(reasons), "group"]
    return _tabulate(cases, {row: _Reason(APART, reasons[group]) for row, group in hit.items()})


def _find_same(cases: pd.DataFrame) -> dict[tuple[Any, Any], _Reason]:
    """Find pairs of rows that show one picture, the preferred one first."""
    cases = cases.assign(area=cases["width"] * cases["height"])
    cases = cases.sort_values(["area", "image_name"], ascending=[False, True])
    hashes = cases["phash"].tolist()
    pairs = {}
    for first, second, distance in find_pairs(hashes):
        pairs[first, second] = _Reason(NEAR, f", {distance} of 256 bits differ")
    for members in cases.groupby("sha256").indices.values():
        pairs |= {(members[0], other): _Reason(EXACT, "") for other in members[1:]}
    return {(cases.index[i], cases.index[j]): pairs[i, j] for i, j in sorted(pairs)}


def _join_groups(group: pd.Series, pairs: Sequence[tuple[Any, Any]]) -> pd.Series:
    """Give the groups that pairs of rows connect the name of the first of them."""
    codes, names = pd.factorize(group, sort=True)
    code = pd.Series(codes, group.index)
    ends = [[code[first] for first, _ in pairs], [code[second] for _, second in pairs]]
    graph = coo_array(([1] * len(pairs), ends), shape=(len(names), len(names)))
    _, component = connected_components(graph, directed=False)
    joined = pd.Series(names).groupby(component).transform("first")
    return pd.Series(joined.to_numpy()[codes], group.index)


def _tabulate(cases: pd.DataFrame, dropped: _Reasons) -> pd.DataFrame:
    rules = [reason.rule for reason in dropped.values()]
    details = [reason.detail for reason in dropped.values()]
    return cases.loc[list(dropped)].assign(rule=rules, detail=details)[_DROPPED]
