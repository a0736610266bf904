"""The page in a real browser against a real server."""

import base64
import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image
from playwright.sync_api import expect

from processing.drawing import draw_photo

DATA = Path(__file__).parents[3] / "shared/data"
ANSWER = re.compile("Suspicious for|No sign of")


@pytest.fixture
def photo_file(photo, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo)
    return path


def choose(page, *files):
    page.locator("#photos").set_input_files(list(files))


def send(page, *files):
    choose(page, *files)
    page.locator("#send").click()


def make_transfer(page, kind, name, content):
    """What the browser hands over when a file is dropped or pasted."""
    return page.evaluate_handle(
        """([encoded, type, name]) => {
            const bytes = Uint8Array.from(atob(encoded), c => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, {type}));
            return transfer;
        }""",
        [base64.b64encode(content).decode(), kind, name],
    )


def expect_answer(page, post, photo):
    """The same as the API: label, probability to the digits shown, picture and overlay."""
    (image,) = post(photo).json["images"]
    answer = page.locator("#result .answer")
    expect(answer).to_have_attribute("data-label", image["label"])
    shown = float(answer.get_attribute("data-probability"))
    assert shown == pytest.approx(image["probability"], abs=1e-6)
    expect(answer.locator("h2")).to_have_text(ANSWER)
    expect(answer.locator(".score")).to_contain_text("%")
    expect(answer.get_by_role("img", name="threshold")).to_be_visible()
    expect(answer.get_by_text("Turned and mirrored, the same photo gives")).to_be_visible()
    expect(answer.get_by_alt_text("The part of your photo that the model saw")).to_be_visible()
    expect(answer.locator("img.heatmap")).to_have_count(1)
    expect(page.locator("#overview")).to_be_hidden()
    expect(page.locator("#result")).to_contain_text("This is not a diagnosis")
    expect(page.locator("#result").get_by_role("link", name="version")).to_be_visible()


def test_a_chosen_photo_is_previewed_and_answered(open_page, photo_file, photo, post):
    page = open_page()
    choose(page, photo_file)
    expect(page.get_by_alt_text("photo.jpg")).to_be_visible()
    page.get_by_role("button", name="Analyse").click()
    expect_answer(page, post, photo)
    expect(page.locator("#result")).to_be_focused()
    expect(page.locator("#previews li")).to_have_count(0)
    expect(page.locator("#result .file").first).to_have_text("photo.jpg")


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_dropped_or_pasted_photo_is_answered(open_page, photo, post, way):
    page = open_page()
    transfer = make_transfer(page, "image/jpeg", "handed.jpg", photo)
    if way == "drop":
        page.locator("#drop").dispatch_event("drop", {"dataTransfer": transfer})
    else:
        page.evaluate(
            """clipboardData => document.body.dispatchEvent(
                new ClipboardEvent("paste", {clipboardData, bubbles: true}))""",
            transfer,
        )
    expect(page.get_by_alt_text("handed.jpg")).to_be_visible()
    page.get_by_role("button", name="Analyse").click()
    expect_answer(page, post, photo)


def test_a_phone_offers_its_camera(open_page, photo_file, photo, post):
    page = open_page(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    expect(page.get_by_text("Take a photo")).to_be_visible()
    page.locator("#camera").set_input_files(photo_file)
    page.get_by_role("button", name="Analyse").click()
    expect_answer(page, post, photo)


def test_a_drawn_example_can_be_tried(open_page):
    page = open_page()
    page.get_by_role("link", name="ragged spot").click()
    expect(page.get_by_alt_text("ragged.jpg")).to_be_visible()
    page.get_by_role("button", name="Analyse").click()
    expect(page.locator(".answer h2")).to_have_text(ANSWER)


def test_a_photo_can_be_taken_back(open_page, photo_file):
    page = open_page()
    choose(page, photo_file, photo_file)
    expect(page.locator("#previews li")).to_have_count(2)
    page.get_by_role("button", name="Remove photo.jpg").first.click()
    expect(page.locator("#previews li")).to_have_count(1)
    page.get_by_role("button", name="Start over").click()
    expect(page.locator("#previews li")).to_have_count(0)


def test_a_large_photo_is_made_smaller_before_it_is_sent(open_page, tmp_path, server):
    large = tmp_path / "large.jpg"
    drawn = Image.fromarray(draw_photo(1, 640, irregular=True)).resize((4000, 3000))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    exif[0x010F] = "a maker that nobody is to know"
    drawn.save(large, quality=100, exif=exif)
    page = open_page()
    page.evaluate("""() => {
        const send = XMLHttpRequest.prototype.send;
        XMLHttpRequest.prototype.send = function (form) {
            window.sent = form.get("image");
            return send.call(this, form);
        };
    }""")
    send(page, large)
    expect(page.locator(".answer h2")).to_have_text(ANSWER)
    encoded = page.evaluate("""async () => {
        const bytes = new Uint8Array(await window.sent.arrayBuffer());
        return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(""));
    }""")
    content = base64.b64decode(encoded)
    assert len(content) < large.stat().st_size / 2
    assert b"a maker" not in content
    picture = Image.open(io.BytesIO(content))
    assert picture.size == (1800, 2400)  # upright, its longer side cut down


def test_a_sideways_photo_is_judged_and_shown_upright(open_page, photo, tmp_path):
    upright = Image.open(io.BytesIO(photo))
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = tmp_path / "sideways.png"
    upright.transpose(Image.Transpose.ROTATE_90).save(sideways, exif=exif)
    straight = tmp_path / "straight.png"
    upright.save(straight)
    page = open_page()
    send(page, sideways, straight)
    squares = page.locator(".answer .square img:first-child")
    expect(squares).to_have_count(2)
    first, second = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(each.get_attribute("src")[23:]))), float)
        for each in squares.all()
    )
    assert np.abs(first - second).mean() < 2 < np.abs(np.rot90(first) - second).mean()
    probabilities = [
        float(each.get_attribute("data-probability")) for each in page.locator(".answer").all()
    ]
    assert probabilities[0] == pytest.approx(probabilities[1], abs=0.03)


def test_heic_has_no_preview_and_an_answer(open_page, photo, tmp_path):
    heic = tmp_path / "photo.heic"
    Image.open(io.BytesIO(photo)).save(heic, "HEIF", quality=95)
    page = open_page()
    choose(page, heic)
    expect(page.locator("#previews")).to_contain_text("No preview here, but it can be analysed.")
    page.get_by_role("button", name="Analyse").click()
    expect(page.locator(".answer h2")).to_have_text(ANSWER)


def test_the_heatmap_can_be_made_weaker_and_switched_off(open_page, photo_file):
    page = open_page()
    send(page, photo_file)
    heatmap = page.locator("img.heatmap")
    expect(heatmap).to_have_css("opacity", "1")
    page.get_by_label("Strength of the colours").fill("40")
    expect(heatmap).to_have_css("opacity", "0.4")
    page.get_by_label("Strength of the colours").fill("100")
    page.get_by_label("Show what the score is based on").uncheck()
    expect(heatmap).to_have_css("opacity", "0")


def test_twenty_photos_get_a_table_that_sorts_and_downloads(open_page, tmp_path, small_photo):
    files = []
    for i in range(19):
        files.append(tmp_path / f"photo{i}.jpg")
        Image.fromarray(draw_photo(i, 320, irregular=i % 2 == 0)).save(files[-1], quality=92)
    files.append(tmp_path / "=small.jpg")
    files[-1].write_bytes(small_photo)
    page = open_page()
    send(page, *files)
    rows = page.locator("#overview tbody tr")
    expect(rows).to_have_count(20, timeout=30_000)
    expect(page.locator("#result .answer")).to_have_count(20)
    expect(page.locator("#result .facts")).to_have_count(1)
    expect(page.locator("#previews li")).to_have_count(0)
    expect(rows.first.locator("td").first).to_have_text("photo0.jpg")
    page.get_by_role("button", name="Probability").click()
    sent = [row.get_attribute("data-probability") for row in rows.all()]
    assert sent[-1] == ""
    assert [float(p) for p in sent[:-1]] == sorted(map(float, sent[:-1]), reverse=True)
    expect(page.get_by_role("columnheader", name="Probability")).to_have_attribute(
        "aria-sort", "descending"
    )
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    table = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8"))))
    assert [row["probability"] for row in table] == sent
    assert table[-1]["name"] == "'=small.jpg"  # no formula in a spreadsheet
    assert table[-1]["reasons"] == "too_small"
    assert table[0]["label"] in ("malignant", "benign")
    assert float(table[0]["lowest"]) <= float(sent[0]) <= float(table[0]["highest"])


def test_what_was_not_judged_stays_after_a_cancel(open_page, photo_file):
    page = open_page()
    page.route("**/predict", lambda route: None)  # never answered
    send(page, photo_file, photo_file)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status")).to_contain_text("Cancelled")
    expect(page.locator("#previews li")).to_have_count(2)
    expect(page.get_by_role("button", name="Analyse")).to_be_enabled()
    page.unroute_all()


def test_a_busy_server_is_asked_again(open_page, photo_file, photo, post):
    page = open_page()
    refused = []

    def refuse_once(route):
        if refused:
            return route.continue_()
        refused.append(route)
        return route.fulfill(status=503, headers={"Retry-After": "1"}, body="busy")

    page.route("**/predict", refuse_once)
    send(page, photo_file)
    expect(page.get_by_role("status")).to_contain_text("goes on in 1 s")
    expect_answer(page, post, photo)


def test_several_photos_are_answered_together(open_page, photo_file, small_photo, tmp_path):
    small = tmp_path / "small.jpg"
    small.write_bytes(small_photo)
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    page = open_page()
    send(page, photo_file, small, text)
    cards = page.locator("#result .answer, #result .problem")
    expect(cards.nth(0).locator("h2")).to_have_text(ANSWER)
    expect(cards.nth(1).locator("h2")).to_have_text("This photo cannot be judged")
    expect(cards.nth(2).locator("h2")).to_have_text("Not a photo we can read")
    for i, name in enumerate(("photo.jpg", "small.jpg", "text.jpg")):
        expect(cards.nth(i).locator(".file")).to_have_text(name)


def test_a_bad_file_shows_why_and_keeps_the_choice(open_page, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    page = open_page()
    send(page, text)
    expect(page.locator("#result")).to_contain_text("not a JPEG, PNG, WebP or HEIC photo")
    expect(page.locator("#previews")).to_contain_text("text.jpg")


def test_too_large_a_photo_is_told_before_it_is_sent(open_page, tmp_path):
    large = tmp_path / "large.heic"
    large.write_bytes(bytes(21_000_000))
    page = open_page()
    send(page, large)
    expect(page.get_by_role("status")).to_contain_text("large.heic has 21 MB, at most 20 MB")


def test_nothing_chosen_is_told(open_page):
    page = open_page()
    page.get_by_role("button", name="Analyse").click()
    expect(page.get_by_role("status")).to_have_text("Choose a photo first.")


def test_a_lost_connection_is_told(open_page, photo_file):
    page = open_page()
    page.route("**/predict", lambda route: route.abort())
    send(page, photo_file)
    expect(page.get_by_role("status")).to_contain_text("The answer did not arrive")
    expect(page.get_by_role("button", name="Analyse")).to_be_enabled()


def test_without_javascript_the_same_answer_comes(open_page, photo_file, photo, post):
    page = open_page(java_script_enabled=False)
    send(page, photo_file)
    expect_answer(page, post, photo)
    expect(page.get_by_role("button", name="Download as CSV")).to_be_hidden()
    page.get_by_role("link", name="version").click()
    expect(page.get_by_role("heading", name="About the model")).to_be_visible()


def test_without_javascript_several_photos_get_their_table(open_page, photo_file, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    page = open_page(java_script_enabled=False)
    send(page, photo_file, text)
    expect(page.locator("#overview tbody tr")).to_have_count(2)
    expect(page.locator("#overview")).to_contain_text("Not a photo we can read")


def test_without_javascript_a_bad_file_shows_why(open_page, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    page = open_page(java_script_enabled=False)
    send(page, text)
    expect(page.locator("#result")).to_contain_text("not a JPEG, PNG, WebP or HEIC photo")


def test_the_keyboard_is_enough(open_page, photo_file, photo, post):
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.locator("#photos").focus()
    choose(page, photo_file)
    expect(page.get_by_role("button", name="Analyse")).to_be_focused()
    page.keyboard.press("Enter")
    expect_answer(page, post, photo)
    expect(page.locator("#result")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(".heat-switch")).to_be_focused()
    for _ in range(5):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "print":
            break
    expect(page.get_by_role("button", name="Print")).to_be_focused()


def test_the_page_weighs_little(open_page):
    page = open_page()
    page.mouse.wheel(0, 5000)
    page.wait_for_load_state("networkidle")
    weights = page.evaluate(
        """() => ["navigation", "resource"].flatMap(kind => performance.getEntriesByType(kind))
            .map(entry => entry.decodedBodySize)"""
    )
    assert len(weights) >= 7  # the page, its style, two scripts, the examples
    assert sum(weights) < 150_000


@pytest.mark.parametrize("path", ["/", "/model", "/docs", "/?lang=de"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_of_320_px_does_not_scroll_sideways(open_page, server, photo_file, path, scheme):
    page = open_page(viewport={"width": 320, "height": 600}, color_scheme=scheme)
    page.goto(server + path)
    if path.startswith("/?") or path == "/":
        send(page, photo_file)
        expect(page.locator("#result .answer h2")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_a_german_browser_gets_german(open_page, photo_file):
    page = open_page(locale="de-DE")
    expect(page.get_by_role("heading", name="Einen Hautfleck prüfen")).to_be_visible()
    send(page, photo_file)
    heading = page.locator(".answer h2")
    expect(heading).to_have_text(re.compile("Verdächtig auf Melanom|Keine Anzeichen für Melanom"))
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading", name="Check a skin spot")).to_be_visible()


def test_the_result_prints_on_one_page(open_page, photo_file, tmp_path):
    page = open_page()
    send(page, photo_file)
    expect(page.locator(".answer h2")).to_be_visible()
    page.emulate_media(media="print")
    expect(page.locator("#upload")).to_be_hidden()
    expect(page.locator("#printed")).to_be_visible()
    pdf = page.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1


def test_a_real_lesion_gets_an_answer(browser, start_server):
    folder = DATA / "isic2019-original/ISIC_2019_Training_Input"
    if not folder.exists():
        pytest.skip(f"{folder} is not here")
    page = browser.new_page()
    page.goto(start_server())  # with the embedded model as it is
    send(page, folder / "ISIC_0000002.jpg")
    expect(page.locator(".answer h2")).to_have_text(ANSWER)
    send(page, Path(skimage.__file__).with_name("data") / "chelsea.png")  # a cat
    expect(page.locator(".answer h2")).to_have_text("This photo cannot be judged")
    expect(page.locator("#result")).to_contain_text("does not look like a close-up")
    page.close()
