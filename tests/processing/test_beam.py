"""Run where requirements-beam.txt is installed, on top of requirements-dev.txt."""

import logging
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from processing.beam import run_on_beam
from tests.beam import HERE, SUBPROCESSES, with_beam, without_beam

FAULT = "cases.csv, line 3: age is 'abc'. Write a number."


class UsersError(Exception):
    """What the user can fix."""


run = partial(run_on_beam, fault=UsersError)


class Touch(NamedTuple):
    """A file to make."""

    output: str
    images: int


def touch(item: Touch) -> int:
    Path(item.output).touch()
    return item.images


def refuse(item: Touch) -> int:
    raise UsersError(FAULT)


@with_beam
@pytest.mark.parametrize("options", [HERE, SUBPROCESSES])
def test_every_item_is_processed_and_no_runner_is_downloaded(
    options: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "apache_beam.runners")
    items = [Touch(str(tmp_path / f"{k}"), k) for k in range(5)]
    reported: list[int] = []
    run(touch, items, reported.append, runner="DirectRunner", options=options)
    assert {str(path) for path in tmp_path.iterdir()} == {item.output for item in items}
    assert sorted(reported) == [0, 1, 2, 3, 4]
    assert not [text for text in caplog.messages if "prism" in text.lower()]


@with_beam
@pytest.mark.parametrize("options", [HERE, SUBPROCESSES])
def test_a_workers_error_message_arrives_unchanged(options: tuple[str, ...]) -> None:
    with pytest.raises(UsersError) as raised:
        run(refuse, [Touch("a", 1), Touch("b", 1)], print, runner="DirectRunner", options=options)
    assert str(raised.value) == FAULT


def interrupt(item: Touch) -> int:
    raise KeyboardInterrupt


@with_beam
def test_an_interrupt_stays_one() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(interrupt, [Touch("a", 1)], print, runner="DirectRunner", options=HERE)


@with_beam
@pytest.mark.parametrize(
    ("runner", "reason"),
    [("SlowRunner", "Valid values are"), ("DataflowRunner", "option: project")],
)
def test_what_beam_rejects_is_explained(runner: str, reason: str) -> None:
    with pytest.raises(UsersError, match=reason):
        run(touch, [], print, runner=runner, options=())


@with_beam
def test_an_empty_list_of_items_is_fine() -> None:
    run(touch, [], print, runner="DirectRunner", options=HERE)


@without_beam
def test_without_beam_the_file_to_install_is_named() -> None:
    with pytest.raises(UsersError, match="requirements-beam.txt"):
        run(touch, [], print, runner="DirectRunner", options=())
