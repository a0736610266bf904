"""A model from a store is tried in a process of its own before the one that serves loads it.

A graph runs as native code, which can crash, hang or take all memory. The embedded model is not
tried, since it came with the code. A trial takes about a second and a process of 135 MB, with the
embedded model, while the app serves the model before it.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from processing.bundle import MANIFEST, Bundle, BundleError
from processing.environment import select_environment
from processing.store.base import sha256_of

TRIAL_SECONDS = 180  # for a large model on a busy machine
_ROOT = Path(__file__).parents[1]
_SHOWN_BYTES = 2000
_passed: set[str] = set()  # hashes of manifests, which have those of the files


class TrialError(Exception):
    """A trial that did not end, maybe because the machine is too busy: try again later."""


def try_bundle(bundle: Bundle) -> None:
    """Load a bundle in a process of its own, under limits, and ask for its golden answers.

    Raises:
        BundleError: it is not one to be served.
        TrialError: there was no time or no memory for the trial.
    """
    version = sha256_of((bundle.path / MANIFEST).read_bytes())
    if version in _passed:
        return
    command = [sys.executable, "-m", "app.on_trial", str(bundle.path.absolute())]
    with tempfile.TemporaryFile() as output:
        try:
            code = subprocess.run(
                command,
                cwd=_ROOT,
                env=select_environment("TMPDIR", "TEMP", "TMP"),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=TRIAL_SECONDS,
                check=False,
            ).returncode
        except (subprocess.TimeoutExpired, OSError) as error:
            raise TrialError(f"The trial of {bundle.path} did not end: {error}") from error
        output.seek(max(0, output.tell() - _SHOWN_BYTES))
        said = output.read().decode(errors="replace").strip()
    if code:
        ended = f"with signal {-code}" if code < 0 else f"with status {code}"
        raise BundleError(f"{bundle.path} failed in its trial, which ended {ended}: {said}")
    _passed.add(version)
