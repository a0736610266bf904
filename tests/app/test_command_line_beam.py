"""`python -m app classify --runner`: run where requirements-beam.txt is installed (`make beam`)."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from etils import epath

from app.beam import BeamError, Part, classify_part
from app.command import main
from processing.beam import run_on_beam
from processing.bundle import Bundle
from processing.drawing import draw_photo
from tests.app.conftest import encode
from tests.beam import HERE, SUBPROCESSES, with_beam, without_beam

Classify = Callable[..., Result]
NO_TEXT = os.fsdecode(b"caf\xe9.jpg")  # a name that is not UTF-8
needs_any_name = pytest.mark.skipif(
    os.name == "nt" or sys.platform == "darwin", reason="a file's name there is always a text"
)


@pytest.fixture
def classify(served: Bundle) -> Classify:
    def run(*arguments: object) -> Result:
        words = ["classify", "--model", served.path, *arguments]
        return CliRunner().invoke(main, [*map(str, words)])

    return run


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two photos a part."""
    monkeypatch.setattr("app.beam.PART_PHOTOS", 2)


@pytest.fixture
def folder(tmp_path: Path, small_photo: bytes) -> Path:
    """Photos, one of which cannot be read, one that cannot be judged, and no photo."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for seed, name in enumerate(["a.jpg", "below/b.jpg", "=c.jpg", "line\nbreak.jpg", "z.jpg"]):
        (folder / name).write_bytes(encode(draw_photo(seed, 640), quality=90))
    (folder / "damaged.jpg").write_bytes(b"no photo")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "small.jpg").write_bytes(small_photo)
    (folder / "notes.txt").write_text("no photo")
    return folder


@with_beam
@pytest.mark.parametrize("options", [HERE, SUBPROCESSES])
@pytest.mark.usefixtures("few")
def test_the_table_is_the_one_without_beam(
    classify: Classify, folder: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    table = tmp_path / "out.csv"
    given = [word for option in options for word in ("--runner-option", option)]
    expected = classify(folder, "--stability")
    result = classify(folder, "--stability", "--csv", table, "--runner", "DirectRunner", *given)
    assert table.read_text() == expected.stdout
    assert (result.exit_code, result.stderr) == (1, expected.stderr)
    assert "2 of 8 photos could not be read" in result.stderr
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"out.csv"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@with_beam
@needs_any_name
def test_a_name_that_is_no_text_is_classified(classify: Classify, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / NO_TEXT).write_bytes(encode(draw_photo(1, 640)))
    table = tmp_path / "out.csv"
    result = classify(tmp_path / "photos", "--csv", table, "--runner", "DirectRunner")
    assert result.exit_code == 0, result.output
    assert table.read_text() == classify(tmp_path / "photos").stdout


@with_beam
@pytest.mark.usefixtures("few")
def test_an_interrupted_call_continues_from_the_parts_whose_photos_are_the_same(
    classify: Classify, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "out.csv"
    call = (folder, "--csv", table, "--runner", "DirectRunner")

    def run_two(
        function: Callable[[Part], int], items: Sequence[Part], *rest: Any, **options: Any
    ) -> None:
        run_on_beam(function, items[:2], *rest, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("app.beam.run_on_beam", run_two)
        stopped = classify(*call)
    assert stopped.exit_code == 130
    assert "The same command continues" in stopped.stderr
    assert not table.exists()
    (folder / "a.jpg").write_bytes(encode(draw_photo(9, 640)))
    result = classify(*call)
    assert "2 photos had been classified before" in result.stderr
    assert table.read_text() == classify(folder).stdout
    assert [path.name for path in tmp_path.glob(".*")] == []


@with_beam
def test_photos_and_table_may_be_in_a_store(
    classify: Classify, folder: Path, ram: epath.Path
) -> None:
    for path in folder.rglob("*.*"):
        copy = ram / "photos" / path.relative_to(folder).as_posix()
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    result = classify(
        ram / "photos", ram / "missing.jpg", "--csv", ram / "out.csv", "--runner", "DirectRunner"
    )
    assert result.exit_code == 1
    assert f"{ram}/missing.jpg does not exist" in result.stderr
    classify(ram / "photos", "--csv", ram / "out.csv", "--runner", "DirectRunner")
    assert (ram / "out.csv").read_text() == classify(folder).stdout
    assert {path.name for path in ram.iterdir()} == {"photos", "out.csv"}


def test_a_store_that_cannot_be_reached_is_told(
    classify: Classify, folder: Path, tmp_path: Path
) -> None:
    for words in ((folder, "--csv", "s3://b/out.csv"), ("s3://b/p", "--csv", tmp_path / "out.csv")):
        result = classify(*words, "--runner", "DirectRunner")
        assert result.exit_code == 1
        assert "The store cannot be used: File system scheme 's3' not implemented" in result.stderr


@with_beam
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--runner", "SlowRunner"), "Valid values are"),
        (("--runner", "DataflowRunner"), "option: project"),
    ],
)
def test_what_beam_rejects_is_told_and_leaves_nothing(
    classify: Classify, folder: Path, tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    result = classify(folder, "--csv", tmp_path / "out.csv", *options)
    assert result.exit_code == 1
    assert reason in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@without_beam
def test_without_beam_the_file_to_install_is_named(
    classify: Classify, folder: Path, tmp_path: Path
) -> None:
    result = classify(folder, "--csv", tmp_path / "out.csv", "--runner", "DirectRunner")
    assert result.exit_code == 1
    assert "requirements-beam.txt" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_where_the_app_serves_the_file_to_install_is_named(
    classify: Classify, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "etils", None)
    monkeypatch.delitem(sys.modules, "app.beam")
    result = classify(folder, "--csv", tmp_path / "out.csv", "--runner", "DirectRunner")
    assert result.exit_code == 1
    assert "requirements-beam.txt" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("photos --csv out.csv --runner DirectRunner --resume", "the same command resumes"),
        ("photos --csv out.csv --runner DirectRunner --jobs 2", "--jobs is for calls without"),
        ("- --csv out.csv --runner DirectRunner", "cannot read standard input"),
        ("photos --runner DirectRunner", "needs --csv FILE"),
        ("photos --csv there.csv --runner DirectRunner", "there.csv exists already"),
        ("photos --csv missing/out.csv --runner DirectRunner", "the folder missing is missing"),
        ("photos --csv out.csv --runner DirectRunner --model nothing", "nothing"),
        ("empty --csv out.csv --runner DirectRunner", "No photos"),
        ("photos --runner-option a=b", "--runner-option needs --runner"),
        ("gs://bucket/photos", "Only --runner reaches it"),
        ("photos --csv gs://bucket/out.csv", "Only --runner reaches it"),
    ],
)
def test_what_cannot_work_is_told_before_any_work(
    classify: Classify,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "there.csv").touch()
    result = classify(*arguments.split())
    assert result.exit_code in (1, 2)
    assert says in result.stderr
    assert isinstance(result.exception, SystemExit)
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "empty", "there.csv"}


def test_a_worker_with_another_model_writes_nothing(folder: Path, tmp_path: Path) -> None:
    part = Part(("a",), (str(folder / "a.jpg"),), None, "other", False, str(tmp_path / "part"))
    with pytest.raises(BeamError, match="A worker has model .* table is of model other"):
        classify_part(part)
    assert not Path(part.output).exists()


def test_a_worker_that_cannot_write_names_the_file(
    folder: Path, tmp_path: Path, embedded: Bundle
) -> None:
    output = str(tmp_path / "missing" / "part")
    path = str(folder / "a.jpg")
    part = Part(("a",), (path,), None, embedded.manifest.version, False, output)
    with pytest.raises(BeamError, match="part cannot be written: No such file"):
        classify_part(part)


def test_a_store_that_is_away_leaves_its_photos_to_another_attempt(
    tmp_path: Path, embedded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise RuntimeError("503 from the store")

    monkeypatch.setattr("app.batch.read_start", fail)
    version, output = embedded.manifest.version, str(tmp_path / "part")
    part = Part(("a.jpg",), ("gs://bucket/a.jpg",), None, version, False, output)
    with pytest.raises(BeamError, match="a.jpg: The file cannot be read: 503 from the store"):
        classify_part(part)
    assert not Path(output).exists()
