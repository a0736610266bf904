"""axe-core on every state of the page: at a desk, in the dark, on a narrow German phone.

With `SCREENSHOTS=FOLDER` (`make screenshots`) it leaves a picture of each.
"""

import os
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

PLACES = {
    "desk": {"viewport": {"width": 1100, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 800, "height": 800}},
    "phone": {"locale": "de-DE", "viewport": {"width": 360, "height": 740}},
}
STATES = ("empty", "chosen", "answer", "several", "refused", "problem", "model", "docs", "missing")


def reach(page, server, state, photo, small_photo, tmp_path):
    """Bring the page into a state."""
    if state in ("model", "docs", "missing"):
        page.goto(f"{server}/{state}")
        return
    files = {"a.jpg": photo, "b.jpg": small_photo, "c.jpg": b"no image"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    chosen = {
        "empty": [],
        "chosen": ["a.jpg"],
        "answer": ["a.jpg"],
        "several": ["a.jpg", "b.jpg", "c.jpg"],
        "refused": ["b.jpg"],
        "problem": ["c.jpg"],
    }[state]
    page.locator("#photos").set_input_files([tmp_path / name for name in chosen])
    if state not in ("empty", "chosen"):
        page.locator("#send").click()
        expect(page.locator("#result h2:visible").last).to_be_visible()
        expect(page.locator("#progress")).to_be_hidden()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("place", PLACES)
def test_axe_finds_nothing(open_page, server, state, place, photo, small_photo, tmp_path):
    page = open_page(**PLACES[place])
    reach(page, server, state, photo, small_photo, tmp_path)
    if folder := os.environ.get("SCREENSHOTS"):
        picture = Path(folder) / f"{state}-{place}.jpg"
        page.screenshot(path=picture, type="jpeg", quality=80, full_page=True)
    results = Axe().run(page)
    found = [(v["id"], v["nodes"][0]["html"][:200]) for v in results.response["violations"]]
    assert found == []
