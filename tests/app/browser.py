"""Chromium, for the tests of the page."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.app.fixture_types import OpenPage, Post

BROWSERS = ("chromium", "google-chrome", "chromium-browser")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# The browser notes each request that failed: a refused photo, and a connection that a test cut.
MEANT = re.compile(
    r"Failed to load resource: .*(status of (400|404|413|415|429|502|503)|ERR_FAILED)"
)
ANSWER = re.compile("Looks suspicious|Melanoma cannot be ruled out|Low score")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        message = f"none of {', '.join(BROWSERS)} is installed; `make browser` does"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, server: str) -> Iterator[OpenPage]:
    """Open the page; the test fails if it asked another host or the browser complained."""
    contexts, requests, complaints = [], [], []

    def open_(**options: Any) -> Page:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(server)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert [url for url in requests if not url.startswith((server, "data:", "blob:"))] == []
    assert [text for text in complaints if not MEANT.match(text)] == []


def choose(page: Page, *files: Path) -> None:
    page.locator("#photos").set_input_files(list(files))


def send(page: Page, *files: Path) -> None:
    choose(page, *files)
    page.locator("#send").click()


def expect_answer(page: Page, post: Post, photo: bytes) -> None:
    """The same as the API: label, verdict, probability to the digits shown, picture and overlay."""
    (image,) = post(photo).get_json()["images"]
    answer = page.locator("#result .answer")
    expect(answer).to_have_attribute("data-label", image["label"])
    shown = float(answer.get_attribute("data-probability") or "nan")
    assert shown == pytest.approx(image["probability"], abs=1e-6)
    expect(answer.locator("h2")).to_have_text(ANSWER)
    expect(answer.locator(".score")).to_contain_text("%")
    expect(answer).to_have_attribute("data-verdict", image["verdict"])
    zone = image["verdict"].capitalize()
    expect(answer.get_by_role("img", name=f"in this one: {zone}")).to_be_visible()
    expect(answer.get_by_text("turned and mirrored, the same photo gives")).to_be_visible()
    expect(answer.get_by_alt_text("The part of your photo that the model saw")).to_be_visible()
    expect(answer.locator("img.heatmap")).to_have_count(int(image["label"] == "malignant"))
    expect(page.locator("#overview")).to_be_hidden()
    expect(page.locator("#result")).to_contain_text("This is not a diagnosis")
    expect(page.locator("#result details a", has_text="version")).to_have_count(1)
