"""axe-core on every state of the page: at a desk, in the dark, on a narrow German phone.

With `SCREENSHOTS=FOLDER` (`make screenshots`) each state's picture is written to that folder, and
those that the documents show to its subfolder `documents`.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page, Route, expect

from app.examples import FOLDER as EXAMPLES
from processing.drawing import draw_photo
from tests.app.fixture_types import OpenPage, StartServer

PLACES: dict[str, dict[str, Any]] = {
    "desk": {"viewport": {"width": 1440, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 768, "height": 1024}},
    "phone": {"locale": "de-DE", "viewport": {"width": 375, "height": 740}, "has_touch": True},
}
STATES = (
    *("empty", "chosen", "list", "sending", "waiting", "lost"),
    *(
        "answer",
        "middle",
        "uncertain",
        "low",
        "folded-out",
        "several",
        "many",
        "opened",
        "refused",
        "problem",
        "failed",
    ),
    *("model", "docs", "missing", "explained"),
)
ADDRESSES = {
    "model": "/model",
    "docs": "/docs",
    "missing": "/missing",
    "explained": "/problems/busy",
}
# What the server, or what is between, does instead of answering.
INTERRUPTED: dict[str, Callable[[Route], None]] = {
    "sending": lambda route: None,
    "waiting": lambda route: route.fulfill(status=429, headers={"Retry-After": "50"}),
    "lost": lambda route: route.abort(),
}
# What the documents show of a state: the page from its top to the end of this element.
SHOWN = {
    ("answer", "desk"): "#result .answer",
    ("many", "dark"): "#overview",
    ("answer", "phone"): "#result .answer",
}


@pytest.fixture(scope="module")
def server(start_server: StartServer) -> str:
    """The app as `make run` starts it, with its check for photos without a lesion."""
    return start_server()


def reach(page: Page, server: str, state: str, small_photo: bytes, tmp_path: Path) -> None:
    """Bring the page into a state."""
    if state in ADDRESSES:
        page.goto(server + ADDRESSES[state])
        return
    for name, content in {"small.jpg": small_photo, "broken.jpg": b"no image"}.items():
        (tmp_path / name).write_bytes(content)
    drawn = [EXAMPLES / f"{name}.jpg" for name in ("ragged", "even", "red")]
    small, broken = tmp_path / "small.jpg", tmp_path / "broken.jpg"
    for name, seed, irregular in (("middle", 0, True), ("uncertain", 9, False)):
        lesion = Image.fromarray(draw_photo(seed, 640, irregular=irregular))
        lesion.save(tmp_path / f"{name}.jpg", quality=92)
    all_kinds = [*drawn, small, broken]
    chosen = {
        "empty": [],
        "list": all_kinds,
        "low": drawn[1:2],
        "middle": [tmp_path / "middle.jpg"],
        "uncertain": [tmp_path / "uncertain.jpg"],
        "several": drawn[:2],
        "many": all_kinds,
        "opened": all_kinds,
        "refused": [small],
        "problem": [broken],
        "failed": [broken, broken],
    }
    page.locator("#photos").set_input_files(chosen.get(state, drawn[:1]))
    if state in INTERRUPTED:
        page.route("**/predict", INTERRUPTED[state])
    if state in ("empty", "chosen", "list"):
        expect(page.locator(".edit:not([disabled])")).to_have_count(len(chosen.get(state, "1")[:4]))
        return
    page.locator("#send").click()
    if state in INTERRUPTED:
        expect(page.get_by_role("status")).not_to_be_empty()
        return
    expect(page.locator("#result h2:visible").last).to_be_visible()
    expect(page.locator("#progress")).to_be_hidden()
    if state == "opened":
        page.locator("#overview a.file").first.click()
    if state == "folded-out":
        page.locator(".heat-switch").check()
        page.locator("summary").click()


def take_pictures(page: Page, folder: Path, state: str, place: str) -> None:
    """Write the whole page and, where the documents show the state, that part of it."""
    quality: dict[str, Any] = {"type": "jpeg", "quality": 80, "full_page": True}
    page.screenshot(path=folder / f"{state}-{place}.jpg", **quality)
    if (state, place) in SHOWN:
        # What stays at the foot of a phone's screen would lie across the picture.
        page.locator(".after").evaluate("each => { each.style.position = 'static'; }")
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
