from pathlib import Path

import pytest

from training.data.folder import VOCABULARIES, Data
from training.recipe import CHECKPOINT_MINUTES, TrainSettings
from training.train.fold import Job, build_fold_model, plan_feeding
from training.train.hardware import find_hardware
from training.train.splits import split_folds

THEN = {"diagnosis": VOCABULARIES["diagnosis"][:14]}  # before MILK10k's classes were added


@pytest.mark.parametrize(
    ("vocabularies", "diagnoses"),
    [(VOCABULARIES, 18), (THEN, 14), ({}, 18)],  # a public set has none
)
def test_the_second_head_has_the_diagnoses_of_its_data(
    vocabularies: dict[str, tuple[str, ...]],
    diagnoses: int,
    train_settings: TrainSettings,
    read: Data,
    tmp_path: Path,
) -> None:
    settings = train_settings.model_copy(update={"weights": "none", "diagnosis_weight": 1.0})
    build = read.build.model_copy(update={"vocabularies": vocabularies})
    split = split_folds(settings, read)[0]
    job = Job(
        settings=settings,
        data=read._replace(build=build),
        split=split,
        feeding=plan_feeding(settings, split),
        folder=tmp_path,
        hardware=find_hardware("auto"),
        checkpoint_minutes=CHECKPOINT_MINUTES,
    )
    assert [output.shape[1] for output in build_fold_model(job).outputs] == [1, diagnoses]
