import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from etils import epath
from PIL import Image

from processing.drawing import draw_lesion
from tests.isic import METADATA, needs
from tests.training.archives import write_isic2020
from training.__main__ import main
from training.data.folder import Build, read_build
from training.errors import TrainingError

ROOT = Path(__file__).parents[3]
BUILD = ["build", "--isic2019", ".", "--out", "x"]
SQUARE = ["--size", "64", "--crop", "1"]
TRAIN = ["train", "--data", ".", "--run", "x"]
COMPARE = ["compare", "--data", ".", "--run", "x"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (BUILD, "--preset or --size with --crop"),
        ([*BUILD, "--size", "64"], "--size and --crop FRACTION go together"),
        ([*BUILD, "--size", "64", "--crop", "a=1"], "--size and --crop FRACTION go together"),
        ([*BUILD, *SQUARE, "--crop", "a=0"], "'--crop': 0"),
        ([*BUILD, *SQUARE, "--crop", "a=1.5"], "'--crop': 1.5"),
        ([*BUILD, *SQUARE, "--crop", "a=half"], "'--crop': 'half' is not a valid float"),
        ([*BUILD, *SQUARE, "--crop", "=0.5"], "Give SOURCE=FRACTION"),
        ([*BUILD, *SQUARE, "--crop", "0.5"], "one FRACTION for all sources, and one for each"),
        ([*BUILD, *SQUARE, *("--crop", "a=0.5") * 2], "one FRACTION for all sources"),
        ([*BUILD, *SQUARE, "--size", "224", "--preset", "224"], "Two data sets have the same size"),
        ([*BUILD[:-2], *SQUARE], "Give --out"),
        ([*BUILD, *SQUARE, "--with-ak"], "--with-ak needs --target malignant"),
        ([*BUILD, *SQUARE, "--isic2020-csv", "."], "--isic2020-csv need --plan"),
        ([*BUILD, *SQUARE, "--runner-option", "a=b"], "--runner-option needs --runner"),
        ([*BUILD, "--size", "7", "--crop", "1"], "'--size': 7"),
        ([*BUILD, "--size", "64", "--crop", "0"], "'--crop': 0"),
        ([*TRAIN, "--epochs", "0"], "'--epochs': 0"),
        ([*TRAIN, "--learning-rate", "0"], "'--learning-rate': 0"),
        (["inspect", ".", "--image", "x"], "--image needs --augmented"),
        (["inspect", ".", "--augment", "zoom=0"], "--augment needs --augmented"),
        (["compare", "--run", "x"], "Give --data"),
        (
            [*COMPARE, "--reference", "bce-decay-64"],
            "--reference bce-decay-64 is not one of bce-cyc",
        ),
        (
            [*COMPARE, "--loss", "bce", "--schedule", "decay", "--batch-size", "8"],
            "give a second --loss, --schedule or --batch-size",
        ),
        (["publish", "no-such", "store"], "'no-such' does not exist"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert complaint in result.output


@pytest.mark.parametrize(
    "command",
    [
        ["publish", ".", "gs://bucket"],
        ["build", "--csv", "{folder}/drawn.csv", *SQUARE, "--out", "{folder}/drawn.csv/out"],
    ],
    ids=["a store", "a place to write to"],
)
def test_a_fault_of_the_input_is_one_line_without_a_traceback(
    command: list[str], tmp_path: Path
) -> None:
    (tmp_path / "drawn.csv").write_text("image,target\ndrawn,1\n")
    Image.new("RGB", (64, 64)).save(tmp_path / "drawn.jpg")
    command = [word.format(folder=tmp_path) for word in command]
    done = subprocess.run(
        [sys.executable, "-m", "training", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize(("option", "value"), [("--extra", "archive"), ("--crop", "archive=0.7")])
def test_a_source_of_an_option_that_is_not_there_is_named(
    tmp_path: Path, option: str, value: str
) -> None:
    (tmp_path / "drawn.csv").write_text("image,target\ndrawn,1\n")
    Image.new("RGB", (64, 64)).save(tmp_path / "drawn.jpg")
    command = ["--csv", str(tmp_path / "drawn.csv"), option, value, "--plan"]
    result = CliRunner().invoke(main, ["build", *command])
    assert isinstance(result.exception, TrainingError)
    assert str(result.exception) == f"{option} archive: the sources are drawn."


def test_the_crop_of_a_source_is_recorded_with_a_warning_if_it_is_scored(tmp_path: Path) -> None:
    rows = ["image,target,source"]
    for i in range(12):
        image = Image.fromarray(draw_lesion(i, 48, irregular=i % 2 == 0))
        image.save(tmp_path / f"drawn{i}.png")
        rows.append(f"drawn{i},{int(i % 2 == 0)},{'field' if i < 4 else 'plain'}")
    (tmp_path / "drawn.csv").write_text("\n".join(rows))
    common = ["build", "--csv", str(tmp_path / "drawn.csv"), "--size", "32", "--shards", "2"]
    crops = ["--crop", "1", "--crop", "field=0.7"]
    for name, extra in (("scored", []), ("extra", ["--extra", "field"])):
        options = [*common, *crops, *extra, "--out", str(tmp_path / name)]
        CliRunner().invoke(main, options, catch_exceptions=False)
        built = read_build(epath.Path(tmp_path / name))
        assert isinstance(built, Build)
        assert built.settings.source_crops == {"field": 0.7}
        assert built.settings.crop_fraction == 1
        warned = any("--crop field=0.7: folds are scored" in text for text in built.warnings)
        assert warned == (name == "scored")


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["build", "--isic2020", str(tmp_path), "--plan"])
    assert isinstance(result.exception, TrainingError)
    assert f"{tmp_path} holds none of train.csv" in str(result.exception)


def test_a_plan_shows_warnings_and_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive = write_isic2020(tmp_path / "isic2020", patients=8)
    (archive / "train" / "DRAWN20_0000000.jpg").unlink()
    command = ["build", "--isic2020", str(archive), "--plan", "--per-patient-site", "1"]
    result = CliRunner().invoke(main, command, catch_exceptions=False)
    assert "DRAWN20_0000000" in caplog.text
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["listed", "16", "2", "16", "2"] in lines
    assert ["-", "absent", "1", "1", "1", "1"] in lines
    assert ["=", "kept", "9", "1", "9", "1"] in lines


def test_a_strict_plan_makes_warnings_fatal(tmp_path: Path) -> None:
    archive = write_isic2020(tmp_path / "isic2020", patients=8)
    (archive / "train" / "DRAWN20_0000000.jpg").unlink()
    result = CliRunner().invoke(main, ["build", "--isic2020", str(archive), "--plan", "--strict"])
    assert isinstance(result.exception, TrainingError)
    assert "DRAWN20_0000000" in str(result.exception)


@needs(METADATA)
def test_a_plan_of_both_years_needs_no_images() -> None:
    command = ["--isic2019-csv", str(METADATA), "--isic2020-csv", str(METADATA)]
    result = CliRunner().invoke(main, ["build", "--plan", *command], catch_exceptions=False)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["listed", "25,331", "4,522", "33,126", "584", "58,457", "5,106"] in lines
    assert ["=", "kept", "25,331", "4,522", "32,701", "581", "58,032", "5,103"] in lines
