import logging
from collections.abc import Iterator

import keras
import numpy as np
import pytest

from training.train.progress import Progress, render_duration


def fit(progress: Progress, epochs: int, first_epoch: int = 0, steps: int = 4) -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.25), loss="mse")
    ones = np.ones((steps, 1), np.float32)
    model.fit(
        ones, ones, batch_size=1, epochs=epochs, initial_epoch=first_epoch, verbose=0,
        callbacks=[progress],
    )  # fmt: skip


def ticks(seconds: float) -> Iterator[float]:
    """Yield the time after each step, if a step takes so long."""
    now = 0.0
    while True:
        yield now
        now += seconds


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the progress has logged; TensorFlow may have logged warnings of its own."""
    return [record.message for record in caplog.records if record.name.startswith("training")]


def test_a_line_is_logged_every_half_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = ticks(10)
    fit(Progress(epochs=2, steps_per_epoch=4, clock=lambda: next(clock)), epochs=2)
    assert lines(caplog) == [
        "Epoch 1 of 2, step 4 of 4: loss 0.0000, learning rate 2.50e-01, 40 s left",
        "Epoch 2 of 2, step 3 of 4: loss 0.0000, learning rate 2.50e-01, 10 s left",
    ]


def test_an_interrupted_epoch_goes_on_with_its_own_steps(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = ticks(30)
    progress = Progress(epochs=2, steps_per_epoch=100, first_step=97, clock=lambda: next(clock))
    fit(progress, epochs=1, steps=3)
    assert [message.partition(":")[0] for message in lines(caplog)] == [
        "Epoch 1 of 2, step 99 of 100",
        "Epoch 1 of 2, step 100 of 100",
    ]
    assert lines(caplog)[-1].endswith("50 min left")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (3599, "1 h 0 min"), (9000, "2 h 30 min")]
)
def test_a_duration_is_rendered_in_the_units_that_fit(seconds: float, text: str) -> None:
    assert render_duration(seconds) == text
