"""The page in headless Chromium, as people use it: what they see, what they get, what they are told.

LFVAR_SCREENSHOTS=FOLDER keeps the pictures to look at.
"""

import io
import os
import re
import shutil
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.studio_examples import first_image, huge_png, photograph, png_of, served

from lfvar.studio.app import Studio

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (it is in the extra `dev`)")
expect = playwright.expect

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
SIZES = {"laptop": (1366, 768), "phone": (390, 844)}
PATIENCE = 60_000
"""Milliseconds: other tests keep the machine busy."""
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), str(MAC) if MAC.is_file() else None)
    if found is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as engine:
        opened = engine.chromium.launch(executable_path=found, args=["--disable-gpu", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def studio_at(workbench):
    """A studio and its address."""
    studio = Studio(workbench)
    with served(studio) as address:
        yield studio, address


@pytest.fixture
def open_page(browser):
    """Opens pages; afterwards nothing may have been asked of another machine, and nothing gone wrong in a script."""
    contexts, requests, wrong = [], [], []

    def start(address, size="laptop", scheme="light"):
        width, height = SIZES[size]
        phone = size == "phone"
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, is_mobile=phone, has_touch=phone
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: requests.append((address, request.url)))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
        page.goto(address)
        page.wait_for_selector("body[data-ready=yes]")
        page.wait_for_load_state("networkidle")
        return page

    yield start
    for context in contexts:
        context.close()
    assert requests
    assert [url for address, url in requests if not url.startswith((address, "data:", "blob:", "about:"))] == []
    assert wrong == []


@pytest.fixture
def page(open_page, studio_at):
    return open_page(studio_at[1])


def pick(page, name, value):
    """Choose one of a row of buttons."""
    page.locator(f'label:has(input[name="{name}"][value="{value}"])').click()


def drag(page, selector, places):
    """Pull the mouse over an element, along places in shares of its width and height."""
    page.locator(selector).scroll_into_view_if_needed()
    box = page.locator(selector).bounding_box()
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()


def generate(page, samples=1):
    page.fill("#samples", str(samples))
    page.click("#generate")
    page.wait_for_selector("#download:not([hidden])")


def pixels(page, selector):
    """What an image of the page shows, as it was sent."""
    address = page.locator(selector).evaluate("element => element.src")
    return np.asarray(Image.open(io.BytesIO(page.request.get(address).body())).convert("RGB"))


def unpacked(page, folder):
    with page.expect_download() as waiting:
        page.click("#download")
    waiting.value.save_as(folder / "bundle.zip")
    with zipfile.ZipFile(folder / "bundle.zip") as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def test_paint_generate_and_take_along(page, workbench, tmp_path):
    """A mask painted in a corner: another picture inside, the same bytes outside, and all of it in the download."""
    image_id = first_image(workbench)
    page.select_option("#browse-split", "")
    page.fill("#browse-text", image_id)
    page.locator(f'#browse-strip button[data-id="{image_id}"]').click()
    expect(page.locator("#picture-name")).to_contain_text(image_id)
    pick(page, "mask", "painted")
    page.click("#mask-clear")
    page.locator("#brush-size").fill("160")
    drag(page, "#easel-mask", [(0.12, 0.12), (0.3, 0.12), (0.3, 0.3), (0.12, 0.3)])
    page.uncheck("#erase")
    generate(page, samples=2)
    expect(page.locator("#samples-grid button")).to_have_count(3)
    before, after = pixels(page, "#wipe-before"), pixels(page, "#wipe-after")
    assert np.array_equal(before, workbench.pool.read_image(image_id))
    files = unpacked(page, tmp_path)
    images = sorted(name for name in files if name.startswith("images/"))
    assert len(images) == 2
    assert {"manifest.parquet", "generated.parquet", "measured.csv", "provenance.json"} < set(files)
    mask = np.asarray(Image.open(io.BytesIO(files[images[0].replace("images", "masks")]))) > 0
    assert mask[1:5, 1:5].all()
    assert not mask[8:].any()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(files[images[0]]))), after)
    assert np.array_equal(before[~mask], after[~mask])
    assert not np.array_equal(before[mask], after[mask])
    expect(page.locator("#measured-table thead th")).to_have_count(5)  # measured, before, asked, two samples
    page.locator('#samples-grid button[data-number="1"]').click()
    assert not np.array_equal(pixels(page, "#wipe-after"), after)


def test_undo_and_eraser(page):
    pick(page, "mask", "painted")
    page.click("#mask-clear")
    count = """canvas => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
        .data.filter((value, index) => index % 4 === 3 && value > 127).length"""
    painted = [page.locator("#easel-mask").evaluate(count)]
    drag(page, "#easel-mask", [(0.3, 0.5), (0.7, 0.5)])
    painted.append(page.locator("#easel-mask").evaluate(count))
    pick(page, "brush", "erase")
    drag(page, "#easel-mask", [(0.5, 0.3), (0.5, 0.7)])
    painted.append(page.locator("#easel-mask").evaluate(count))
    page.click("#mask-undo")
    painted.append(page.locator("#easel-mask").evaluate(count))
    assert painted[0] == 0
    assert 0 < painted[2] < painted[1] == painted[3]


def test_a_sentence_fills_the_controls(page):
    page.fill("#prompt", "two large, dark, asymmetric melanomas in the upper left")
    page.click("#prompt-fill")
    expect(page.locator("#understood")).to_contain_text("clinical_relative_area")
    expect(page.locator("#type")).to_have_value("mel")
    expect(page.locator("#samples")).to_have_value("2")
    assert page.locator('input[name="mask"][value="drawn"]').is_checked()
    assert float(page.input_value("#shape-relative_area")) > 0.1
    knob = page.locator('.knob[data-name="clinical_colour_lightness"]')
    assert not knob.locator("input[type=checkbox]").is_checked()
    expect(knob).to_contain_text("P15")
    assert page.locator('.knob[data-name="clinical_colour_redness"] input[type=checkbox]').is_checked()
    expect(page.locator("#mask-measured")).to_contain_text("Asymmetry")
    generate(page, samples=2)
    expect(page.locator("#measured-table tr.set").first).to_contain_text("Lightness")
    page.fill("#prompt", "a purple melanoma")
    page.click("#prompt-fill")
    expect(page.locator("#message")).to_contain_text("purple")


def test_another_type_has_another_range(page):
    knob = page.locator('.knob[data-name="clinical_colour_lightness"]')
    page.select_option("#type", "mel")
    knob.locator("input[type=checkbox]").uncheck()
    middle = knob.locator("input[type=number]").input_value()
    knob.locator("input[type=range]").fill("95")
    assert float(knob.locator("input[type=number]").input_value()) > float(middle)
    expect(knob.locator(".value > span")).to_have_text("L* P95")
    knob.locator("input[type=range]").fill("50")
    page.select_option("#type", "vasc")
    expect(knob.locator("input[type=number]")).not_to_have_value(middle)
    expect(knob.locator(".value > span")).to_have_text("L* P50")


def test_a_photograph_with_its_mask_and_what_cannot_be_used(page):
    pick(page, "from", "file")
    give = {"mimeType": "image/png"}
    for name, data, words in (
        ("notes.png", b"no picture", "“notes.png” is no picture"),
        ("cut.png", png_of(photograph())[:3000], "damaged or cut short"),
        ("huge.png", huge_png(), "“huge.png” is too large"),
    ):
        page.set_input_files("#photograph-file", {**give, "name": name, "buffer": data})
        expect(page.locator("#message")).to_contain_text(words)
    page.set_input_files("#photograph-file", {**give, "name": "skin.png", "buffer": png_of(photograph())})
    expect(page.locator("#picture-name")).to_contain_text("skin.png · 120 × 90")
    expect(page.locator("#message")).to_be_hidden()
    page.click("#generate")
    expect(page.locator("#message")).to_contain_text("Paint where the lesion shall be")
    pick(page, "mask", "file")
    wrong = png_of(np.full((50, 50), 255, np.uint8))
    page.set_input_files("#mask-file-input", {**give, "name": "mask.png", "buffer": wrong})
    expect(page.locator("#message")).to_contain_text("is 50×50 pixels, its picture 120×90")
    mask = np.zeros((90, 120), bool)
    mask[30:60, 40:80] = True
    page.set_input_files("#mask-file-input", {**give, "name": "mask.png", "buffer": png_of(mask)})
    expect(page.locator("#mask-measured")).to_contain_text("Area")
    generate(page)
    full = page.locator("#wipe-after").evaluate("element => element.src") + "?full=1"
    after = np.asarray(Image.open(io.BytesIO(page.request.get(full).body())))
    changed = (after != photograph()).any(axis=2)
    assert not changed[~mask].any()
    assert changed[mask].mean() > 0.5


def test_the_wipe_uncovers_the_original(page):
    generate(page)
    page.locator("#wipe-range").fill("80")
    assert "80%" in page.locator("#wipe-after").evaluate("element => element.style.clipPath")
    drag(page, "#wipe", [(0.8, 0.5), (0.25, 0.5)])
    assert float(page.input_value("#wipe-range")) == pytest.approx(25, abs=2)


class Slow:
    """A synthesiser that takes its time at each scale."""

    def __init__(self, synthesizer):
        self._synthesizer = synthesizer
        self.scales = []

    def __getattr__(self, name):
        return getattr(self._synthesizer, name)

    def run(self, jobs, *, watch, **settings):
        def slowly(k):
            self.scales.append(k)
            time.sleep(0.25)
            watch(k)

        return self._synthesizer.run(jobs, watch=slowly, **settings)


def test_progress_is_shown_and_stop_stops(open_page, workbench):
    slow = Slow(workbench.synthesizer)
    with served(Studio(replace(workbench, synthesizer=slow, batch_size=1))) as address:
        page = open_page(address)
        page.fill("#samples", "16")
        page.click("#generate")
        expect(page.locator("#progress-note")).to_contain_text(re.compile(r"painting [2-9]/16"))
        page.click("#stop")
        expect(page.locator("#message")).to_contain_text("Stopped after")
        expect(page.locator("#generate")).to_be_enabled()
        begun = len(slow.scales)
        time.sleep(0.8)
        assert len(slow.scales) == begun < 16 * 3
        page.fill("#samples", "1")
        page.click("#generate")
        page.wait_for_selector("#download:not([hidden])")


def test_a_point_of_the_map_can_be_edited(page):
    page.click("#tab-explore")
    expect(page.locator("#map-note")).to_contain_text("images")
    expect(page.locator("#map-legend button")).to_have_count(7)
    box = page.locator("#map").bounding_box()
    for step in range(1, 400):  # points lie anywhere: look for one from the middle outwards
        x, y = 0.5 + 0.03 * step**0.5 * np.cos(step), 0.5 + 0.03 * step**0.5 * np.sin(step)
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.wait_for_timeout(100)
        if page.locator("#point").is_visible():
            break
    expect(page.locator("#profiles svg").first).to_be_visible()
    shown = page.evaluate(  # in one go: a later click may show another image any moment
        """() => {
            const text = document.querySelector("#point p").textContent;
            document.querySelector("#point button").click();
            return text.split(" ")[0];
        }"""
    )
    expect(page.locator("#picture-name")).to_contain_text(shown)
    expect(page.locator("#edit")).to_be_visible()


def test_a_blind_test_from_start_to_score(page, workbench):
    page.click("#tab-judge")
    page.fill("#judge-rater", "=HYPERLINK(1)")
    page.fill("#judge-trials", "6")
    page.click("#judge-start button")
    for number in range(6):
        expect(page.locator("#judge-count")).to_have_text(f"Image {number + 1} of 6")
        expect(page.locator("#judge-real")).to_be_enabled()
        page.keyboard.press("r") if number % 2 else page.click("#judge-synthetic")
    expect(page.locator("#judge-result")).to_contain_text("95 % interval")
    with page.expect_download() as waiting:
        page.get_by_text("Download answers").click()
    lines = Path(waiting.value.path()).read_text().splitlines()
    assert len(lines) == 7
    assert lines[1].startswith("'=HYPERLINK(1),0,1,")
    kept = max(workbench.output.glob("judge-*.csv"), key=lambda path: path.stat().st_mtime)
    assert kept.read_text().splitlines() == lines


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off(open_page, studio_at, size, scheme):
    page = open_page(studio_at[1], size, scheme)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", dark)[:3])) < 80) == (scheme == "dark")
    generate(page)
    for tab in ("edit", "explore", "judge"):
        page.click(f"#tab-{tab}")
        page.wait_for_load_state("networkidle")
        if (folder := os.environ.get("LFVAR_SCREENSHOTS")) is not None:
            page.screenshot(path=Path(folder) / f"{size}-{scheme}-{tab}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        cut = page.evaluate(
            """tab => [...document.querySelectorAll(`#${tab} :is(button, select, input, label, h2, img, canvas)`)]
                .filter(e => e.checkVisibility() && !e.closest(".strip, .scroll, .segments"))
                .filter(e => e.getBoundingClientRect().left < 0 || e.getBoundingClientRect().right > innerWidth + 1)
                .map(e => e.id || e.textContent)""",
            tab,
        )
        assert cut == []


def test_a_page_that_closes_takes_its_files_along(open_page, studio_at):
    studio, address = studio_at
    page = open_page(address)
    before = set(studio.sessions.folder.rglob("*.view"))
    pick(page, "from", "file")
    page.set_input_files("#photograph-file", {"name": "a.png", "mimeType": "image/png", "buffer": png_of(photograph())})
    expect(page.locator("#picture-name")).to_contain_text("a.png")
    (view,) = set(studio.sessions.folder.rglob("*.view")) - before
    page.goto("about:blank")
    end = time.monotonic() + 20
    while view.parent.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not view.parent.exists()
