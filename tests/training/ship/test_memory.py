import logging
from pathlib import Path

import pytest

from processing.bundle import Bundle
from training.ship import memory
from training.ship.memory import Memory, describe_memory, measure_memory

DEFAULT = Path(__file__).parents[3] / "app" / "model" / "default" / "model.tflite"
LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells")


@LINUX
def test_a_graph_takes_its_memory_in_a_process_of_its_own(bundle: Bundle) -> None:
    embedded, drawn = measure_memory(DEFAULT), measure_memory(bundle.model_path)
    assert embedded is not None
    assert drawn is not None
    assert 40 < embedded.peak < 200  # TensorFlow alone would take 480
    assert 0 < embedded.shared < embedded.peak
    megabytes = bundle.model_path.stat().st_size / 2**20
    assert drawn.peak > megabytes + 30  # two networks in float32, and NumPy


@LINUX
def test_the_embedded_graph_fits_a_small_machine(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert describe_memory(DEFAULT).startswith("Memory: a process that loads the graph")
    assert not caplog.records


def test_a_graph_that_does_not_fit_is_named_with_figures(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "measure_memory", lambda _: Memory(peak=483, shared=100))
    with caplog.at_level(logging.WARNING):
        describe_memory(Path("large.tflite"))
    (record,) = caplog.records
    assert "large.tflite does not fit a machine of 512 MB with 2 workers" in record.message
    assert "takes 483 MB" in record.message
    assert f"about {2 * (383 + memory.APP_MB) + 100} MB" in record.message
