from collections.abc import Iterator
from pathlib import Path

import pytest

from processing.files import filling, replacing


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("locked", [False, True])
def test_a_file_is_replaced_once_it_is_written(tmp_path: Path, locked: bool) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with replacing(path, locked=locked, sync=True) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert partial.suffix == ".csv"
    assert path.read_text() == "new"
    assert names_in(tmp_path) == ["table.csv"]


def test_a_file_whose_writing_fails_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def lines() -> Iterator[str]:
        yield "half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), replacing(path) as partial, partial.open("w") as file:
        file.writelines(lines())
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["table.csv"]


@pytest.mark.parametrize("locked", [False, True])
def test_what_a_killed_process_left_does_not_hinder_the_next(tmp_path: Path, locked: bool) -> None:
    folder = tmp_path / "bundle"
    with filling(folder, locked=locked) as partial:
        left = partial
    left.mkdir()
    (left / "half").touch()
    folder.rmdir()
    with filling(folder, locked=locked, sync=True) as partial:
        (partial / "whole").touch()
    assert names_in(tmp_path) == ["bundle"]
    assert names_in(folder) == ["whole"]


def test_under_a_lock_all_that_was_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".partial-another").mkdir()
    (tmp_path / ".partial-note.json").touch()
    with filling(tmp_path / "bundle", locked=True):
        pass
    assert names_in(tmp_path) == ["bundle"]


def test_a_folder_that_exists_is_replaced_under_a_lock_alone(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(OSError, match="bundle"), filling(folder) as partial:
        (partial / "new").touch()
    assert names_in(folder) == ["old"]
    with filling(folder, locked=True) as partial:
        (partial / "new").touch()
    assert names_in(folder) == ["new"]
    assert names_in(tmp_path) == ["bundle"]
