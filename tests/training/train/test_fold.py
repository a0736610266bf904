import re
from pathlib import Path

import pandas as pd
import pytest

from training.data.folder import VOCABULARIES, Data
from training.errors import TrainingError
from training.recipe import CHECKPOINT_MINUTES, Augmentation, Loss, TrainSettings
from training.train.cross_validation import cross_validate
from training.train.fold import Job, build_fold_model, plan_feeding
from training.train.hardware import Hardware, check_mixtures, find_hardware
from training.train.held_out import HeldOutAuc
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


def test_a_balanced_epoch_decides_its_steps_and_the_weight_of_positive_images(
    train_settings: TrainSettings, read: Data
) -> None:
    changes = {"epoch_images": 30, "balance": ("target:1=0.2",), "batch_size": 4}
    settings = train_settings.model_copy(update=changes | {"loss": Loss()})
    feeding = plan_feeding(settings, split_folds(settings, read)[0])
    assert (feeding.steps_per_epoch, feeding.positive_weight) == (7, 24 / 6)


def test_repeated_positives_and_a_balance_exclude_each_other(
    train_settings: TrainSettings, read: Data
) -> None:
    settings = train_settings.model_copy(update={"positives_repeated": 2, "epoch_images": 30})
    with pytest.raises(TrainingError, match="--repeat-positives cannot be combined"):
        plan_feeding(settings, split_folds(settings, read)[0])


def test_mixup_needs_pairs_of_images(train_settings: TrainSettings) -> None:
    mixup = {"augmentation": Augmentation(mixup=0.2), "batch_size": 6}
    settings = train_settings.model_copy(update=mixup)
    check_mixtures(settings, Hardware("one", 1, "float32"))
    with pytest.raises(TrainingError, match="--batch-size 6 gives 3 to each process"):
        check_mixtures(settings, Hardware("two", 2, "float32", processes=2))


@pytest.mark.slow
def test_the_held_out_auc_is_recorded_and_chooses_nothing(
    train_settings: TrainSettings, read: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The last layer alone, which is quick; after two steps its AUC is neither 0 nor 1.
    quick = {"freeze_epochs": 2, "epochs": 2, "steps_per_epoch": 1, "size": 32, "tta": False}
    settings = train_settings.model_copy(update=quick)
    cross_validate(settings, read, tmp_path / "shown", only_folds=[0])
    monkeypatch.setattr(HeldOutAuc, "on_epoch_end", lambda *_: None)
    cross_validate(settings, read, tmp_path / "hidden", only_folds=[0])
    shown, hidden = (
        pd.read_csv(tmp_path / run / "fold0" / "history.csv") for run in ("shown", "hidden")
    )
    assert shown["held_out_auc"].between(0, 1).all()
    assert "held_out_auc" not in hidden
    for file in ("fold0/oof.csv", "metrics.json"):
        texts = [(tmp_path / run / file).read_text() for run in ("shown", "hidden")]
        if file == "metrics.json":  # all but the seconds
            texts = [re.sub(r'"seconds": [\d.]+', "", text) for text in texts]
        assert texts[0] == texts[1]
