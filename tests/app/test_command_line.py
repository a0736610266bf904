import csv
import html
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageFilter

import app
from app.command import main
from app.table import COLUMNS
from processing.bundle import Bundle
from tests.app.fixture_types import MakeBundle, Post
from tests.forms import HTML

Classify = Callable[..., Result]


@pytest.fixture
def classify(served: Bundle) -> Classify:
    """Run the command, on `served` where no other model is named."""

    def run(*arguments: object) -> Result:
        named = () if "--model" in arguments else ("--model", served.path)
        return CliRunner().invoke(main, ["classify", *map(str, (*arguments, *named))])

    return run


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_columns_are_those_of_the_pages_own_table() -> None:
    script = (Path(app.__file__).parent / "static" / "js" / "results.js").read_text("utf-8")
    (listed,) = re.findall(r"^const COLUMNS = (\[.*\]);$", script, re.MULTILINE)
    assert tuple(json.loads(listed)) == COLUMNS


@pytest.fixture
def folder(tmp_path: Path, photo: bytes, small_photo: bytes) -> Path:
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    (folder / "b.jpg").write_bytes(photo)
    (folder / "a.JPG").write_bytes(small_photo)
    (folder / "below" / "c.jpeg").write_bytes(photo)
    (folder / "notes.txt").write_text("no photo")
    return folder


def test_a_folder_is_classified_in_order_and_below(
    classify: Classify, folder: Path, served: Bundle, post: Post, photo: bytes
) -> None:
    result = classify(folder)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0].split(",") == list(COLUMNS)
    small, first, second = read(result.stdout)
    assert [row["name"] for row in (small, first, second)] == ["a.JPG", "b.jpg", "below/c.jpeg"]
    version = served.manifest.version
    assert small == dict.fromkeys(COLUMNS, "") | {
        "name": "a.JPG",
        "reasons": "too_small",
        "version": version,
    }
    (page,) = post(photo).get_json()["images"]
    for column in ("probability", "threshold"):
        assert float(first[column]) == pytest.approx(page[column], abs=1e-6)
    for column in ("label", "verdict", "modality"):
        assert first[column] == page[column]
    assert (first["reasons"], first["version"]) == ("", version)
    assert (first["lowest"], first["highest"], first["uncertain"]) == ("", "", "")
    assert "1 files were skipped" in result.stderr


def test_a_photo_has_the_same_row_on_the_page_and_the_same_reason_in_the_api(
    classify: Classify, folder: Path, post: Post, photo: bytes, small_photo: bytes
) -> None:
    blurred = io.BytesIO()
    Image.open(io.BytesIO(photo)).filter(ImageFilter.GaussianBlur(8)).save(blurred, "PNG")
    photos = [photo, small_photo, blurred.getvalue(), b"", b"GIF8", photo[: len(photo) // 2]]
    files = [folder / f"photo{i}.jpg" for i in range(len(photos))]
    for file, content in zip(files, photos, strict=True):
        file.write_bytes(content)
    rows = read(classify(*files, "--stability").stdout)
    page = post(*photos, headers=HTML).text
    shown = [
        {name: html.unescape(value) for name, value in re.findall('data-([a-z]+)="([^"]*)"', row)}
        for row in re.findall('<tr role="row" class="[a-z]+"( data-[^>]*)>', page)
    ]
    for file, row, other in zip(files, rows, shown, strict=True):
        assert row["name"] == str(file)
        assert row | {"name": file.name} == dict.fromkeys(COLUMNS, "") | other
    assert rows[2]["reasons"] == "blurred"
    assert rows[2]["probability"]
    problems = [each.get("error", {}).get("detail") for each in post(*photos).get_json()["images"]]
    assert [row["reasons"] for row in rows[3:]] == problems[3:]


def test_files_are_named_as_they_were_given(classify: Classify, folder: Path) -> None:
    given = [folder / "b.jpg", folder / "below"]
    rows = read(classify(*given).stdout)
    assert [row["name"] for row in rows] == [
        str(folder / "b.jpg"),
        str(folder / "below" / "c.jpeg"),
    ]


def test_a_name_that_a_spreadsheet_would_run_is_guarded(classify: Classify, folder: Path) -> None:
    (folder / "a.JPG").rename(folder / "=cmd().jpg")
    (folder / "b.jpg").write_bytes(b"no photo")
    (folder / "b.jpg").rename(folder / "@b.jpg")
    rows = read(classify(folder).stdout)
    assert [row["name"] for row in rows] == ["'=cmd().jpg", "'@b.jpg", "below/c.jpeg"]


def test_the_table_is_written_to_a_file(classify: Classify, folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    result = classify(folder, "--csv", table)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert len(read(table.read_text())) == 3
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_unreadable_photos_get_a_row_and_an_exit_code(classify: Classify, folder: Path) -> None:
    (folder / "b.jpg").write_bytes(b"no image")
    result = classify(folder)
    assert result.exit_code == 1
    row = read(result.stdout)[1]
    assert row["name"] == "b.jpg"
    assert (row["verdict"], row["label"], row["probability"]) == ("", "", "")
    assert "not a JPEG" in row["reasons"]
    assert "1 of 3 photos could not be read" in result.stderr


def test_the_orientations_are_looked_at_where_that_is_asked_for(
    classify: Classify, folder: Path
) -> None:
    small, first, _ = read(classify(folder, "--stability").stdout)
    assert float(first["lowest"]) < float(first["probability"]) < float(first["highest"])
    assert first["uncertain"] in ("true", "false")
    assert small["lowest"] == small["highest"] == small["uncertain"] == ""


def test_another_model_can_be_named(
    classify: Classify, folder: Path, make_bundle: MakeBundle, served: Bundle
) -> None:
    point = served.manifest.in_force.model_dump() | {"threshold": 0.0}
    bundle = make_bundle(operating_points=[point], operating_point=point["name"], modalities={})
    rows = read(classify(folder / "b.jpg", "--model", bundle.path).stdout)
    assert rows[0]["label"] == "malignant"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("missing.jpg",), "does not exist"),
        ((".", "--csv", "missing/out.csv"), "the folder missing is missing"),
        ((".", "--csv", "notes.txt"), "notes.txt is not a table"),
        ((".", "--csv", "notes.txt", "--resume"), "notes.txt is not a table"),
        ((".", "--resume"), "--csv FILE"),
        ((".", "--model", "missing"), "missing"),
        (("empty",), "No photos"),
    ],
)
def test_what_cannot_work_is_told_before_any_work(
    classify: Classify,
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    arguments: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    result = classify(*arguments)
    assert result.exit_code != 0
    assert says in result.stderr
    assert result.stdout == ""
    assert not isinstance(result.exception, (ValueError, OSError))


def test_a_damaged_model_is_named(
    classify: Classify, folder: Path, make_bundle: MakeBundle
) -> None:
    bundle = make_bundle()
    shutil.copy(folder / "b.jpg", bundle.path / "model.tflite")
    result = classify(folder, "--model", bundle.path)
    assert result.exit_code == 1
    assert "model.tflite has" in result.stderr
