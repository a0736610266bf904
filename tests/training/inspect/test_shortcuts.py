from typing import Any

import numpy as np
import pandas as pd
import pytest
from etils import epath

from tests.isic import METADATA, needs
from tests.training.tables import make_cases
from training.build.sources import read_sources
from training.data.folds import assign_shards
from training.data.vocabulary import TARGETS
from training.errors import TrainingError
from training.inspect.shortcuts import (
    carry_shortcuts,
    count_strata,
    measure_origins,
    measure_shortcuts,
)


def test_columns_that_predict_the_target_score_high_and_others_do_not() -> None:
    cases = pd.concat([make_cases(f"{i}", seed=i) for i in range(8)], ignore_index=True)
    cases["width"] = 640 + 100 * cases["target"]
    people, size = measure_shortcuts(cases, folds=3)  # of four shards: need not divide them
    assert people.columns == ("sex", "age_approx", "anatom_site")
    assert people.auc.low < 0.5 < people.auc.high
    assert size.columns == ("sex", "age_approx", "anatom_site", "width")
    assert size.auc.value == 1


def test_a_source_that_predicts_the_target_is_shown_alone() -> None:
    cases = make_cases()
    cases["source"] = np.where(cases["target"] == 1, "isic2019", "isic2020")
    cases = pd.concat([cases.assign(group=f"{i}_" + cases["group"]) for i in range(4)])
    source = measure_shortcuts(cases, folds=2)[-1]
    assert source.columns == ("source",)
    assert source.auc.value == 1


def test_an_archive_of_one_class_tells_the_target_and_the_kind_of_photo_does_not() -> None:
    cases = pd.concat([make_cases(f"{i}", seed=i) for i in range(8)], ignore_index=True)
    half = cases.index % 2 == 0
    cases["source"] = np.where(half & (cases["target"] == 1), "archive", "isic2020")
    cases["modality"] = np.where(cases.index % 4 < 2, "dermoscopic", "close-up")
    source, modality = measure_origins(cases, folds=2)
    assert (source.columns, modality.columns) == (("source",), ("modality",))
    assert source.auc.value == 0.75  # the half of the melanomas that is in the archive
    assert modality.auc.value == pytest.approx(0.5, abs=0.1)
    strata = count_strata(cases).set_index(["source", "modality"])
    assert strata.loc["archive", "only"].tolist() == [1, 1]
    assert strata.loc["isic2020", "only"].isna().all()
    assert strata["images"].sum() == len(cases)
    assert strata["positives"].sum() == cases["target"].sum()


def test_a_patient_is_not_in_training_when_it_is_scored() -> None:
    # Each patient has a width of their own, from which trees that saw the patient know the target.
    rng = np.random.default_rng(0)
    cases = pd.concat([make_cases()] * 10, ignore_index=True)
    patients = pd.factorize(cases["patient_id"])[0]
    cases = cases.assign(
        sex="", age_approx=np.nan, anatom_site="", width=rng.permutation(12)[patients]
    )
    (size,) = measure_shortcuts(cases, folds=4)
    assert size.auc.value < 0.8


def test_what_training_cases_teach_is_carried_over_to_a_test_set() -> None:
    parts = [make_cases(f"{i}", seed=i) for i in range(12)]
    wide = [part.assign(width=640 + 100 * part["target"]) for part in parts]
    training, test = pd.concat(wide[:8], ignore_index=True), pd.concat(wide[8:], ignore_index=True)
    people, size = carry_shortcuts(training, test)
    assert people.columns == ("sex", "age_approx", "anatom_site")
    assert size.auc.value == 1
    # Where width means the opposite, what was learned misleads; cross-validation would not notice.
    turned = test.assign(width=740 - 100 * test["target"])
    assert carry_shortcuts(training, turned)[1].auc.value < 0.5
    assert measure_shortcuts(turned, folds=3)[1].auc.value == 1


def test_a_word_that_the_training_cases_lack_counts_as_missing() -> None:
    training = pd.concat([make_cases(f"{i}", seed=i) for i in range(8)], ignore_index=True)
    test = make_cases("test", seed=9).assign(sex="unheard of", source="elsewhere")
    people = carry_shortcuts(training, test)[0]
    assert people.auc.low < 0.5 < people.auc.high


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"target": 0}, "would each have to be in two folds"),
        ({"shard": 0}, "would each have to be in two folds"),
        ({"sex": "", "age_approx": np.nan, "anatom_site": ""}, "nothing but the images is known"),
    ],
)
def test_shortcuts_that_cannot_be_measured_give_a_reason(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TrainingError, match=reason):
        measure_shortcuts(make_cases().assign(**changes), folds=5)


@pytest.mark.slow
@needs(METADATA)
def test_sex_age_and_site_of_real_isic2020_reach_the_known_auc() -> None:
    listing = read_sources(TARGETS["melanoma"], isic2020=[epath.Path(METADATA)], with_images=False)
    cases = listing.cases.assign(shard=assign_shards(listing.cases, 15, seed=0), width=0, height=0)
    people = measure_shortcuts(cases, folds=5)[0]
    assert people.auc.value == pytest.approx(0.66, abs=0.015)
    assert people.auc.high - people.auc.low == pytest.approx(0.05, abs=0.02)
