"""Processes of the command line: what they write to the terminal, and one that runs another."""

import logging
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from training.errors import TrainingError

_Result = TypeVar("_Result")

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# What TensorFlow's libraries write when they are loaded, at any level that is set: notices, such as
# "Could not find cuda drivers", and two errors that are none on a CPU.
_NOISE = (
    r"^(I\d{4} \d\d:\d\d:[\d.]+ +\d+ \S+:\d+\] |\d{4}-\d\d-\d\d [\d:.]+: I "
    r"|WARNING: All log messages before absl::InitializeLog|INFO: Created TensorFlow Lite"
    r"|E\d{4} .*(failed call to cuInit|oneDNN supports DT_\w+ only on))"
)
_FILTER = f"""
import re, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
noise = re.compile({_NOISE.encode()!r})
for line in iter(sys.stdin.buffer.readline, b""):
    if not noise.match(line):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


def show_log() -> None:
    """Write the log of `training` to standard error, without times and levels."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("training").setLevel(logging.INFO)


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Keep TensorFlow's notices at start-up from standard error, but not its warnings and errors.

    TensorFlow 2.21 writes them whatever `TF_CPP_MIN_LOG_LEVEL` says. Its libraries' standard error
    therefore passes through another process, which also survives a crash of this one; Python's own
    does not. If the user has set `TF_CPP_MIN_LOG_LEVEL`, everything is shown.
    """
    if _LEVEL in os.environ or os.name != "posix":
        yield
        return
    os.environ[_LEVEL] = "1"
    stderr, terminal = sys.stderr, os.dup(2)
    sys.stderr = os.fdopen(
        terminal, "w", buffering=1, encoding=stderr.encoding, errors="backslashreplace"
    )
    passing = subprocess.Popen([sys.executable, "-S", "-E", "-c", _FILTER], stdin=subprocess.PIPE)
    assert passing.stdin is not None
    os.dup2(passing.stdin.fileno(), 2)
    passing.stdin.close()
    try:
        yield
    finally:
        os.dup2(terminal, 2)  # the process ends, as nothing writes to it any more
        sys.stderr = stderr
        with suppress(subprocess.TimeoutExpired):  # or soon, as what we started ends after us
            passing.wait(0.5)


def run_in_own_process(function: Callable[..., _Result], *arguments: Any) -> _Result:
    """Call a function in a new process and return its result; its exceptions are raised here.

    All memory that it took is free afterwards. If this process is killed, the other one ends, too.

    Args:
        function: defined at the top of a module, like its `arguments` fit to be pickled.

    Raises:
        TrainingError: the process was killed.
    """
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=spawn, initializer=_begin) as pool:
            return pool.submit(function, *arguments).result()
    except BrokenProcessPool as error:
        raise TrainingError(
            "The process that trains was killed; the machine may lack memory. Continue with "
            "--resume, on a machine with more memory or with a smaller --batch-size."
        ) from error


def _begin() -> None:
    show_log()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # at once, whatever the other threads are doing
