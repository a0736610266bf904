import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from training.commands.processes import run_in_own_process
from training.errors import TrainingError

ROOT = Path(__file__).parents[3]


def fail() -> None:
    raise TrainingError("no such option")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_function_runs_in_another_process_and_its_result_returns() -> None:
    assert run_in_own_process(os.getpid) != os.getpid()


def test_an_exception_of_the_other_process_is_raised_here() -> None:
    with pytest.raises(TrainingError, match="no such option"):
        run_in_own_process(fail)


def test_a_process_that_is_killed_is_reported() -> None:
    with pytest.raises(TrainingError, match="was killed; the machine may lack memory"):
        run_in_own_process(die)


def write_pid_and_sleep(path: Path) -> None:
    path.with_suffix(".partial").write_text(str(os.getpid()))
    path.with_suffix(".partial").rename(path)
    time.sleep(60)


def test_the_other_process_ends_with_the_one_that_waits_for_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = (
        "from pathlib import Path\n"
        "from tests.training.commands.test_processes import *\n"
        f"run_in_own_process(write_pid_and_sleep, Path({str(pid)!r}))"
    )
    waiting = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        deadline = time.monotonic() + 30
        while not pid.exists():
            assert waiting.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        other = psutil.Process(int(pid.read_text()))
    finally:
        waiting.kill()
        waiting.wait()
    _, alive = psutil.wait_procs([other], timeout=10)
    assert not alive


# What TensorFlow 2.21 writes when it is loaded, here by a process that then crashes.
NOTICES = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795546046.367765   12206 port.cc:153] oneDNN custom operations are on.
I0000 00:00:1795546046.373069   12206 cudart_stub.cc:31] Could not find cuda drivers
2026-11-24 14:44:05.157831: I external/xla/cudart_stub.cc:32] Could not find cuda drivers
E0000 00:00:1795546054.231149   12206 cuda_platform.cc:52] failed call to cuInit: INTERNAL
"""
FAULTS = """\
E0000 00:00:1795546054.231149   12206 cuda_dnn.cc:40] No algorithm worked!
F0000 00:00:1795546054.231149   12206 self_check.cc:10] The library needs AVX.
Traceback (most recent call last):
"""
CRASH = f"""
import os
from training.commands.processes import quiet_tensorflow, show_log
with quiet_tensorflow():
    show_log()
    os.write(2, {(NOTICES + FAULTS).encode()!r})
    os.abort()
"""


@pytest.mark.parametrize(
    ("level", "shown"), [({}, FAULTS), ({"TF_CPP_MIN_LOG_LEVEL": "0"}, NOTICES + FAULTS)]
)
def test_notices_of_tensorflow_are_left_out_and_its_faults_are_shown(
    level: dict[str, str], shown: str
) -> None:
    kept = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", CRASH], cwd=ROOT, env=kept | level, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGABRT
    assert done.stderr == shown


def test_our_own_log_is_shown_in_its_order() -> None:
    code = "import logging, sys; from training.__main__ import quiet_tensorflow, show_log\n"
    code += "with quiet_tensorflow():\n    show_log(); logging.getLogger('training').info('ours')\n"
    code += "    print('printed', file=sys.stderr)\nprint('afterwards', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == "ours\nprinted\nafterwards\n"
