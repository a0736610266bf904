"""What makes a benchmark a command: options, rows, a warning where others use the cores."""

import functools
import json
import sys
from collections.abc import Callable
from typing import Any, TextIO

import click
import psutil

from benchmarks.photos import describe_machine

_BUSY_PERCENT = 20  # of all cores, by other programs


class Report:
    """Prints rows as they are measured, and keeps them for a file."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []
        self._part = ""

    def begin(self, part: str) -> None:
        """Print the title of the rows that follow."""
        self._part = part
        click.echo(f"\n{part}")

    def add(self, name: str, value: float, unit: str = "", goal: str = "") -> None:
        """Print a row; `goal` is what its value should be, such as "at least 0.9"."""
        shown = f"  ({goal})" if goal else ""
        click.echo(f"  {name:<56}{value:>9.2f} {unit}".rstrip() + shown)
        self.keep(name, value, unit, goal)

    def keep(self, name: str, value: float, unit: str = "", goal: str = "") -> None:
        """Keep a row for the file that is printed otherwise."""
        self.rows.append(
            {"part": self._part, "name": name, "value": value, "unit": unit, "goal": goal}
        )


def benchmark(*parts: str, libraries: tuple[str, ...] = ()) -> Callable[..., click.Command]:
    """Make a command of a function, whose module's docstring is the help.

    Args:
        parts: what --only chooses among. The function is called with a `Report` and with those to
            measure, all by default, or with the `Report` alone if there are none.
        libraries: what to name the versions of.
    """

    def decorate(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def run(file: TextIO | None, only: tuple[str, ...] = (), **options: Any) -> None:
            report, machine = Report(), describe_machine(*libraries)
            click.echo(machine)
            warn_if_busy()
            chosen = [part for part in parts if part in only or not only]
            try:
                function(report, *([chosen] if parts else []), **options)
            finally:
                if file:
                    json.dump({"machine": machine, "rows": report.rows}, file, indent=2)
                    file.write("\n")

        run = click.option(
            "--json", "file", type=click.File("w"), help="Write the rows here, too."
        )(run)
        if parts:
            run = click.option(
                "--only", multiple=True, type=click.Choice(parts), help="Measure this; repeatable."
            )(run)
        return click.command(help=sys.modules[function.__module__].__doc__)(run)

    return decorate


def warn_if_busy() -> None:
    """Say how much of the cores other programs use, if it is enough to make figures doubtful."""
    # Not the load average, which remembers the benchmark before.
    busy = psutil.cpu_percent(interval=1)
    if busy > _BUSY_PERCENT:
        click.echo(
            f"Warning: other programs use {busy:.0f} % of the cores. Times are too long, and even "
            "ratios are inexact. Stop those programs and measure again.",
            err=True,
        )
