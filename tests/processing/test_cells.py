import pytest

from processing.cells import guard_cell, release_cell


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+49 30", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "'=1", "''=1", "=HYPERLINK()"],
)
def test_text_that_a_spreadsheet_would_run_is_guarded_and_read_back(text: str) -> None:
    assert guard_cell(text) == f"'{text}"
    assert release_cell(guard_cell(text)) == text


@pytest.mark.parametrize("text", ["", "ISIC_0000001", "a=1", "a-b", "'quoted'", "O'Brien", "''"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert guard_cell(text) == release_cell(text) == text
