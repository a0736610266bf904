from pathlib import Path

import pandas as pd
import pytest
from etils import epath

from tests.isic import METADATA, needs
from training.build.rules import (
    drop_by_content,
    drop_by_metadata,
    drop_shared,
    find_duplicates,
    read_duplicates,
)
from training.build.sources import read_sources
from training.commands.build import render_counts
from training.data.fingerprints import MAX_DISTANCE
from training.data.vocabulary import TARGETS
from training.errors import TrainingError

HASH = "0f" * 32


def flip(phash: str, bits: int, first: int = 0) -> str:
    """Flip `bits` of the 256 bits of a hash, from bit `first` on."""
    mask = (1 << bits) - 1 << first
    return f"{int(phash, 16) ^ mask:064x}"


NEAR, FAR = flip(HASH, 1), flip(HASH, 128)


def make_cases(**columns: list) -> pd.DataFrame:
    """Images a, b, c…: by default present, readable, different, benign and without patient."""
    count = len(next(iter(columns.values())))
    names = [chr(ord("a") + i) for i in range(count)]
    usual = {
        "image_name": names,
        "path": [f"{name}.jpg" for name in names],
        "source": "isic2020",
        "patient_id": "",
        "anatom_site": "torso",
        "target": 0,
        "group": names,
        "listed": [f"train.csv, line {i + 2}" for i in range(count)],
        "present": True,
        "instead": "",
        "fault": "",
        "sha256": names,
        "phash": "",
        "width": 100,
        "height": 100,
    }
    return pd.DataFrame(usual | columns, index=range(count))


def rules(dropped: pd.DataFrame) -> dict[str, str]:
    return dict(zip(dropped["image_name"], dropped["rule"], strict=True))


def test_an_absent_image_is_dropped_with_its_line() -> None:
    dropped = drop_by_metadata(make_cases(present=[True, False]), [], None, seed=0)
    assert rules(dropped) == {"b": "absent"}
    assert dropped["detail"].item() == "train.csv, line 3"


def test_the_second_of_an_official_pair_is_dropped_if_the_first_exists() -> None:
    cases = make_cases(present=[True, True, True, False])
    dropped = drop_by_metadata(cases, [("a", "b"), ("d", "c"), ("x", "a")], None, seed=0)
    assert rules(dropped) == {"b": "official duplicate", "d": "absent"}


def test_the_limit_spares_melanomas_other_sites_and_images_without_patient() -> None:
    cases = make_cases(
        patient_id=["p", "p", "p", "p", "p", "q", "", ""],
        anatom_site=["torso", "torso", "torso", "torso", "", "torso", "torso", "torso"],
        target=[0, 0, 0, 1, 0, 0, 0, 0],
    )
    dropped = drop_by_metadata(cases, [], 1, seed=0)
    assert set(dropped["rule"]) == {"patient and site limit"}
    assert set(dropped["detail"]) == {"p, torso"}
    assert len(dropped) == 2
    assert set(dropped["image_name"]) < {"a", "b", "c"}


def test_the_limit_draws_by_seed_and_not_by_the_order_of_the_rows() -> None:
    cases = make_cases(patient_id=["p"] * 20)
    drawn = set(drop_by_metadata(cases, [], 3, seed=0)["image_name"])
    again = drop_by_metadata(cases[::-1].reset_index(drop=True), [], 3, seed=0)
    assert set(again["image_name"]) == drawn
    assert set(drop_by_metadata(cases, [], 3, seed=1)["image_name"]) != drawn


def test_an_unreadable_image_is_dropped_with_its_fault() -> None:
    dropped, _ = drop_by_content(make_cases(fault=["", "The file is empty."]))
    assert rules(dropped) == {"b": "unreadable"}
    assert dropped["detail"].item() == "The file is empty."


def test_of_one_file_under_two_names_the_first_is_kept() -> None:
    dropped, _ = drop_by_content(make_cases(sha256=["s", "t", "s", "s"]))
    assert rules(dropped) == {"c": "exact duplicate", "d": "exact duplicate"}
    assert set(dropped["detail"]) == {"of a"}


def test_of_near_duplicates_the_largest_photo_is_kept() -> None:
    dropped, _ = drop_by_content(make_cases(phash=[HASH, NEAR, FAR], width=[100, 200, 300]))
    assert rules(dropped) == {"a": "near duplicate"}
    assert dropped["detail"].item() == "of b, 1 of 256 bits differ"


def test_an_image_whose_only_twin_was_dropped_for_another_is_kept() -> None:
    middle = flip(HASH, MAX_DISTANCE)
    far = flip(middle, MAX_DISTANCE, first=128)
    dropped, _ = drop_by_content(make_cases(phash=[HASH, middle, far]))
    assert rules(dropped) == {"b": "near duplicate"}


@pytest.mark.parametrize("same", [{"sha256": ["s", "s", "t"]}, {"phash": [HASH, NEAR, FAR]}])
def test_of_duplicates_with_contradicting_targets_none_is_kept(same: dict) -> None:
    dropped, _ = drop_by_content(make_cases(target=[0, 1, 0], **same))
    assert rules(dropped) == dict.fromkeys("ab", "contradicting duplicates")
    assert dropped["detail"].tolist() == ["of b, which has target 1", "of a, which has target 0"]


def test_patients_who_share_a_picture_become_one_group() -> None:
    cases = make_cases(group=["p", "q", "q", "r"], sha256=["s", "s", "t", "u"])
    _, group = drop_by_content(cases)
    assert group.tolist() == ["p", "p", "p", "r"]


@pytest.mark.parametrize(
    ("column", "detail"),
    [
        ({"phash": [HASH]}, "a is x in test, 1 of 256 bits differ"),
        ({"image_name": ["a_downsampled"]}, "its image_name is in test"),
        ({"patient_id": ["p"]}, "its patient_id is in test"),
        ({"lesion_id": ["l"]}, "its lesion_id is in test"),
    ],
    ids=["picture", "name", "patient", "lesion"],
)
def test_a_group_with_something_in_a_set_apart_is_dropped_whole(column: dict, detail: str) -> None:
    cases = make_cases(
        patient_id=["p", "", ""],
        lesion_id=["l", "", ""],
        group=["g", "g", "c"],
        phash=[NEAR, "", FAR],
    )
    apart = make_cases(**{"image_name": ["x"], "lesion_id": "", **column})
    dropped = drop_shared(cases, {"test": apart})
    assert rules(dropped) == {"a": "in a set apart", "b": "in a set apart"}
    assert set(dropped["detail"]) == {detail}


def test_nothing_is_dropped_where_nothing_is_wrong() -> None:
    cases = make_cases(phash=[HASH, FAR])
    dropped, group = drop_by_content(cases)
    assert dropped.empty
    assert drop_by_metadata(cases, [], None, seed=0).empty
    assert group.tolist() == ["a", "b"]


def test_counts_are_shown_by_source_and_rule() -> None:
    cases = make_cases(source=["one", "one", "two"], target=[1, 0, 1], present=[True, False, True])
    table = render_counts(cases, drop_by_metadata(cases, [], None, seed=0)).splitlines()
    assert table[0].split() == ["one", "two", "all"]
    assert table[2].split() == ["listed", "2", "1", "1", "1", "3", "2"]
    assert table[3].split() == ["-", "absent", "1", "0", "0", "0", "1", "0"]
    assert table[-1].split() == ["=", "kept", "1", "1", "1", "1", "2", "2"]


@pytest.mark.parametrize(
    "text",
    ["image_name_1,image_name_2\na,b\n", "ISIC_id,ISIC_id_paired,partition\na,b,train\n"],
)
def test_lists_of_duplicates_are_read_in_the_formats_of_isic_and_kaggle(
    tmp_path: Path, text: str
) -> None:
    path = epath.Path(tmp_path / "ISIC_2020_Training_Duplicates.csv")
    path.write_text(text)
    assert read_duplicates(find_duplicates([epath.Path(tmp_path)])) == [("a", "b")]


def test_an_empty_list_of_duplicates_is_accepted(tmp_path: Path) -> None:
    path = epath.Path(tmp_path / "pairs.csv")
    path.write_text("image_name_1,image_name_2\n")
    assert read_duplicates([path]) == []


def test_a_list_of_duplicates_without_its_columns_is_named(tmp_path: Path) -> None:
    path = epath.Path(tmp_path / "pairs.csv")
    path.write_text("one,two\na,b\n")
    with pytest.raises(TrainingError, match=r"pairs.csv: columns image_name_1 and .*Found: one"):
        read_duplicates([path])


@needs(METADATA)
def test_the_official_list_leaves_32701_images_of_isic2020() -> None:
    folder = epath.Path(METADATA)
    cases = read_sources(TARGETS["melanoma"], isic2020=[folder], with_images=False).cases
    dropped = drop_by_metadata(cases, read_duplicates(find_duplicates([folder])), None, seed=0)
    kept = cases.drop(index=dropped.index)
    assert (len(kept), kept["target"].sum(), (kept["target"] == 0).sum()) == (32_701, 581, 32_120)
