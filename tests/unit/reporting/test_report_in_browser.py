"""The report in a real browser: drawing, silence, both schemes, keyboard, phone, paper."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from framework.__main__ import main
from framework.reporting.report.write import write_report
from tests.report_runs import RECORDS, SAMPLES, evaluation, train, write_run
from tests.sweep_files import content as sweep
from tests.sweep_files import write_sweep

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no chromium with chromedriver")
#: a folder that keeps the screenshots
SCREENSHOTS = os.environ.get("FRAMEWORK_SCREENSHOTS")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-dev-shm-usage"
)
DESKTOP, PHONE = 1280, 390
#: a script: colour of each visible text, and of what is behind it
TEXT_COLORS = """
const behind = (element) => {
  const color = getComputedStyle(element).backgroundColor;
  return color === "rgba(0, 0, 0, 0)" ? behind(element.parentElement) : color;
};
return [...document.querySelectorAll("p, li, dt, dd, th, td, a, summary, button, h1, h2, h3, caption")]
  .filter((element) => element.offsetParent && element.textContent.trim())
  .map((element) => [getComputedStyle(element).color, behind(element)]);
"""
#: a script: the titles of plots in which nothing is drawn
EMPTY_PLOTS = (
    "return [...document.querySelectorAll('.canvas')]"
    ".filter(c => !c.querySelector('svg .trace, svg image')).map(c => c.getAttribute('aria-label'))"
)
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(20, 24, 29)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("run"), [*RECORDS, *SAMPLES])
    return write_report(folder)


@pytest.fixture
def open_page(browser: webdriver.Chrome) -> Callable[..., webdriver.Chrome]:
    """Open a page at a width and in a scheme, and wait until its plots are drawn."""

    def open_page(path: Path, *, width: int = DESKTOP, scheme: str = "light") -> webdriver.Chrome:
        browser.get("about:blank")
        for log in ("browser", "performance"):
            browser.get_log(log)
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width == PHONE}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get(path.as_uri())
        WebDriverWait(browser, 60).until(_is_drawn)
        return browser

    return open_page


def _is_drawn(browser: webdriver.Chrome) -> bool:
    return browser.execute_script("return document.documentElement.dataset.drawn === 'true'")


def keep(browser: webdriver.Chrome, name: str) -> None:
    """Save a picture of the whole page, where somebody wants them."""
    if SCREENSHOTS is None:
        return
    width, height = browser.execute_script("return [innerWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    folder = Path(SCREENSHOTS)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


def background(browser: webdriver.Chrome) -> str:
    return browser.execute_script("return getComputedStyle(document.body).backgroundColor")


@pytest.mark.parametrize(("scheme", "color"), [("light", LIGHT), ("dark", DARK)])
def test_it_draws_and_asks_nobody(open_page: Any, report: Path, scheme: str, color: str) -> None:
    browser = open_page(report, scheme=scheme)
    assert background(browser) == color
    assert browser.execute_script(EMPTY_PLOTS) == []
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert asked
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)
    keep(browser, f"run-{scheme}")
    # WCAG AA asks for 4.5 between a text and what is behind it.
    pairs = {tuple(pair) for pair in browser.execute_script(TEXT_COLORS)}
    assert len(pairs) >= 4
    for text, behind in pairs:
        assert contrast(text, behind) >= 4.5, (text, behind)


def test_a_sweep_draws_and_scrolls_down_only(open_page: Any, tmp_path: Path) -> None:
    hostile = "<img src=x onerror=\"document.title='owned'\">"
    page = write_report(write_sweep(tmp_path, sweep(name="a<b", policy=hostile)))
    for width, name in ((DESKTOP, "sweep"), (PHONE, "sweep-phone")):
        browser = open_page(page, width=width)
        assert browser.execute_script(EMPTY_PLOTS) == []
        assert browser.get_log("browser") == []
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert "owned" not in browser.title
        keep(browser, name)


def test_the_scheme_is_switched_by_keyboard(open_page: Any, report: Path) -> None:
    browser = open_page(report)
    for _ in range(2):  # the link that skips to the content comes first
        browser.switch_to.active_element.send_keys(Keys.TAB)
    button = browser.switch_to.active_element
    assert button.get_attribute("id") == "scheme"
    before = browser.execute_script("return document.querySelector('.canvas .xtitle').style.fill")
    button.send_keys(Keys.SPACE)
    assert background(browser) == DARK
    assert button.get_attribute("aria-pressed") == "true"
    after = browser.execute_script("return document.querySelector('.canvas .xtitle').style.fill")
    assert before != after
    button.send_keys(Keys.ENTER)
    assert background(browser) == LIGHT
    assert browser.execute_script(
        "return [...document.querySelectorAll('a, button, summary, .scroll')].every(e => e.tabIndex >= 0)"
    )


def contrast(one: str, other: str) -> float:
    def luminance(color: str) -> float:
        channels = [int(part) / 255 for part in color.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_a_phone_scrolls_down_only(open_page: Any, report: Path) -> None:
    browser = open_page(report, width=PHONE)
    for details in browser.find_elements("css selector", "details:not([open]) > summary"):
        browser.execute_script("arguments[0].click()", details)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE
    keep(browser, "run-phone")


def test_it_prints_on_white(open_page: Any, report: Path) -> None:
    browser = open_page(report, scheme="dark")
    browser.execute_script(
        "addEventListener('beforeprint', () => { const s = getComputedStyle(document.body).backgroundColor;"
        " document.title = s; })"
    )
    pdf = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True, "preferCSSPageSize": True})
    assert base64.b64decode(pdf["data"]).startswith(b"%PDF")
    assert browser.title == LIGHT
    assert background(browser) == DARK
    if SCREENSHOTS is not None:
        (Path(SCREENSHOTS) / "run.pdf").write_bytes(base64.b64decode(pdf["data"]))


def test_hostile_names_do_nothing(open_page: Any, tmp_path: Path) -> None:
    name = "</script><img src=x onerror=\"document.title='owned'\"><a href='https://example.org'>b</a>"
    groups = {name: (0.5, 40), "plain": (0.9, 40)}
    records = [
        train(10, 0.5),
        {"event": "policy", "step": 10, "epoch": 0, "q": {"plain": 0.5, name: 0.5}},
        evaluation(10, groups, best=True),
        evaluation(10, groups, final=True, selected_step=10, statistics={"confusion": [[1, 2], [3, 4]]}),
    ]
    facts = {"class_names": [name, "plain"]}
    browser = open_page(write_report(write_run(tmp_path, records, facts=facts)))
    assert "owned" not in browser.title
    assert browser.execute_script("return document.querySelectorAll('img, a[href^=https]').length") == 0
    assert browser.get_log("browser") == []


def test_the_page_of_data_draws_and_its_names_do_nothing(open_page: Any, tmp_path: Path) -> None:
    name = "</script><img src=x onerror=\"document.title='owned'\">"
    rows = "".join(f"{n % 30};{name if n % 2 else 'plain'};{n % 2}\n" for n in range(90))
    (tmp_path / "data.csv").write_text(f"x;site;y\n{rows}")
    source = f"{{name: table, path: {tmp_path}/data.csv, target: y, groups: [site], delimiter: ;}}"
    (tmp_path / "run.yaml").write_text(
        f"defaults: [digits_spurious, _self_]\nname: run\ndata:\n  source: {source}\n  transforms: []\n"
        "  groups: [site]\n"
    )
    out = tmp_path / "page.html"
    assert main(["data", f"conf={tmp_path}/run.yaml", "--out", str(out)]) == 0
    browser = open_page(out)
    keep(browser, "data")
    assert browser.title == "Data of run"
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    assert browser.execute_script("return document.querySelectorAll('.canvas svg .trace').length") > 0
    assert browser.get_log("browser") == []
