"""How long a running studio takes from the click on "Generate" to the first image, as its page sees it.

python -m lfvar.studio open=false                                   # in another terminal
python benchmarks/studio_click.py http://127.0.0.1:8765/ --clicks 5 --picture docs/pictures/studio.png
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys

from playwright.sync_api import Page, sync_playwright


def click(page: Page, samples: int, seed: int) -> float:
    """Milliseconds until the first image is on the page; waits for the rest as well."""
    page.fill("#samples", str(samples))
    page.fill("#seed", str(seed))
    page.evaluate("delete document.body.dataset.firstImageMs")
    page.click("#generate")
    page.wait_for_selector("body[data-first-image-ms]")
    page.wait_for_selector("#download:not([hidden])")
    return float(page.evaluate("document.body.dataset.firstImageMs"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="as the studio printed it")
    parser.add_argument("--clicks", type=int, default=5)
    parser.add_argument("--samples", type=int, default=4, help="per click")
    parser.add_argument("--prompt", default="a large, dark, asymmetric melanoma", help="fills the controls")
    parser.add_argument("--rest", default="none", help="all other measurements: none, expected, sampled, mean, source")
    parser.add_argument("--image", help="id of the picture to edit; else the first one")
    parser.add_argument("--picture", help="write a screenshot of the result there")
    parser.add_argument("--dark", action="store_true", help="in dark colours")
    options = parser.parse_args()
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit("no Chromium on this machine")
    with sync_playwright() as engine:
        opened = engine.chromium.launch(executable_path=browser, args=["--disable-gpu"])
        scheme = "dark" if options.dark else "light"
        page = opened.new_page(viewport={"width": 1366, "height": 1000}, color_scheme=scheme)
        page.set_default_timeout(300_000)
        page.goto(options.address)
        page.wait_for_selector("body[data-ready=yes]")
        if options.image:
            page.select_option("#browse-split", "")
            page.fill("#browse-text", options.image)
            page.click(f'#browse-strip button[data-id="{options.image}"]')
        page.fill("#prompt", options.prompt)
        page.click("#prompt-fill")
        page.wait_for_selector("#understood:not([hidden])")
        page.select_option("#rest", options.rest)
        times = [click(page, options.samples, seed) for seed in range(options.clicks)]
        if options.picture:
            page.wait_for_load_state("networkidle")
            page.screenshot(path=options.picture)
        opened.close()
    print(
        f"first of {options.samples} images after {statistics.median(times):.0f} ms"
        f" (median of {len(times)} clicks; {min(times):.0f} to {max(times):.0f})"
    )


if __name__ == "__main__":
    main()
