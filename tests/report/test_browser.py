"""The page in a real browser: nothing fails, nothing is fetched, it fits the screen."""

import pytest

from kintune.report import write_report

pytestmark = pytest.mark.browser

THIRD_EPOCH = """() => {
  const line = document.querySelector("svg .curve.winner .touch");
  line.scrollIntoView({block: "center"});
  const at = line.points.getItem(2).matrixTransform(line.getScreenCTM());
  return [at.x, at.y];
}"""


@pytest.fixture(scope="module")
def browser(chromium):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as play:
        started = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_page_opens_offline_without_a_fault(make_tune, browser, width, scheme):
    names = ('<script>alert("1")</script>', "a_class_with_a_very_long_name_that_has_no_space_in_it")
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    faults: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: faults.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    address = write_report(make_tune(names)).as_uri()
    page.goto(address)

    shown = page.locator("svg .mark.best:visible").last
    shown.hover()
    assert "validation error 14.0" in page.locator("#tip").inner_text()
    page.mouse.move(*page.evaluate(THIRD_EPOCH))
    assert page.locator("#tip").inner_text().startswith("epoch 3: 0.467 · selected, recommended")
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()

    assert faults == []
    assert [url for url in requests if url != address and not url.startswith("data:")] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    broken = "[...document.images].filter(image => !image.naturalWidth).length"
    assert page.evaluate(broken) == 0
