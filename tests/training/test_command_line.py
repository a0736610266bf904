import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from training.__main__ import main

ROOT = Path(__file__).parents[2]


BUILD = ["build", "--isic2019", ".", "--out", "x"]
TRAIN = ["train", "--data", ".", "--run", "x"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["build", "--isic2019", "no-such"], "'no-such' does not exist"),
        ([*BUILD, "--size", "7", "--crop", "1"], "'--size': 7"),
        ([*BUILD, "--size", "64", "--crop", "0"], "'--crop': 0"),
        ([*TRAIN, "--epochs", "0"], "'--epochs': 0"),
        ([*TRAIN, "--learning-rate", "0"], "'--learning-rate': 0"),
        (["publish", "no-such", "store"], "'no-such' does not exist"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert complaint in result.output


def test_a_fault_of_the_input_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    command = ["publish", str(tmp_path), "gs://bucket"]
    done = subprocess.run(
        [sys.executable, "-m", "training", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: ")
