import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from training.data.folds import (
    WatchedSplitter,
    assign_shards,
    describe_separation,
    shards_of_fold,
)
from training.errors import TrainingError


def make_cases(groups: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), rng.integers(1, 6, groups))
    target = (group % 4 == 0).astype(int)
    return pd.DataFrame(
        {
            "group": group.astype(str),
            "target": target,
            "modality": "",
            "skin_tone": "",
            "source": "a",
        }
    )


def test_no_group_is_in_two_shards() -> None:
    cases = make_cases(300)
    cases["shard"] = assign_shards(cases, 15, seed=0)
    assert cases.groupby("group")["shard"].nunique().max() == 1


def test_shards_hold_the_same_share_of_melanomas() -> None:
    cases = make_cases(600)
    cases["shard"] = assign_shards(cases, 5, seed=0)
    share = cases.groupby("shard")["target"].mean()
    assert share.max() - share.min() < 0.03


@pytest.mark.parametrize(
    ("column", "rarely", "mostly"),
    [("modality", "close-up", "dermoscopic"), ("skin_tone", "0", "4")],
)
def test_shards_hold_the_same_share_of_close_ups_and_of_each_skin_tone(
    column: str, rarely: str, mostly: str
) -> None:
    cases = make_cases(600)
    rare = cases["group"].astype(int) % 10 == 0
    cases[column] = np.where(rare, rarely, mostly)
    share = cases.assign(rare=rare, shard=assign_shards(cases, 5, seed=0)).groupby("shard")["rare"]
    assert share.mean().max() - share.mean().min() < 0.03


def test_one_modality_splits_as_none_does() -> None:
    cases = make_cases(200)
    split = assign_shards(cases, 5, seed=0)
    assert (assign_shards(cases.assign(modality="dermoscopic"), 5, seed=0) == split).all()


def test_each_shard_has_both_classes_beside_the_extra_sources() -> None:
    cases = make_cases(400)
    cases["source"] = np.where(cases["group"].astype(int) < 300, "extra", "scored")
    cases["shard"] = assign_shards(cases, 5, 0, ["extra"])
    scored = cases[cases["source"] == "scored"].groupby("shard")["target"]
    assert scored.size().max() - scored.size().min() <= 8
    assert (scored.nunique() == 2).all()
    with pytest.raises(TrainingError, match="30 shards need at least as many positive lesions"):
        assign_shards(cases, 30, 0, ["extra"])


def test_a_few_images_of_as_many_kinds_are_divided() -> None:
    cases = make_cases(12).drop_duplicates("group")
    cases["skin_tone"] = [str(number) for number in range(12)]
    cases["shard"] = assign_shards(cases, 3, seed=0)
    assert cases.groupby("shard")["target"].sum().tolist() == [1, 1, 1]


def test_the_splitter_reports_each_group_and_divides_as_scikit_learn_does() -> None:
    cases = make_cases(100)
    reported: list[int] = []
    given = cases, cases["target"], cases["group"]
    watched = WatchedSplitter(5, 0, reported.append).split(*given)
    usual = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(*given)
    for (_, ours), (_, theirs) in zip(watched, usual, strict=True):
        assert (ours == theirs).all()
    assert reported == [1] * 100


def test_the_seed_decides_the_split() -> None:
    cases = make_cases(100)
    assert (assign_shards(cases, 5, 1) == assign_shards(cases, 5, 1)).all()
    assert (assign_shards(cases, 5, 1) != assign_shards(cases, 5, 2)).any()


def test_too_few_melanoma_lesions_for_the_shards_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"15 shards need .* positive .* there are 5"):
        assign_shards(make_cases(20), 15, seed=0)


def test_groups_of_earlier_data_keep_their_shards_and_the_others_are_divided() -> None:
    cases = make_cases(400).reset_index(names="image_name")
    known = cases["group"].astype(int) < 200
    earlier = cases[known].assign(shard=assign_shards(cases[known], 5, seed=7))
    # Of each known group one image is new.
    listed = earlier[earlier["group"].duplicated() | (earlier["target"] == 1)]
    cases["shard"] = assign_shards(cases, 5, 0, earlier=listed)
    kept = cases.set_index("image_name")["shard"].loc[listed["image_name"]]
    assert (kept.to_numpy() == listed["shard"].to_numpy()).all()
    assert cases.groupby("group")["shard"].nunique().max() == 1
    share = cases[~known].groupby("shard")["target"].mean()
    assert share.max() - share.min() < 0.05
    assert (assign_shards(earlier, 5, 0, earlier=earlier) == earlier["shard"]).all()


def test_a_group_in_two_shards_of_the_earlier_data_is_refused() -> None:
    cases = make_cases(100).reset_index(names="image_name")
    earlier = cases.assign(shard=cases["image_name"] % 5)
    with pytest.raises(TrainingError, match=r"--shards-of: \d+ has images in \d shards"):
        assign_shards(cases, 5, 0, earlier=earlier)


def test_folds_share_out_all_shards() -> None:
    folds = [shards_of_fold(fold, 5, 15) for fold in range(5)]
    assert sorted(shard for fold in folds for shard in fold) == list(range(15))


def test_folds_that_do_not_divide_the_shards_are_refused() -> None:
    with pytest.raises(TrainingError, match="Possible: 3, 5, 15"):
        shards_of_fold(0, 4, 15)


def list_named(source: str, patient: str, lesion: str) -> dict[str, str]:
    return {"source": source, "patient_id": patient, "lesion_id": lesion}


def test_what_folds_share_is_claimed_only_where_it_is_known() -> None:
    named = [list_named("isic2020", "P1", ""), list_named("isic2020", "P2", "L2")]
    assert describe_separation(pd.DataFrame(named)) == "No patient or lesion is in two folds."
    nameless = [list_named("isic2019", "", "L3"), list_named("ours", "P4", "L4")]
    nameless += [list_named("ours", "", "")]
    mixed = describe_separation(pd.DataFrame(named + nameless))
    assert "No lesion is in two folds, nor any patient who is named." in mixed
    assert "named in ISIC 2019 training set or a part of it and ours" in mixed
    assert "1 images name neither" in mixed
    alone = describe_separation(pd.DataFrame(nameless[:1]))
    assert alone.startswith("No lesion is in two folds. Patients are not")
