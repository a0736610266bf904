"""axe-core on every state of the page: at a desk, in the dark, on a narrow German phone.

With `SCREENSHOTS=FOLDER` (`make screenshots`) each state's picture is written to that folder, and
those that the documents show to its subfolder `documents`.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from app.examples import FOLDER as EXAMPLES
from tests.app.fixture_types import OpenPage, StartServer

PLACES: dict[str, dict[str, Any]] = {
    "desk": {"viewport": {"width": 1100, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 800, "height": 800}},
    "phone": {"locale": "de-DE", "viewport": {"width": 360, "height": 740}},
}
STATES = ("empty", "chosen", "answer", "several", "refused", "problem", "model", "docs", "missing")
# What the documents show of a state: the page from its top to the end of this element.
SHOWN = {
    ("answer", "desk"): "#result .answer",
    ("several", "dark"): "#result .answer",
    ("answer", "phone"): "#result .answer",
}


@pytest.fixture(scope="module")
def server(start_server: StartServer) -> str:
    """The app as `make run` starts it, with its check for photos without a lesion."""
    return start_server()


def reach(page: Page, server: str, state: str, small_photo: bytes, tmp_path: Path) -> None:
    """Bring the page into a state."""
    if state in ("model", "docs", "missing"):
        page.goto(f"{server}/{state}")
        return
    for name, content in {"small.jpg": small_photo, "broken.jpg": b"no image"}.items():
        (tmp_path / name).write_bytes(content)
    drawn = [EXAMPLES / f"{name}.jpg" for name in ("ragged", "even", "red")]
    small, broken = tmp_path / "small.jpg", tmp_path / "broken.jpg"
    chosen = {
        "empty": [],
        "chosen": drawn[:1],
        "answer": drawn[:1],
        "several": [*drawn, small, broken],
        "refused": [small],
        "problem": [broken],
    }[state]
    page.locator("#photos").set_input_files(chosen)
    if state not in ("empty", "chosen"):
        page.locator("#send").click()
        expect(page.locator("#result h2:visible").last).to_be_visible()
        expect(page.locator("#progress")).to_be_hidden()


def take_pictures(page: Page, folder: Path, state: str, place: str) -> None:
    """Write the whole page and, where the documents show the state, that part of it."""
    quality: dict[str, Any] = {"type": "jpeg", "quality": 80, "full_page": True}
    page.screenshot(path=folder / f"{state}-{place}.jpg", **quality)
    if (state, place) in SHOWN:
        page.evaluate("scrollTo(0, 0)")
        box = page.locator(SHOWN[state, place]).first.bounding_box()
        assert box
        assert page.viewport_size
        width, height = page.viewport_size["width"], box["y"] + box["height"] + 24
        path = folder / "documents" / f"{state}-{place}.jpg"
        page.screenshot(
            path=path, clip={"x": 0, "y": 0, "width": width, "height": height}, **quality
        )


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("place", PLACES)
def test_axe_finds_nothing(
    open_page: OpenPage, server: str, state: str, place: str, small_photo: bytes, tmp_path: Path
) -> None:
    page = open_page(**PLACES[place])
    reach(page, server, state, small_photo, tmp_path)
    if folder := os.environ.get("SCREENSHOTS"):
        take_pictures(page, Path(folder), state, place)
    # Nothing is wider than its card, such as a table with a long German word.
    wider = "cards => cards.filter(each => each.scrollWidth > each.clientWidth).length"
    assert page.locator(".card:visible").evaluate_all(wider) == 0
    results = Axe().run(page)
    found = [(v["id"], v["nodes"][0]["html"][:200]) for v in results.response["violations"]]
    assert found == []
