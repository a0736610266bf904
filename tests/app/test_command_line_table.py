"""The table of `python -m app classify` as it grows: interrupted, resumed, on a full disk."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import app.progress
from app.command import main
from app.openapi import VERSION
from app.table import COLUMNS
from processing.bundle import CARD, Bundle
from processing.drawing import draw_photo
from tests.app.conftest import encode
from tests.app.fixture_types import MakeBundle, WaitUntil

ROOT = Path(__file__).parents[2]
Classify = Callable[..., Result]


@pytest.fixture
def classify(served: Bundle) -> Classify:
    """Run the command on `served`, unless another model is named."""

    def run(*arguments: object, given: bytes | None = None) -> Result:
        named = () if "--model" in arguments else ("--model", served.path)
        words = ["classify", *map(str, (*arguments, *named))]
        return CliRunner().invoke(main, words, input=given)

    return run


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of many photos, some of which are the same."""
    folder = tmp_path_factory.mktemp("photos")
    drawn = [encode(draw_photo(seed, 640), quality=90) for seed in range(5)]
    for number in range(60):
        (folder / f"{number:03}.jpg").write_bytes(drawn[number % 5])
    (folder / "000.jpg").rename(folder / "=000.jpg")
    (folder / "059.jpg").write_bytes(b"no photo")
    return folder


@pytest.fixture(scope="module")
def whole(photos: Path, served: Bundle) -> str:
    """The table of the folder, made by one core."""
    words = ["classify", str(photos), "--model", str(served.path), "--jobs", "1"]
    return CliRunner().invoke(main, words).stdout


def test_many_cores_give_what_one_gives(classify: Classify, photos: Path, whole: str) -> None:
    assert whole.count("\n") == 61
    assert classify(photos, "--jobs", 3).stdout == whole


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_what_was_classified_before_the_end_stays_and_is_not_done_again(
    classify: Classify,
    photos: Path,
    whole: str,
    served: Bundle,
    tmp_path: Path,
    wait_until: WaitUntil,
    sign: signal.Signals,
) -> None:
    table = tmp_path / "out.csv"
    words = ["-m", "app", "classify", photos, "--csv", table, "--model", served.path, "--jobs", "1"]
    with subprocess.Popen(
        [sys.executable, *map(str, words)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until(lambda: table.exists() and table.read_text().count("\n") > 3)
        process.send_signal(sign)
        _, said = process.communicate(timeout=30)
    rows = table.read_text()
    assert 3 < rows.count("\n") < 61
    assert whole.startswith(rows)
    if sign == signal.SIGINT:
        assert process.returncode == 130
        assert f"--csv {table} --resume continues" in said
        assert "Traceback" not in said
    with table.open("a") as file:
        file.write(whole[len(rows) :][:20])  # what a crash in the midst of a row leaves
    resumed = classify(photos, "--csv", table, "--resume")
    assert f"{rows.count(chr(10)) - 1} photos were in {table} already" in resumed.stderr
    assert table.read_text() == whole
    again = classify(photos, "--csv", table, "--resume")
    # One photo cannot be read: it was tried again, and its row is now the last.
    assert again.exit_code == 1
    assert sorted(table.read_text().splitlines()) == sorted(whole.splitlines())


def test_photos_that_could_not_be_read_are_tried_again(
    classify: Classify, photos: Path, small_photo: bytes, tmp_path: Path
) -> None:
    folder, table = tmp_path / "photos", tmp_path / "out.csv"
    folder.mkdir()
    for name, content in (("a", b"no photo"), ("b", b""), ("d", small_photo)):
        (folder / f"{name}.jpg").write_bytes(content)
    shutil.copy(photos / "001.jpg", folder / "c.jpg")
    assert "2 of 4" in classify(folder, "--csv", table).stderr
    before = table.read_text().splitlines()
    shutil.copy(photos / "002.jpg", folder / "a.jpg")
    resumed = classify(folder, "--csv", table, "--resume")
    assert "2 photos were in" in resumed.stderr
    assert "2 photos that could not be read before were tried again" in resumed.stderr
    assert "1 of 2 photos could not be read" in resumed.stderr
    assert resumed.exit_code == 1
    header, *rows = table.read_text().splitlines()
    assert header == before[0]
    assert rows[:2] == before[3:]  # c, and d, which was read and is too small
    assert [row.split(",")[0] for row in rows[2:]] == ["a.jpg", "b.jpg"]
    assert float(rows[2].split(",")[3]) > 0


def test_rows_of_photos_that_could_not_be_read_stay_where_they_are_not_tried_again(
    classify: Classify, photos: Path, tmp_path: Path
) -> None:
    folder, other, table = tmp_path / "photos", tmp_path / "other", tmp_path / "out.csv"
    for each, photo in ((folder, "001.jpg"), (other, "002.jpg")):
        each.mkdir()
        (each / "bad.jpg").write_bytes(b"no photo")
        shutil.copy(photos / photo, each / "good.jpg")
    classify(folder, "--csv", table)
    before = table.read_text()
    (folder / "bad.jpg").unlink()
    assert classify(folder, "--csv", table, "--resume").exit_code == 0
    assert table.read_text() == before
    refused = classify(other, "--csv", table, "--resume")
    assert "rows are of other photos" in refused.stderr
    assert table.read_text() == before


def test_a_table_is_never_overwritten(classify: Classify, photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    classify(photos / "001.jpg", "--csv", table)
    before = table.read_text()
    refused = classify(photos / "002.jpg", "--csv", table)
    assert (refused.exit_code, table.read_text()) == (1, before)
    assert "--resume" in refused.stderr


def test_a_table_of_another_model_or_way_is_not_continued(
    classify: Classify, photos: Path, tmp_path: Path, make_bundle: MakeBundle
) -> None:
    table = tmp_path / "out.csv"
    classify(photos / "001.jpg", "--csv", table)
    resume = (photos / "002.jpg", "--csv", table, "--resume")
    assert "was written without --stability" in classify(*resume, "--stability").stderr
    other = make_bundle(files={CARD: b"# Another"})
    refused = classify(*resume, "--model", other.path)
    assert f"this is model {other.manifest.version}" in refused.stderr
    assert classify(*resume).exit_code == 0
    assert table.read_text().count("\n") == 3


def test_a_table_of_other_photos_with_the_same_names_is_not_continued(
    classify: Classify, photos: Path, tmp_path: Path
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, photo in ((one, "001.jpg"), (other, "002.jpg")):
        folder.mkdir()
        shutil.copy(photos / photo, folder / "IMG_0001.jpg")
    table = tmp_path / "out.csv"
    classify(one, "--csv", table)
    before = table.read_text()
    refused = classify(other, "--csv", table, "--resume")
    assert (refused.exit_code, table.read_text()) == (1, before)
    assert "rows are of other photos" in refused.stderr


@pytest.mark.skipif(
    not Path("/dev/full").exists(),
    reason="there is no /dev/full, on which writing fails as on a full disk",
)
def test_a_file_that_cannot_be_written_is_told_before_the_first_photo(
    classify: Classify, photos: Path
) -> None:
    result = classify(photos, "--csv", "/dev/full")
    assert result.exit_code == 1
    assert "/dev/full cannot be written: No space left" in result.stderr
    assert "photos" not in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_to_a_table_stays_a_link(classify: Classify, photos: Path, tmp_path: Path) -> None:
    link, table = tmp_path / "link.csv", tmp_path / "table.csv"
    link.symlink_to(table)
    for more in ((), ("--resume",)):
        assert classify(photos / "001.jpg", "--csv", link, *more).exit_code == 0
        assert link.is_symlink()
        assert table.read_text().startswith("name,")


def test_a_file_that_cannot_be_written_is_told_before_the_model_is_loaded(
    classify: Classify, photos: Path, tmp_path: Path
) -> None:
    for name in ("a" * 300, "here/below"):
        (tmp_path / "here").write_text("a file")
        result = classify(photos, "--csv", tmp_path / name, "--model", tmp_path / "missing")
        assert (result.exit_code, result.stdout) == (1, "")
        assert name in result.stderr
        assert "missing" not in result.stderr.replace("is missing", "")
    refused = classify(photos, "--csv", tmp_path / "new.csv", "--model", tmp_path / "missing")
    assert "missing" in refused.stderr
    assert not (tmp_path / "new.csv").exists()


@pytest.mark.skipif(os.name == "nt", reason="a signal there ends the process without a choice")
def test_an_interrupt_while_the_command_starts_leaves_no_traceback(tmp_path: Path) -> None:
    slow = 'import time\nprint("importing", flush=True)\ntime.sleep(60)'
    (tmp_path / "click.py").write_text(slow)
    with subprocess.Popen(
        [sys.executable, "-m", "app", "classify", "."],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert said == ""


def test_a_photo_is_read_from_standard_input(classify: Classify, photos: Path, whole: str) -> None:
    result = classify("-", given=(photos / "001.jpg").read_bytes())
    header, row = result.stdout.splitlines()
    assert header == ",".join(COLUMNS)
    assert row == "stdin" + whole.splitlines()[1].removeprefix("001.jpg")


def test_lines_tell_how_far_it_came_where_there_is_no_terminal(
    classify: Classify, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.progress, "LINE_SECONDS", 0)
    lines = classify(photos / "001.jpg", photos / "002.jpg", photos / "003.jpg").stderr.splitlines()
    assert [line.rpartition(",")[0] for line in lines] == ["1 of 3 photos", "2 of 3 photos"]
    assert lines[0].endswith(" left")


@pytest.mark.skipif(
    os.name == "nt" or sys.platform == "darwin",
    reason="a file's name there is always a text, so none can be wrong UTF-8",
)
def test_a_name_that_is_no_text_is_written_with_escapes(
    classify: Classify, photos: Path, tmp_path: Path
) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / name).write_bytes((photos / "001.jpg").read_bytes())
    table = tmp_path / "out.csv"
    assert classify(tmp_path, "--csv", table).exit_code == 0
    assert "caf\\udce9.jpg," in table.read_text()


def test_the_version_is_told() -> None:
    assert VERSION in CliRunner().invoke(main, ["--version"]).stdout
