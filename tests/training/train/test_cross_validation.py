import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from etils import epath

from tests.training.kaggle_sets import ISIC2019_ABSENT, write_kaggle_set
from training.commands.options import make_settings
from training.data.folder import Data, read_data
from training.data.folds import shards_of_fold
from training.errors import TrainingError
from training.model.network import build_model
from training.recipe import Schedule, TrainSettings
from training.train.cross_validation import cross_validate
from training.train.run import RunMetrics
from training.train.splits import check_start, split_folds


def test_out_of_fold_predictions_are_of_the_held_out_shards_alone(run: Path, read: Data) -> None:
    cases = read.cases
    held_out = shards_of_fold(0, 2, cases["shard"].nunique())
    expected = cases.loc[cases["shard"].isin(held_out), ["image_name", "target", "group"]]
    oof = pd.read_csv(run / "oof.csv")
    assert oof.groupby("image_name")["logit"].count().eq(1).all()
    pd.testing.assert_frame_equal(
        oof[["image_name", "target", "group"]].sort_values("image_name", ignore_index=True),
        expected.sort_values("image_name", ignore_index=True),
    )


def test_two_epochs_separate_ragged_lesions_from_round_ones(run: Path) -> None:
    metrics = RunMetrics.model_validate_json((run / "metrics.json").read_bytes())
    assert metrics.auc.value > 0.8
    assert metrics.auc.low <= metrics.auc.value <= metrics.auc.high


def test_a_run_folder_records_its_settings_and_where_it_ran(
    run: Path, read: Data, train_settings: TrainSettings
) -> None:
    assert TrainSettings.model_validate_json((run / "config.json").read_bytes()) == train_settings
    (session,) = json.loads((run / "environment.json").read_text())
    assert {"python", "tensorflow", "keras", "hardware", "precision"} <= set(session)
    assert len(pd.read_csv(run / "fold0" / "history.csv")) == train_settings.epochs


def test_a_run_that_exists_is_not_overwritten(
    run: Path, read: Data, train_settings: TrainSettings
) -> None:
    with pytest.raises(TrainingError, match="exists. Continue it with --resume"):
        cross_validate(train_settings, read, run, only_folds=[0])


def test_resume_skips_a_finished_fold(run: Path, read: Data, train_settings: TrainSettings) -> None:
    before = (run / "fold0" / "model.keras").stat().st_mtime_ns
    cross_validate(train_settings, read, run, only_folds=[0], resume=True)
    assert (run / "fold0" / "model.keras").stat().st_mtime_ns == before


def test_resume_on_another_build_of_the_data_is_refused(
    run: Path, read: Data, train_settings: TrainSettings
) -> None:
    rebuilt = train_settings.model_copy(update={"data_sha256": "0" * 64})
    with pytest.raises(TrainingError, match="--resume with other settings: data_sha256"):
        cross_validate(rebuilt, read, run, only_folds=[0], resume=True)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"crop_fraction": 0.6}, "crop_fraction 0.8 there, 0.6 now"),
        ({"pixel_path": 1}, "pixel_path 2 there, 1 now"),
    ],
)
def test_resume_on_squares_that_were_cut_otherwise_is_refused(
    run: Path, read: Data, train_settings: TrainSettings, changes: dict[str, Any], complaint: str
) -> None:
    other = train_settings.model_copy(update=changes)
    with pytest.raises(TrainingError, match=f"--resume with other settings: {complaint}"):
        cross_validate(other, read, run, only_folds=[0], resume=True)


def test_resume_with_other_settings_names_which_differ(
    run: Path, read: Data, train_settings: TrainSettings
) -> None:
    other = train_settings.model_copy(update={"epochs": 3})
    with pytest.raises(TrainingError, match="epochs 2 there, 3 now"):
        cross_validate(other, read, run, only_folds=[0], resume=True)


def test_a_fold_that_does_not_exist_is_refused(
    train_settings: TrainSettings, read: Data, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="--only-fold 5: folds are 0 to 1"):
        cross_validate(train_settings, read, tmp_path / "run", only_folds=[5])


def test_a_batch_larger_than_the_fold_is_refused(
    train_settings: TrainSettings, read: Data, tmp_path: Path
) -> None:
    settings = train_settings.model_copy(update={"batch_size": 1000})
    with pytest.raises(TrainingError, match="--batch-size 1000"):
        cross_validate(settings, read, tmp_path / "run", only_folds=[0])


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_with_a_remedy(
    train_settings: TrainSettings, read: Data, tmp_path: Path
) -> None:
    steep = {"schedule": Schedule(learning_rate=1e30), "freeze_epochs": train_settings.epochs}
    settings = train_settings.model_copy(update=steep)
    with pytest.raises(TrainingError, match="lower --learning-rate"):
        cross_validate(settings, read, tmp_path / "run", only_folds=[0])
    assert not (tmp_path / "run" / "fold0" / "model.keras").exists()


def test_a_data_set_with_a_shard_of_another_size_is_refused_before_training(
    train_settings: TrainSettings, data: Path, tmp_path: Path
) -> None:
    mixed = Path(shutil.copytree(data, tmp_path / "mixed"))
    build_json = mixed / "build.json"
    build_json.write_text(build_json.read_text().replace('"size": 64', '"size": 96'))
    with pytest.raises(TrainingError, match="its images are 64x64"):
        cross_validate(
            train_settings, read_data(epath.Path(mixed)), tmp_path / "run", only_folds=[0]
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("absent", [(), ISIC2019_ABSENT], ids=["melanoma-N", "isic2019-N"])
def test_a_public_kaggle_set_trains_as_it_is(
    train_settings: TrainSettings, tmp_path: Path, absent: tuple[str, ...]
) -> None:
    folder = write_kaggle_set(tmp_path / "melanoma-64x64", 48, size=64, shards=3, absent=absent)
    data = read_data(epath.Path(folder))
    there = {"data": str(folder), "data_sha256": data.build.cases_sha256}
    short = {"folds": 3, "epochs": 1, "freeze_epochs": 1, "tta": False}
    settings = train_settings.model_copy(update=there | short)
    metrics = cross_validate(settings, data, tmp_path / "run", only_folds=[1])
    assert metrics is not None
    oof = pd.read_csv(tmp_path / "run" / "oof.csv")
    held_out = data.cases[data.cases["shard"] == 1]
    assert (metrics.images, metrics.positives) == (len(held_out), held_out["target"].sum())
    assert set(oof["image_name"]) == set(held_out["image_name"])
    assert set(oof["group"]) == set(held_out["group"])


def test_the_averaged_weights_are_what_a_fold_keeps(
    run: Path, train_settings: TrainSettings, read: Data, tmp_path: Path
) -> None:
    assert train_settings.averaged_share > 0
    unaveraged = train_settings.model_copy(update={"averaged_share": 0.0, "tta": False})
    cross_validate(unaveraged, read, tmp_path / "run", only_folds=[0])
    last, averaged = (
        [np.asarray(weight) for weight in model.trainable_weights]
        for model in (
            keras.models.load_model(folder / "fold0" / "model.keras")
            for folder in (tmp_path / "run", run)
        )
    )
    assert any((a != b).any() for a, b in zip(last, averaged, strict=True))


def test_a_fold_starts_from_the_same_fold_of_an_earlier_run(
    run: Path, train_settings: TrainSettings, read: Data, tmp_path: Path
) -> None:
    later = {"weights": str(run), "weights_run": train_settings, "epochs": 1}
    still = {"freeze_epochs": 1, "averaged_share": 0.0, "diagnosis_weight": 0.5}
    settings = train_settings.model_copy(update=later | still)
    cross_validate(settings, read, tmp_path / "later", only_folds=[0])
    start, model = (
        keras.models.load_model(folder / "fold0" / "model.keras")
        for folder in (run, tmp_path / "later")
    )
    for before, after in zip(start.weights[:-2], model.weights[:-2], strict=True):
        np.testing.assert_array_equal(np.asarray(after), np.asarray(before), after.path)
    # The last layer also starts from the earlier one: two frozen steps do not move it far.
    before, after = (np.asarray(each.weights[-2]) for each in (start, model))
    assert np.corrcoef(before[:, 0], after[:, 0])[0, 1] > 0.9


def test_the_run_that_weights_names_is_read(
    run: Path, read: Data, train_settings: TrainSettings
) -> None:
    assert make_settings(read, {"weights": str(run)}, train_settings).weights_run == train_settings
    assert make_settings(read, {"weights": "none"}, train_settings).weights_run is None


@pytest.mark.parametrize(
    ("earlier", "folds", "complaint"),
    [
        ({"folds": 4}, [0], "folds 4 there, 2 now. Start from a run with the same"),
        ({"data_sha256": "0" * 64}, [0], "is no longer the data set that it was trained on"),
        ({"backbone": "EfficientNetB0"}, [0], "backbone EfficientNetB0 there"),
        ({}, [0, 1], "has not finished fold 1. Continue it with"),
    ],
)
def test_a_run_that_a_fold_cannot_start_from_is_refused(
    run: Path,
    train_settings: TrainSettings,
    read: Data,
    tmp_path: Path,
    earlier: dict[str, object],
    folds: list[int],
    complaint: str,
) -> None:
    there = train_settings.model_copy(update=earlier)
    settings = train_settings.model_copy(update={"weights": str(run), "weights_run": there})
    with pytest.raises(TrainingError, match=complaint):
        cross_validate(settings, read, tmp_path / "later", only_folds=folds)
    assert not (tmp_path / "later").exists()


def test_a_fold_starts_from_a_run_on_a_part_of_the_data_if_its_images_keep_their_folds(
    run: Path, train_settings: TrainSettings, read: Data
) -> None:
    settings = train_settings.model_copy(update={"weights": str(run), "data_sha256": "1" * 64})
    added = read.cases.head(1).assign(image_name="DRAWN_NEW", shard=1)
    grown = read._replace(cases=pd.concat([read.cases, added]))
    check_start(settings, grown, train_settings, [0])
    moved = grown._replace(cases=grown.cases.assign(shard=grown.cases["shard"] + 1))
    count = len(read.cases)
    with pytest.raises(TrainingError, match=f"of which {count} images are in other .*--shards-of"):
        check_start(settings, moved, train_settings, [0])
    dropped = grown._replace(cases=grown.cases.iloc[1:])
    with pytest.raises(TrainingError, match="of which 1 images are in other folds"):
        check_start(settings, dropped, train_settings, [0])


@pytest.mark.slow
def test_frozen_epochs_train_the_last_layer_alone(
    train_settings: TrainSettings, read: Data, tmp_path: Path
) -> None:
    frozen = {"freeze_epochs": 1, "epochs": 1, "averaged_share": 0.0, "diagnosis_weight": 0.5}
    cross_validate(train_settings.model_copy(update=frozen), read, tmp_path / "run", only_folds=[0])
    model = keras.models.load_model(tmp_path / "run" / "fold0" / "model.keras")
    start = build_model("EfficientNetLite0", 64, "imagenet")
    moved = [
        after.path
        for after, before in zip(model.weights, start.weights, strict=True)
        if (np.asarray(after) != np.asarray(before)).any()
    ]
    assert moved == ["logit/kernel", "logit/bias"]


def test_extra_sources_are_only_trained_on_and_omitted_ones_left_out(
    train_settings: TrainSettings, read: Data
) -> None:
    cases = read.cases.assign(source=np.resize(["ours", "extra", "bad"], len(read.cases)))
    sources = {"extra_sources": ("extra",), "omitted_sources": ("bad",)}
    for split in split_folds(
        train_settings.model_copy(update=sources), read._replace(cases=cases)
    ).values():
        assert set(split.training["source"]) == {"ours", "extra"}
        assert set(split.scored["source"]) == {"ours"}
        assert not set(split.training["group"]) & set(split.scored["group"])


def test_sources_that_the_build_calls_extra_are_not_scored_either(
    train_settings: TrainSettings, read: Data
) -> None:
    cases = read.cases.assign(source=np.resize(["ours", "extra"], len(read.cases)))
    settings = read.build.settings.model_copy(update={"extra_sources": ("extra",)})
    build = read.build.model_copy(update={"settings": settings})
    data = read._replace(cases=cases, build=build)
    assert set(data.scored["source"]) == {"ours"}
    for split in split_folds(train_settings, data).values():
        assert set(split.training["source"]) == {"ours", "extra"}
        assert set(split.scored["source"]) == {"ours"}


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"size": 96}, "--size 96 is more than the 64 px of"),
        ({"folds": 7}, "--folds 7 does not divide the 4 shards"),
        ({"extra_sources": ("isic2020",)}, "--extra isic2020: .* has the sources"),
        ({"extra_sources": ("drawn",)}, "Fold 0 has no positive image among those scored"),
        ({"omitted_sources": ("drawn",)}, "Fold 0 has no positive image among those training"),
    ],
)
def test_settings_that_do_not_fit_the_data_name_the_option(
    train_settings: TrainSettings, read: Data, wrong: dict[str, object], complaint: str
) -> None:
    there = read._replace(cases=read.cases.assign(source="drawn"))
    with pytest.raises(TrainingError, match=complaint):
        split_folds(train_settings.model_copy(update=wrong), there)
