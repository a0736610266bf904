from pathlib import Path

from benchmarks.fits import count_traces
from training.data.folder import Data
from training.recipe import CHECKPOINT_MINUTES, TrainSettings
from training.train.fold import (
    Job,
    Phase,
    build_fold_model,
    compile_phase,
    fit_phase,
    plan_feeding,
)
from training.train.hardware import find_hardware
from training.train.splits import split_folds


def test_two_epochs_trace_the_train_function_once(
    train_settings: TrainSettings, read: Data, tmp_path: Path
) -> None:
    split = split_folds(train_settings, read)[0]
    job = Job(
        settings=train_settings,
        data=read,
        split=split,
        feeding=plan_feeding(train_settings, split),
        folder=tmp_path,
        hardware=find_hardware("auto"),
        checkpoint_minutes=CHECKPOINT_MINUTES,
    )
    model = build_fold_model(job)
    phase = Phase(False, 0, train_settings.epochs)
    compile_phase(job, model, phase)
    fit_phase(job, model, None, phase)
    assert count_traces(model) == 1
