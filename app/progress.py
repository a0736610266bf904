"""How far the command line has come: a bar on a terminal, and lines elsewhere."""

import sys
import time
from collections.abc import Generator, Iterable
from typing import TypeVar

import click

LINE_SECONDS = 5.0

_Result = TypeVar("_Result")


def show_progress(results: Iterable[_Result], total: int) -> Generator[_Result]:
    """Yield the results, and tell on standard error how many of `total` came and how long the rest
    takes.
    """
    if sys.stderr.isatty():
        with click.progressbar(results, total, label="Classifying", file=sys.stderr) as bar:
            yield from bar
        return
    started = told = time.monotonic()
    for count, result in enumerate(results, 1):
        yield result
        now = time.monotonic()
        if now - told >= LINE_SECONDS and count < total:
            left = (now - started) / count * (total - count)
            click.echo(f"{count} of {total} photos, {_format_seconds(left)} left", err=True)
            told = now


def _format_seconds(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
