"""What `training train` costs on top of the network: `python -m benchmarks.training [--data DIR]`.

It compares seconds per step of three trainings of the same compiled model: `training train` with
input, checkpoints and TensorBoard; plain Keras `fit` on batches in memory; and plain `fit` with the
input of `training train`. It also measures the images per second that the input delivers and that
`fit` consumes, counts the traces of the train function, and times the command up to its first step.

On a CPU, the input and the network share the same cores.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, NamedTuple

from etils import epath

from benchmarks.fits import (
    EPOCHS,
    Preset,
    Training,
    count_traces,
    fit_bare,
    fit_ours,
    prepare,
    size_of,
)
from benchmarks.input import build_drawn, data_option, measure
from benchmarks.tool import Report, benchmark
from training.data.folder import Data, read_data
from training.train.hardware import choose_backend

# TensorFlow is imported where it is used, because worker processes import this module without it.

ROOT = Path(__file__).parents[1]
STARTS = 3
# Training images in one of five folds of 12,300 images. The measured epochs are shorter, so the end
# of an epoch, which writes a checkpoint of four times the model's size, weighs more in them.
WHOLE_EPOCH = 9_840
PIPELINE_EPOCHS = 1000  # more than a measurement of the input alone reaches
SMALL = Preset(
    "EfficientNetLite0", 128, batch_size=32, steps=12, rounds=3, drawn=384, side=256, crop=0.6
)
LARGE = Preset("EfficientNetB4", 384, batch_size=4, steps=2, rounds=3, drawn=64, side=512, crop=0.5)


class Rates(NamedTuple):
    """The measurements of one round."""

    ours: float  # seconds per step of `training train`, over whole epochs
    steps_alone: float  # the same without the ends of epochs
    end: float  # seconds that the end of an epoch takes
    fed: float  # seconds per step of plain fit with the same input
    bare: float  # seconds per step of plain fit from memory
    pipeline: float  # images per second of the input


def measure_start(data: Data, run: Path) -> float:
    """Measure the seconds from the command to the checkpoint after its first and only step.

    They include Python's start, imports, a check of each shard, building the network (twice, as
    `training train` does), tracing or compiling, the first batch, the step, and the checkpoint.
    """
    command = [
        *(sys.executable, "-m", "training", "train", "--data", str(data.folder), "--run", str(run)),
        *("--backbone", SMALL.backbone, "--size", str(size_of(SMALL, data))),
        *("--batch-size", str(SMALL.batch_size), "--epochs", "1", "--steps-per-epoch", "1"),
        *("--only-fold", "0"),
    ]
    with TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        try:
            while not (run / "fold0" / "checkpoint.npz").exists():
                if process.poll() is not None:
                    output.seek(0)
                    sys.exit(f"training train stopped:\n{output.read().decode()}")
                time.sleep(0.005)
            return time.perf_counter() - started
        finally:
            process.kill()
            process.wait(30)


def measure_round(training: Training, in_memory: Any, number: int) -> Rates:
    """Train in all three ways, and run the input alone."""
    from training.data.batches import make_training_dataset

    job = training.job
    feeding = job.feeding
    pipeline = make_training_dataset(job.data, job.split.training, feeding)
    seconds = {}
    for turn in range(number, number + 3):  # each goes first in one round
        if turn % 3 == 0:
            seconds["ours"], seconds["steps"] = fit_ours(training)
        else:
            name, batches = [("fed", pipeline), ("bare", in_memory)][turn % 3 - 1]
            seconds[name] = fit_bare(training, batches)
    steps, batch_size = feeding.steps_per_epoch, feeding.batch_size
    whole = feeding._replace(
        steps_per_epoch=job.data.build.images // batch_size, epochs=PIPELINE_EPOCHS
    )
    return Rates(
        ours=seconds["ours"] / steps,
        steps_alone=seconds["steps"] / steps,
        end=seconds["ours"] - seconds["steps"],
        fed=seconds["fed"] / steps,
        bare=seconds["bare"] / steps,
        pipeline=measure(make_training_dataset(job.data, job.data.cases, whole), batch_size),
    )


def print_start(report: Report, data: Data) -> None:
    """Measure several starts and print the median."""
    with TemporaryDirectory() as folder:
        seconds = [measure_start(data, Path(folder) / str(number)) for number in range(STARTS)]
    report.begin(f"{_describe(SMALL, data)}, ImageNet weights; starts: {STARTS}")
    report.add("command to the checkpoint of the first step", statistics.median(seconds), "s")


def print_training(report: Report, data: Data, preset: Preset) -> None:
    """Measure several rounds and print the medians of times, rates and ratios."""
    from training.data.batches import make_training_dataset

    training = prepare(data, preset)
    job, model = training
    feeding = job.feeding
    steps, batch_size = feeding.steps_per_epoch, feeding.batch_size
    in_memory = make_training_dataset(data, job.split.training, feeding).take(steps).cache()
    for _ in in_memory:  # fills the cache
        pass
    in_memory = in_memory.repeat()
    model.fit(in_memory, steps_per_epoch=steps, shuffle=False, verbose=0)
    traced = count_traces(model)
    rounds = [measure_round(training, in_memory, number) for number in range(preset.rounds)]
    whole_steps = WHOLE_EPOCH // batch_size
    report.begin(
        f"{_describe(preset, data)}, {job.hardware.precision}; rounds: {preset.rounds}, each of "
        f"{EPOCHS} epochs of {steps} steps after a warm-up epoch"
    )
    for name, unit, values in (
        ("training train", "s/step", [each.ours for each in rounds]),
        ("plain fit, same input", "s/step", [each.fed for each in rounds]),
        ("plain fit, from memory", "s/step", [each.bare for each in rounds]),
        ("training train / plain fit, from memory", "", [each.ours / each.bare for each in rounds]),
        ("plain fit, same input / from memory", "", [each.fed / each.bare for each in rounds]),
        ("end of an epoch: checkpoint, TensorBoard", "s", [each.end for each in rounds]),
        (
            f"training train / plain fit, {WHOLE_EPOCH:,} images",
            "goal: at most 1.03",
            [(each.steps_alone + each.end / whole_steps) / each.bare for each in rounds],
        ),
        ("input alone", "images/s", [each.pipeline for each in rounds]),
        ("plain fit", "images/s", [batch_size / each.bare for each in rounds]),
        (
            "input alone / plain fit",
            "goal: above 1",
            [each.pipeline * each.bare / batch_size for each in rounds],
        ),
        ("traces after the first epoch", "goal: 0", [float(count_traces(model) - traced)]),
    ):
        is_goal = unit.startswith("goal")
        report.add(name, statistics.median(values), *(("", unit) if is_goal else (unit,)))


def _describe(preset: Preset, data: Data) -> str:
    return f"{preset.backbone} at {size_of(preset, data)} px, batches of {preset.batch_size}"


@benchmark("start", "small", "large", libraries=("tensorflow", "keras"))
@data_option
def main(report: Report, parts: list[str], data: epath.Path | None) -> None:
    """Measure and print medians of all rounds."""
    choose_backend()  # before TensorFlow and Keras are imported
    with TemporaryDirectory() as folder:
        if {"start", "small"} & {*parts}:
            found = read_data(data or _build(SMALL, Path(folder)))
            if "start" in parts:
                print_start(report, found)
            if "small" in parts:
                print_training(report, found, SMALL)
        if "large" in parts:
            print_training(report, read_data(data or _build(LARGE, Path(folder))), LARGE)


def _build(preset: Preset, folder: Path) -> epath.Path:
    place = folder / preset.backbone
    place.mkdir()
    squares = [(preset.size, preset.crop)]
    return build_drawn(place, preset.drawn, preset.side, squares)[0]


if __name__ == "__main__":
    main()
