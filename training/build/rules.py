"""Which images are kept, and by which rule each other one is dropped.

The rules apply in the order of `RULES`; an image is dropped by the first that hits it. Those of
`drop_by_metadata` need no pixels.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from etils import epath
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from training.data.cases import read_cells, strip_name
from training.data.fingerprints import find_pairs
from training.errors import TrainingError

RULES = ABSENT, OFFICIAL, LIMIT, UNREADABLE, CONFLICT, EXACT, NEAR, APART = (
    "absent", "official duplicate", "patient and site limit", "unreadable",
    "contradicting duplicates", "exact duplicate", "near duplicate", "in a set apart",
)  # fmt: skip
_DROPPED = ["image_name", "path", "source", "target", "rule", "detail"]
_Dropped = dict[Any, tuple[str, str]]  # rule and detail of a row of the table of cases
_DUPLICATES_COLUMNS = (["image_name_1", "image_name_2"], ["ISIC_id", "ISIC_id_paired"])


def read_duplicates(paths: Iterable[epath.Path]) -> list[tuple[str, str]]:
    """Pairs of ISIC's own lists of duplicates, as ISIC publishes them or Kaggle does.

    Raises:
        TrainingError: a file is no such list.
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


def drop_by_metadata(
    cases: pd.DataFrame,
    duplicates: Sequence[tuple[str, str]],
    per_patient_site: int | None,
    seed: int,
) -> pd.DataFrame:
    """What the rules that need no pixels drop.

    Args:
        cases: the table of cases, in any order.
        duplicates: pairs of names. The second is dropped where the first is there.
        per_patient_site: at most so many benign images of one patient's body site are kept, drawn
            by `seed`; melanomas, and images without patient, always are. None keeps all.

    Returns:
        Columns image_name, path, source, target, rule, detail; the index is that of `cases`.
    """
    absent = cases.loc[~cases["present"], "listed"]
    dropped: _Dropped = {row: (ABSENT, listed) for row, listed in absent.items()}
    kept = cases.drop(index=list(dropped))
    there = set(kept["image_name"])
    twins = {second: first for first, second in duplicates if first in there}
    paired = kept["image_name"].map(twins).dropna()
    dropped |= {row: (OFFICIAL, f"of {first}") for row, first in paired.items()}
    if per_patient_site is not None:
        kept = kept.drop(index=paired.index)
        benign = kept[(kept["target"] == 0) & (kept["patient_id"] != "")]
        # By name first: the draw must not depend on the order of the sources.
        drawn = benign.sort_values("image_name").sample(frac=1, random_state=seed)
        rank = drawn.groupby(["patient_id", "anatom_site"]).cumcount()
        site = kept["anatom_site"].replace("", "site unknown")
        detail = kept["patient_id"] + ", " + site
        dropped |= {row: (LIMIT, detail[row]) for row in rank.index[rank >= per_patient_site]}
    return _tabulate(cases, dropped)


def drop_by_content(cases: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """What the rules on the pixels drop, and the groups that they join.

    Of images that show one picture the largest photo is kept, ties by name. Where their targets
    contradict each other neither is, since nothing tells which is right. The patients or lesions
    of such images become one group: whoever has one photo under two names is one patient.

    Args:
        cases: with the columns `fault`, `sha256`, `phash`, `width`, `height` of the pieces.

    Returns:
        What is dropped, as `drop_by_metadata`; and the group of every case.
    """
    dropped: _Dropped = {row: (UNREADABLE, fault) for row, fault in cases["fault"].items() if fault}
    pairs = _find_same(cases.drop(index=list(dropped)))
    names, targets = cases["image_name"], cases["target"]
    for row, twin in [*pairs, *((second, first) for first, second in pairs)]:
        if targets[row] != targets[twin]:
            dropped[row] = CONFLICT, f"of {names[twin]}, which has target {targets[twin]}"
    # Pairs come in the order of preference: all that could drop the first of one is done.
    for (first, second), (rule, detail) in pairs.items():
        if first not in dropped and second not in dropped:
            dropped[second] = rule, f"of {names[first]}{detail}"
    return _tabulate(cases, dropped), _join_groups(cases["group"], list(pairs))


def drop_shared(cases: pd.DataFrame, apart: Iterable[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """Drop every group of whom something is in a set that is to be kept apart.

    Args:
        cases: with the groups that `drop_by_content` joined.
        apart: the name of each such set, and its table of cases.

    Returns:
        What is dropped, as `drop_by_metadata`.
    """
    reasons: dict[str, str] = {}  # by group
    for where, others in apart:
        for column in ("patient_id", "lesion_id", "image_name"):
            theirs = set(strip_name(others[column])) - {""}
            shared = cases[strip_name(cases[column]).isin(theirs)]
            reasons |= dict.fromkeys(shared["group"], f"its {column} is in {where}")
        for row, other, bits in find_pairs(cases["phash"].tolist(), others["phash"].tolist()):
            twins = cases["image_name"].iloc[row], others["image_name"].iloc[other]
            told = f"{twins[0]} is {twins[1]} in {where}, {bits} of 256 bits differ"
            reasons[cases["group"].iloc[row]] = told
    hit = cases.loc[cases["group"].isin(reasons), "group"]
    return _tabulate(cases, {row: (APART, reasons[group]) for row, group in hit.items()})


def _find_same(cases: pd.DataFrame) -> dict[tuple[Any, Any], tuple[str, str]]:
    """Pairs of rows that show one picture, the preferred first, with rule and detail of each."""
    cases = cases.assign(area=cases["width"] * cases["height"])
    cases = cases.sort_values(["area", "image_name"], ascending=[False, True])
    hashes = cases["phash"].tolist()
    pairs = {}
    for first, second, distance in find_pairs(hashes):
        pairs[first, second] = NEAR, f", {distance} of 256 bits differ"
    for members in cases.groupby("sha256").indices.values():
        pairs |= {(members[0], other): (EXACT, "") for other in members[1:]}
    return {(cases.index[i], cases.index[j]): pairs[i, j] for i, j in sorted(pairs)}


def _join_groups(group: pd.Series, pairs: Sequence[tuple[Any, Any]]) -> pd.Series:
    """`group`, with those that a pair of rows connects under the name of the first of them."""
    codes, names = pd.factorize(group, sort=True)
    code = pd.Series(codes, group.index)
    ends = [[code[first] for first, _ in pairs], [code[second] for _, second in pairs]]
    graph = coo_array(([1] * len(pairs), ends), shape=(len(names), len(names)))
    _, component = connected_components(graph, directed=False)
    joined = pd.Series(names).groupby(component).transform("first")
    return pd.Series(joined.to_numpy()[codes], group.index)


def _tabulate(cases: pd.DataFrame, dropped: _Dropped) -> pd.DataFrame:
    table = cases.loc[list(dropped)]
    rules, details = zip(*dropped.values(), strict=True) if dropped else ((), ())
    return table.assign(rule=rules, detail=details)[_DROPPED]


def find_duplicates(folders: Iterable[epath.Path]) -> list[epath.Path]:
    """Lists of duplicates that lie in ISIC 2020 folders under their own name."""
    paths = [folder / "ISIC_2020_Training_Duplicates.csv" for folder in folders]
    return [path for path in paths if path.exists()]
