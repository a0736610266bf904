from pathlib import Path

from benchmarks.fits import count_traces
from training import train
from training.data import Data
from training.hardware import find_hardware
from training.run import TrainSettings


def test_two_epochs_trace_the_train_function_once(
    train_settings: TrainSettings, read: Data, tmp_path: Path
) -> None:
    split = train.split_folds(train_settings, read)[0]
    job = train.Job(
        train_settings, read, split, tmp_path, find_hardware("auto"), train.CHECKPOINT_MINUTES
    )
    feeding, model = train._plan_feeding(job), train._build(job)
    phase = train.Phase(False, 0, train_settings.epochs)
    train._compile(job, feeding, model, phase)
    train._fit(job, feeding, model, None, phase)
    assert count_traces(model) == 1
