"""How much memory a graph takes where it is served, measured in a fresh process.

`python -m training.ship.memory GRAPH` is that process: it loads the graph, answers once, and prints
its memory as JSON.
"""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from processing.bundle import SIGNATURE

_log = logging.getLogger(__name__)

_ROOT = Path(__file__).parents[2]
_STATUS = Path("/proc/self/status")
_MACHINE_MB = 512  # a small dyno
_WORKERS = 2  # which Heroku starts there
# What a worker takes under load beside Python, NumPy, the runtime and the graph: with the embedded
# graph, whose process takes 105 MB of which 46 are shared, two of them take 320 (`make dyno`).
APP_MB = 80


class Memory(NamedTuple):
    """Memory of a process that loaded a graph and answered once, in MB of 1024 * 1024 bytes."""

    peak: float  # with Python, NumPy and the runtime
    shared: float  # of it, pages of files, which several processes have in common

    @property
    def of_workers(self) -> float:
        """Return what the app takes with `_WORKERS` workers."""
        return _WORKERS * (self.peak - self.shared + APP_MB) + self.shared


def describe_memory(graph: Path) -> str:
    """Say how much memory a graph takes, and warn if it does not fit a small machine.

    Returns:
        A sentence for the terminal.
    """
    memory = measure_memory(graph)
    if memory is None:
        return "Memory was not measured: only Linux tells how much a process takes."
    figures = (
        f"a process that loads the graph and answers once takes {memory.peak:.0f} MB, and the app "
        f"with {_WORKERS} workers about {memory.of_workers:.0f} MB"
    )
    if memory.of_workers > _MACHINE_MB:
        _log.warning(
            "Warning: %s does not fit a machine of %d MB with %d workers: %s. Export with "
            "--folds-served, --average-weights or --precision int8, or serve with one worker "
            "(WEB_CONCURRENCY=1).",
            graph, _MACHINE_MB, _WORKERS, figures,
        )  # fmt: skip
    return f"Memory: {figures}."


def measure_memory(graph: Path) -> Memory | None:
    """Measure the memory of a fresh process that loads a graph and answers once.

    Returns:
        None where the system does not tell.
    """
    if not _STATUS.exists():
        return None
    command = [sys.executable, "-m", "training.ship.memory", str(graph.resolve())]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True)
    return Memory(**json.loads(done.stdout))


def _answer_once(graph: str) -> Memory:
    from ai_edge_litert.interpreter import Interpreter

    serve = Interpreter(graph, num_threads=1).get_signature_runner(SIGNATURE)
    _, *shape = serve.get_input_details()["images"]["shape"]
    serve(images=np.zeros((1, *shape), np.uint8))
    lines = (line.split() for line in _STATUS.read_text(encoding="ascii").splitlines())
    kilobytes = {name: value for name, value, *_ in (line for line in lines if len(line) > 1)}
    return Memory(peak=int(kilobytes["VmHWM:"]) / 1024, shared=int(kilobytes["RssFile:"]) / 1024)


if __name__ == "__main__":
    print(json.dumps(_answer_once(sys.argv[1])._asdict()))
