"""What the page does when the server, or something on the way to it, does not answer."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from processing.bundle import Bundle
from tests.app.browser import expect_answer, send
from tests.app.fixture_types import OpenPage, Post, StartServer

GATEWAY = "<html><body><h1>502 Bad Gateway</h1><hr>nginx</body></html>"


def expect_retry(page: Page, message: str | re.Pattern[str]) -> None:
    """A message, nothing at work, the photo still there, and a button that works."""
    expect(page.get_by_role("status")).to_contain_text(message)
    expect(page.locator("#progress")).to_be_hidden()
    expect(page.locator("#previews li")).to_have_count(1)
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#result .answer")).to_have_count(1)
    expect(page.get_by_role("button", name="Analyse")).to_be_enabled()
    expect(page.locator("#status")).to_be_empty()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda route: route.abort(), "No answer arrived"),
        (lambda route: route.fulfill(status=502, body=GATEWAY), "a server in between (error 502)"),
        (lambda route: route.fulfill(status=503, body=GATEWAY), "a server in between (error 503)"),
        (lambda route: route.fulfill(status=413, body=GATEWAY), "a server in between (error 413)"),
        (lambda route: route.fulfill(status=200, body=GATEWAY), "The answer was incomplete"),
        (lambda route: route.fulfill(status=200, body=""), "The answer was incomplete"),
    ],
    ids=["dead", "502", "503", "413", "another page", "empty"],
)
def test_whatever_comes_back_ends_in_a_message_and_a_button(
    open_page: OpenPage, photo_file: Path, answer: Callable[[Route], None], message: str
) -> None:
    page = open_page()
    page.route("**/predict", answer)
    send(page, photo_file)
    expect_retry(page, message)


def test_silence_ends_after_thirty_seconds(open_page: OpenPage, photo_file: Path) -> None:
    page = open_page()
    page.clock.install()
    page.route("**/predict", lambda route: None)  # never answered
    with page.expect_request("**/predict"):
        send(page, photo_file)
    page.clock.fast_forward(29_000)
    expect(page.locator("#progress")).to_be_visible()
    page.clock.fast_forward(2_000)
    expect_retry(page, "No answer within 30 s")


def test_a_limit_is_told_with_its_cause_and_waited_for(
    open_page: OpenPage, photo_file: Path, photo: bytes, post: Post
) -> None:
    page = open_page()
    refused: list[Route] = []

    def refuse_once(route: Route) -> None:
        if refused:
            return route.continue_()
        refused.append(route)
        page_of_server = (
            "<section id='result'><div class='problem'><h2>Too many requests</h2></div></section>"
        )
        return route.fulfill(status=429, headers={"Retry-After": "2"}, body=page_of_server)

    page.route("**/predict", refuse_once)
    send(page, photo_file)
    expect(page.get_by_role("status")).to_have_text("Too many requests. It goes on by itself.")
    expect(page.locator("#doing")).to_have_text("Goes on in 1 s.")
    expect_answer(page, post, photo)


def test_many_photos_pass_the_servers_own_limit_by_themselves(
    browser: Browser, start_server: StartServer, served: Bundle, photo_file: Path
) -> None:
    page = browser.new_page()
    page.goto(start_server(MODEL_URI=str(served.path), RATE_LIMIT="2 per 4 seconds"))
    send(page, *[photo_file] * 5)
    expect(page.get_by_role("status")).to_have_text("Too many requests. It goes on by itself.")
    expect(page.locator("#result .answer")).to_have_count(5, timeout=30_000)
    expect(page.locator("#status")).to_be_empty()
    page.close()


def test_many_photos_are_sent_two_at_a_time_and_counted(
    open_page: OpenPage, photo_file: Path
) -> None:
    page = open_page()
    held: list[Route] = []
    page.route("**/predict", lambda route: held.append(route))
    send(page, *[photo_file] * 3)
    expect(page.locator("#doing")).to_have_text("0 of 3 photos done.")
    page.evaluate("new Promise(done => setTimeout(done, 500))")
    assert len(held) == 2
    held[0].continue_()
    expect(page.locator("#doing")).to_have_text("1 of 3 photos done.")
    expect(page.locator("#bar")).to_have_attribute("value", "1")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status")).to_contain_text("Cancelled")
    expect(page.locator("#previews li")).to_have_count(2)


def test_many_photos_go_on_after_one_without_an_answer(
    open_page: OpenPage, photo_file: Path
) -> None:
    page = open_page()
    sent: list[Route] = []

    def fail_second(route: Route) -> None:
        sent.append(route)
        route.fulfill(status=502, body=GATEWAY) if len(sent) == 2 else route.continue_()

    page.route("**/predict", fail_second)
    send(page, *[photo_file] * 4)
    expect(page.locator("#progress")).to_be_hidden(timeout=30_000)
    expect(page.locator("#overview tbody tr")).to_have_count(4)
    failed = page.locator("#overview tbody tr.none")
    expect(failed).to_contain_text("No answer")
    expect(failed).to_have_attribute("data-reasons", re.compile("a server in between.* Try again"))
    expect(page.locator("#result .answer")).to_have_count(3)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#result .answer")).to_have_count(4)
    expect(page.locator("#overview tbody tr")).to_have_count(4)


def test_a_dead_connection_stops_many_photos(open_page: OpenPage, photo_file: Path) -> None:
    page = open_page()
    page.route("**/predict", lambda route: route.abort())
    send(page, *[photo_file] * 6)
    expect(page.get_by_role("status")).to_contain_text("No answer arrived")
    expect(page.locator("#progress")).to_be_hidden()
    expect(page.locator("#previews li")).to_have_count(6)


def test_what_was_not_judged_stays_after_a_cancel(open_page: OpenPage, photo_file: Path) -> None:
    page = open_page()
    page.route("**/predict", lambda route: None)  # never answered
    send(page, photo_file, photo_file)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status")).to_contain_text("Cancelled")
    expect(page.locator("#previews li")).to_have_count(2)
    expect(page.get_by_role("button", name="Analyse")).to_be_enabled()
    page.unroute_all()
