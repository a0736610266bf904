"""Run a build on Apache Beam: the same functions on any number of machines."""

import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from etils import epath

from training.errors import TrainingError

_QUIET = "default_sdk_harness_log_level=CRITICAL"  # workers would log every step
_POLL_SECONDS = 1.0


def run_on_beam(
    function: Callable[[Any], int],
    items: Sequence[Any],
    report: Callable[[int], object],
    *,
    runner: str,
    options: Sequence[str],
) -> None:
    """Run as a `build.Runner` on Apache Beam.

    Args:
        runner: Beam's name for the runner.
        options: NAME=VALUE, for Beam and the runner.

    Raises:
        TrainingError: Apache Beam is missing or rejects an option, or a worker raised a
            TrainingError.
    """
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise TrainingError(
            "--runner needs Apache Beam. Install requirements-beam.txt as its first lines describe."
        ) from error
    given = [f"runner={runner}", *options]
    if runner == "DirectRunner":
        # Without a version, Beam downloads another runner: https://github.com/apache/beam/issues/33623
        given[1:1] = [f"update_compatibility_version={apache_beam.__version__}", _QUIET]
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    try:
        pipeline = apache_beam.Pipeline(options=PipelineOptions([f"--{one}" for one in given]))
    except ValueError as error:
        raise TrainingError(f"--runner {runner}: {error}") from error
    _ = pipeline | apache_beam.Create(items) | apache_beam.Reshuffle() | apache_beam.Map(function)
    try:
        with _watching(items, report):
            pipeline.run().wait_until_finish()
    except Exception as error:
        # A worker's exception arrives unchanged, or as the text of its traceback in an exception
        # type of the runner.
        text = f"{type(error).__name__}: {error}"
        pattern = r"TrainingError: (.+?)(?: \[while running .*)?$"
        if messages := re.findall(pattern, text, re.MULTILINE):
            raise TrainingError(messages[-1]) from error
        raise


@contextmanager
def _watching(items: Sequence[Any], report: Callable[[int], object]) -> Iterator[None]:
    """Report the items whose output exists, since runners only report the end of a pipeline."""
    left = {item.output: item.images for item in items}
    folders = {epath.Path(output).parent for output in left}
    done = threading.Event()

    def look() -> None:
        for path in [path for folder in folders for path in folder.iterdir()]:
            if (images := left.pop(str(path), None)) is not None:
                report(images)

    def watch() -> None:
        while not done.wait(_POLL_SECONDS):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        look()
