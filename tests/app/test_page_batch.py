"""Many photos on the page: a table that stays, sorts, filters, downloads and prints."""

import csv
import io
import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Dialog, Locator, Page, expect

from processing.drawing import draw_photo
from processing.refusals import explain_unreadable
from tests.app.browser import choose, send
from tests.app.fixture_types import OpenPage


@pytest.fixture
def drawn(tmp_path: Path) -> list[Path]:
    """Photos of drawn lesions, of which every other is irregular."""
    files = [tmp_path / f"photo{i}.jpg" for i in range(19)]
    for i, file in enumerate(files):
        Image.fromarray(draw_photo(i, 320, irregular=i % 2 == 0)).save(file, quality=92)
    return files


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A file that is no photo."""
    path = tmp_path / "broken.jpg"
    path.write_text("no image")
    return path


def list_rows(page: Page) -> Locator:
    return page.locator("#overview tbody tr:not([hidden])")


def read_names(page: Page) -> list[str | None]:
    return [row.get_attribute("data-name") for row in list_rows(page).all()]


def read_csv(page: Page) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.locator("#overview").get_by_role("button", name="Download as CSV").click()
    return list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8"))))


def test_twenty_photos_get_a_table_that_sorts_and_downloads(
    open_page: OpenPage, drawn: list[Path], tmp_path: Path, small_photo: bytes
) -> None:
    small = tmp_path / "=small.jpg"
    small.write_bytes(small_photo)
    page = open_page()
    send(page, *drawn, small)
    rows = list_rows(page)
    expect(rows).to_have_count(20, timeout=60_000)
    expect(page.locator("#progress")).to_be_hidden()
    expect(page.locator("#result .answer")).to_have_count(20)
    expect(page.locator("#result .facts")).to_have_count(1)
    assert read_names(page) == [file.name for file in [*drawn, small]]  # in the order chosen
    page.get_by_role("button", name="Score").click()
    sent = [row.get_attribute("data-probability") or "" for row in rows.all()]
    assert sent[-1] == ""
    assert [float(p) for p in sent[:-1]] == sorted(map(float, sent[:-1]), reverse=True)
    expect(page.get_by_role("columnheader", name="Score")).to_have_attribute(
        "aria-sort", "descending"
    )
    table = read_csv(page)
    assert [row["probability"] for row in table] == sent
    assert table[-1]["name"] == "'=small.jpg"  # no formula in a spreadsheet
    assert table[-1]["reasons"] == "too_small"
    assert table[-1]["verdict"] == ""
    assert {row["verdict"] for row in table[:-1]} <= {"high", "middle", "low"}
    assert {row["label"] for row in table[:-1]} == {"malignant", "benign"}
    assert {row["modality"] for row in table[:-1]} <= {"dermoscopic", "close-up"}
    assert float(table[0]["lowest"]) <= float(sent[0]) <= float(table[0]["highest"])
    page.get_by_role("button", name="Result", exact=True).click()
    verdicts = [row.get_attribute("data-verdict") or "" for row in rows.all()]
    order = ["high", "middle", "low", ""]
    assert verdicts == sorted(verdicts, key=order.index)


def test_further_photos_are_added_to_the_results(open_page: OpenPage, drawn: list[Path]) -> None:
    page = open_page()
    send(page, drawn[0])
    expect(page.locator("#result .answer")).to_have_count(1)
    expect(page.locator("#overview")).to_be_hidden()
    send(page, *drawn[1:3])
    expect(list_rows(page)).to_have_count(3)
    assert read_names(page) == ["photo0.jpg", "photo1.jpg", "photo2.jpg"]
    expect(page.locator("#overview .thumb img")).to_have_count(3)


def test_a_row_opens_its_card_and_the_card_leads_back(
    open_page: OpenPage, drawn: list[Path]
) -> None:
    page = open_page()
    send(page, *drawn[:4])
    expect(list_rows(page)).to_have_count(4)
    expect(page.locator("#result .answer:visible")).to_have_count(0)
    page.get_by_role("link", name="photo2.jpg").press("Enter")
    card = page.locator("#result .answer:visible")
    expect(card).to_have_count(1)
    expect(card).to_be_focused()
    expect(card).to_contain_text("photo2.jpg")
    card.get_by_role("link", name="Back to the table").click()
    expect(page.locator("#overview")).to_be_in_viewport()


def test_failed_photos_are_rows_with_their_reason(
    open_page: OpenPage, drawn: list[Path], broken: Path
) -> None:
    page = open_page()
    send(page, broken, *drawn[:1])
    expect(list_rows(page)).to_have_count(2)
    expect(list_rows(page).first).to_contain_text("Not a photo we can read")
    assert [row["reasons"] for row in read_csv(page)] == [str(explain_unreadable(b"no image")), ""]
    # It is still in the list, and its row is not doubled when it is sent again.
    page.locator("#send").click()
    expect(page.locator("#progress")).to_be_hidden()
    expect(list_rows(page)).to_have_count(2)
    assert read_names(page) == ["broken.jpg", "photo0.jpg"]
    expect(page.locator("#result .problem")).to_have_count(1)


def test_photos_of_which_all_fail_get_their_table(
    open_page: OpenPage, drawn: list[Path], broken: Path, tmp_path: Path
) -> None:
    empty, large = tmp_path / "empty.jpg", tmp_path / "large.heic"
    empty.touch()
    large.write_bytes(bytes(21_000_000))
    page = open_page()
    send(page, broken, empty, large)
    expect(page.locator("#progress")).to_be_hidden()
    rows = list_rows(page)
    expect(rows).to_have_count(3)
    expect(page.locator("#overview")).to_be_visible()
    expect(rows.nth(0)).to_contain_text("Not a photo we can read")
    expect(rows.nth(1)).to_contain_text("The photo is damaged")
    expect(rows.nth(2)).to_contain_text("large.heic has 21 MB, but at most 20 MB can be sent")
    reasons = [row["reasons"] for row in read_csv(page)]
    assert reasons[1] == "The file is empty. Choose the photo again."
    # What comes with the first answer is not missing later on.
    send(page, *drawn[:2])
    expect(page.locator("#progress")).to_be_hidden()
    expect(page.locator("#result .answer")).to_have_count(2)
    assert read_names(page) == ["broken.jpg", "empty.jpg", "large.heic", "photo0.jpg", "photo1.jpg"]
    expect(page.locator("#overview")).to_have_count(1)
    expect(page.locator("#result .facts")).to_have_count(1)
    expect(page.locator("#result .problem")).to_have_count(2)


def test_after_a_clear_a_failed_batch_gets_a_table_again(
    open_page: OpenPage, drawn: list[Path], broken: Path
) -> None:
    page = open_page()
    page.on("dialog", lambda dialog: dialog.accept())
    send(page, *drawn[:2])
    expect(list_rows(page)).to_have_count(2)
    page.get_by_role("button", name="Clear the results").click()
    send(page, broken, broken)
    expect(list_rows(page)).to_have_count(2)


def test_the_table_can_be_filtered(open_page: OpenPage, drawn: list[Path], broken: Path) -> None:
    page = open_page()
    send(page, *drawn[:6], broken)
    expect(list_rows(page)).to_have_count(7)
    expect(page.locator("#progress")).to_be_hidden()
    page.locator("#filter").select_option("Without a result")
    assert read_names(page) == ["broken.jpg"]
    table = read_csv(page)
    assert len(table) == 7  # all of them
    verdicts = {row["verdict"] for row in table} - {""}
    assert len(verdicts) > 1
    for verdict in verdicts:
        page.locator("#filter").select_option(verdict)
        wanted = [row["name"] for row in table if row["verdict"] == verdict]
        assert read_names(page) == wanted


def test_the_page_warns_before_it_loses_results(open_page: OpenPage, drawn: list[Path]) -> None:
    page = open_page()
    asked: list[str] = []

    def refuse(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", refuse)
    send(page, *drawn[:2])
    expect(list_rows(page)).to_have_count(2)
    page.get_by_role("link", name="API").click(no_wait_after=True)
    page.get_by_role("button", name="Clear the results").click()
    expect(list_rows(page)).to_have_count(2)
    assert asked == ["beforeunload", "confirm"]
    page.remove_listener("dialog", refuse)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Clear the results").click()
    expect(page.locator("#result")).to_be_empty()
    send(page, drawn[2])
    expect(page.locator("#result .answer")).to_have_count(1)


def test_the_table_prints_ten_photos_on_a_page(open_page: OpenPage, drawn: list[Path]) -> None:
    page = open_page()
    send(page, *drawn, drawn[0])
    expect(list_rows(page)).to_have_count(20, timeout=60_000)
    expect(page.locator("#progress")).to_be_hidden()
    page.emulate_media(media="print")
    expect(page.locator("#result .answer:visible")).to_have_count(0)
    # Two pages of rows, and what the figures are worth.
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) == 3


def test_two_hundred_photos_are_taken_and_no_more(open_page: OpenPage, drawn: list[Path]) -> None:
    page = open_page()
    choose(page, *[drawn[i % 19] for i in range(201)])
    expect(page.locator("#previews li")).to_have_count(200)
    expect(page.get_by_role("status")).to_have_text("Only the first 200 photos were added.")
