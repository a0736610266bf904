"""The page of the API's description: its examples run as printed, and one can try a call there."""

import html
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from app.examples import FOLDER as EXAMPLES
from tests.app.fixture_types import OpenPage, StartServer
from tests.app.test_accessibility import PLACES

KEY = "the-key-of-a-clinic"


@pytest.fixture(scope="module")
def server(start_server: StartServer) -> str:
    return start_server(API_KEYS=KEY, RATE_LIMIT="30 per minute")


def read_example(server: str, start: str) -> str:
    """The example that begins so, as a reader copies it."""
    with urllib.request.urlopen(f"{server}/docs") as answer:
        page = answer.read().decode()
    blocks = re.findall(r"<pre[^>]*><code>(.*?)</code></pre>", page, re.DOTALL)
    (found,) = (html.unescape(block) for block in blocks if block.startswith(start))
    return found


def test_the_example_in_python_runs_as_printed(server: str, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes((EXAMPLES / "ragged.jpg").read_bytes())
    (tmp_path / "example.py").write_text(read_example(server, "import requests"))
    ran = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert re.fullmatch(r"photo\.jpg high 0\.\d+\n", ran.stdout), ran.stderr


def test_the_example_of_a_command_runs_as_printed(server: str, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes((EXAMPLES / "ragged.jpg").read_bytes())
    ran = subprocess.run(
        read_example(server, "curl").split(), cwd=tmp_path, capture_output=True, check=True
    )
    (image,) = json.loads(ran.stdout)["images"]
    assert image["verdict"] == "high"


def try_call(page: Page, server: str, *names: str, key: str = "") -> str:
    """Send examples by the form, and return what it shows."""
    page.goto(f"{server}/docs")
    page.locator("#try-image").set_input_files([EXAMPLES / name for name in names])
    page.locator("#try-stability").check()
    page.locator("#try-key").fill(key)
    page.locator("#try button").click()
    expect(page.locator("#tried")).to_contain_text("Status")
    return page.locator("#tried").inner_text()


def test_a_call_can_be_tried(open_page: OpenPage, server: str) -> None:
    page = open_page()
    shown = try_call(page, server, "ragged.jpg", "even.jpg", key=KEY)
    assert "Status 200" in shown
    assert re.search("X-Request-ID: [0-9a-f]{32}", shown)
    answers = json.loads(shown[shown.index("{") :])
    assert [image["name"] for image in answers["images"]] == ["ragged.jpg", "even.jpg"]
    assert answers["images"][0]["verdict"] == "high"
    assert answers["images"][0]["stability"]
    assert len(answers["images"][0]["heatmap"]) < 200  # and not the whole picture


def test_a_call_that_fails_shows_why(open_page: OpenPage, server: str) -> None:
    page = open_page()
    page.route("**/predict", lambda route: route.abort())
    page.goto(f"{server}/docs")
    page.locator("#try-image").set_input_files(EXAMPLES / "ragged.jpg")
    page.locator("#try button").click()
    expect(page.locator("#tried")).to_contain_text("There was no answer")
    expect(page.locator("#try button")).to_be_enabled()
    page.unroute("**/predict")
    page.locator("#try-image").set_input_files(
        {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"no photo"}
    )
    page.locator("#try button").click()
    expect(page.locator("#tried")).to_contain_text("/problems/image-unsupported")


@pytest.mark.parametrize(
    ("language", "says"), [("en", "cannot contain"), ("de", "kann das Zeichen €")]
)
def test_a_key_that_no_header_can_hold_is_told(
    open_page: OpenPage, server: str, language: str, says: str
) -> None:
    page = open_page()
    page.goto(f"{server}/docs?lang={language}")
    page.locator("#try-image").set_input_files(EXAMPLES / "ragged.jpg")
    page.locator("#try-key").fill("a-key-of-20-€")
    page.locator("#try button").click()
    expect(page.locator("#tried")).to_contain_text(says)
    expect(page.locator("#tried")).to_contain_text("€")
    page.locator("#try-key").fill(KEY)
    page.locator("#try button").click()
    expect(page.locator("#tried")).to_contain_text("Status 200")


@pytest.mark.parametrize("place", PLACES)
def test_axe_finds_nothing_beside_an_answer(open_page: OpenPage, server: str, place: str) -> None:
    page = open_page(**PLACES[place])
    try_call(page, server, "ragged.jpg")
    results = Axe().run(page)
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in results.response["violations"]] == []
    wider = "cards => cards.filter(each => each.scrollWidth > each.clientWidth).length"
    assert page.locator(".card").evaluate_all(wider) == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_without_a_script_the_form_shows_the_page(open_page: OpenPage, server: str) -> None:
    page = open_page(java_script_enabled=False)
    page.goto(f"{server}/docs")
    page.locator("#try-image").set_input_files(EXAMPLES / "ragged.jpg")
    page.locator("#try button").click()
    expect(page.locator("#result .answer")).to_be_visible()
