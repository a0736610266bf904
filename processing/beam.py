"""Run a function on Apache Beam: the same one on any number of machines.

Neither Beam nor etils is installed where the app serves, so both are imported when they are needed.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click

MISSING = "--runner needs Apache Beam. Install requirements-beam.txt as its first lines describe."
_Command = Callable[..., None]
_QUIET = "default_sdk_harness_log_level=CRITICAL"  # workers would log every step
_POLL_SECONDS = 1.0


def runner_options(command: _Command) -> _Command:
    """Give a command the options --runner and --runner-option."""
    more = click.option(
        "--runner-option",
        metavar="NAME=VALUE",
        multiple=True,
        help="Option for Apache Beam and its runner; repeatable.",
    )
    runner = click.option(
        "--runner",
        metavar="NAME",
        help="Run on Apache Beam, on DirectRunner, DataflowRunner or another of its runners.",
    )
    return runner(more(command))


def run_on_beam(
    function: Callable[[Any], int],
    items: Sequence[Any],
    report: Callable[[int], object],
    *,
    runner: str,
    options: Sequence[str],
    fault: type[Exception],
) -> None:
    """Call `function` on each item on Apache Beam, and report the number of images done.

    Args:
        items: each has `output`, the path of a file that exists once the item is done, and
            `images`, the number of its images.
        report: gets the `images` of each item that is done.
        runner: Beam's name for the runner.
        options: NAME=VALUE, for Beam and the runner.
        fault: the exception that is raised for what the user can fix.

    Raises:
        fault: Apache Beam is missing or rejects an option, or `function` raised it in a worker.
    """
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise fault(MISSING) from error
    given = [f"runner={runner}", *options]
    if runner == "DirectRunner":
        # Without a version, Beam downloads another runner: https://github.com/apache/beam/issues/33623
        given[1:1] = [f"update_compatibility_version={apache_beam.__version__}", _QUIET]
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    try:
        pipeline = apache_beam.Pipeline(options=PipelineOptions([f"--{one}" for one in given]))
    except ValueError as error:
        raise fault(f"--runner {runner}: {error}") from error
    _ = pipeline | apache_beam.Create(items) | apache_beam.Reshuffle() | apache_beam.Map(function)
    try:
        with _watching(items, report):
            pipeline.run().wait_until_finish()
    except Exception as error:
        # A worker's exception arrives unchanged, or as the text of its traceback in an exception
        # type of the runner.
        text = f"{type(error).__name__}: {error}"
        pattern = rf"{fault.__name__}: (.+?)(?: \[while running .*)?$"
        if messages := re.findall(pattern, text, re.MULTILINE):
            raise fault(messages[-1]) from error
        if str(error).startswith("KeyboardInterrupt"):  # within `function`, in this process
            raise KeyboardInterrupt from error
        raise


@contextmanager
def _watching(items: Sequence[Any], report: Callable[[int], object]) -> Iterator[None]:
    """Report the items whose output exists, since runners only report the end of a pipeline."""
    from etils import epath

    left = {item.output: item.images for item in items}
    folders = {epath.Path(output).parent for output in left}
    done = threading.Event()

    def look() -> None:
        for path in [path for folder in folders for path in folder.iterdir()]:
            if (images := left.pop(str(path), None)) is not None:
                report(images)

    def watch() -> None:
        while not done.wait(_POLL_SECONDS):
            with suppress(Exception):  # a store that does not answer holds up the bar alone
                look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        with suppress(Exception):
            look()
