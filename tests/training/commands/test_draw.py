from pathlib import Path

import pandas as pd
from click.testing import CliRunner
from etils import epath

from training.__main__ import main
from training.build.sources import read_sources
from training.data.vocabulary import TARGETS


def test_drawn_lesions_are_a_source_for_a_build(tmp_path: Path) -> None:
    command = ["draw", "--out", str(tmp_path / "drawn"), "--images", "8", "--side", "32"]
    result = CliRunner().invoke(main, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    listing = read_sources(TARGETS["melanoma"], csv=[epath.Path(tmp_path / "drawn/drawn.csv")])
    assert listing.warnings == ()
    assert listing.cases["target"].tolist() == [1, 0, 0, 0, 1, 0, 0, 0]
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == [
        "drawn.csv",
        *(f"drawn{number:04d}.jpg" for number in range(8)),
    ]


def test_drawing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        command = ["draw", "--out", str(tmp_path / name), "--images", "2", "--side", "32"]
        CliRunner().invoke(main, command, catch_exceptions=False)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()
    assert pd.read_csv(tmp_path / "one/drawn.csv")["diagnosis"].tolist() == ["melanoma", "nevus"]
