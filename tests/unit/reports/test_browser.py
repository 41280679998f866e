"""The report in a real browser, from disk and without a network: sort, hide, drawer, copy, state in
the fragment."""

import shutil

import pytest

from reports import page
from tests.fixtures.synthetic_records import HOSTILE, partial, small_sweep, specification, write_run

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="needs Debian's chromium and chromium-driver: apt-get install chromium-driver",
)
selenium = pytest.importorskip("selenium", reason="needs selenium: pip install -e '.[test]'")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

TABLE = "#table-partial_pictograms_pocket-RN"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    out = tmp_path_factory.mktemp("browser")
    small_sweep(out, seeds=2, levels=(0.1, 0.9), images=60)
    # the others lack this seed
    write_run(out, specification("lm_clip", partial(0.9), seed=2), images=60)
    for text in HOSTILE.values():
        error = {"type": "Error", "message": text, "log": text}
        write_run(
            out, specification("coop", partial(0.5), template=text), status="failed", error=error
        )
    return page.build([out]).resolve().as_uri()


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument("--window-size=1280,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(120)
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, address):
    browser.get("about:blank")
    browser.get(address)
    yield browser
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []


def script(browser, text, *arguments):
    return browser.execute_script("return " + text, *arguments)


def labels(browser):
    return script(
        browser,
        f"[...document.querySelectorAll('{TABLE} tbody.last th .name')].map(n => n.textContent)",
    )


def visible(browser, method):
    """How many shapes and rows of a method can be seen."""
    index = script(browser, "data.methods.findIndex(m => m.label === arguments[0])", method)
    return script(
        browser,
        "['figure .m', 'table .m'].map(s => [...document.querySelectorAll(s + arguments[0])]"
        ".filter(n => getComputedStyle(n).display !== 'none').length)",
        str(index),
    )


def click(browser, selector):
    element = browser.find_element(By.CSS_SELECTOR, selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def test_sorts_a_table_and_remembers_it(opened):
    before = labels(opened)
    click(opened, f"{TABLE} thead th:first-child button")
    assert labels(opened) == sorted(before) and before != sorted(before)
    opened.refresh()
    assert labels(opened) == sorted(before)
    assert (
        script(opened, f"document.querySelector('{TABLE} th[aria-sort]').getAttribute('aria-sort')")
        == "ascending"
    )


def test_hides_a_method_in_every_table_and_figure(opened):
    assert (
        min(visible(opened, "dualcoop")) > 5
        and "dualcoop" in opened.find_element(By.ID, "example-area").text
    )
    click(opened, ".chip[data-method=dualcoop]")
    assert visible(opened, "dualcoop") == [0, 0] and min(visible(opened, "lm_clip")) > 5
    assert "dualcoop" not in opened.find_element(By.ID, "example-area").text
    assert "hide=dualcoop" in opened.current_url
    opened.refresh()
    assert visible(opened, "dualcoop") == [0, 0] and "dualcoop" not in labels(opened)


def test_opens_a_drawer_with_the_keyboard_and_closes_it(opened):
    cell = opened.find_element(By.CSS_SELECTOR, f"{TABLE} .cell")
    opened.execute_script("arguments[0].focus()", cell)
    opened.switch_to.active_element.send_keys(Keys.ENTER)
    drawer = opened.find_element(By.ID, "drawer")
    assert (
        drawer.is_displayed()
        and "python run_all.py one " in drawer.text
        and "History" in drawer.text
    )
    assert (
        "anchor" in drawer.text and len(drawer.find_elements(By.CSS_SELECTOR, ".tabs button")) >= 2
    )
    opened.refresh()  # the fragment opens it again
    assert opened.find_element(By.ID, "drawer").is_displayed()
    opened.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert (
        not opened.find_element(By.ID, "drawer").is_displayed() and "run=" not in opened.current_url
    )


def test_copies_latex_of_what_is_shown(opened):
    click(opened, ".chip[data-method=coop]")
    click(opened, f"{TABLE} [data-form=tex]")
    query = opened.find_element(By.ID, "query")
    script(
        opened,
        "arguments[0].replaceWith(Object.assign(document.createElement('textarea'), {id: "
        "'paste'}))",
        query,
    )
    area = opened.find_element(By.ID, "paste")
    area.send_keys(Keys.CONTROL, "v")
    text = area.get_attribute("value")
    assert text.startswith("% Partial labels") and r"\bottomrule" in text and "dualcoop &" in text
    assert "\ncoop &" not in text


def test_incomplete_cells_say_so(opened):
    cell = opened.find_element(By.CSS_SELECTOR, f"{TABLE} tbody.last .mark")
    assert cell.text == "2/3" and "[object" not in opened.find_element(By.TAG_NAME, "body").text


def test_filters_rows(opened):
    opened.find_element(By.ID, "query").send_keys("probe")
    assert labels(opened) == ["linear_probe"]
    click(opened, "#reset")
    assert "dualcoop" in labels(opened)


def test_hostile_text_is_shown_as_text(opened):
    area = opened.find_element(By.ID, "failure-area")
    opened.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    for name in ("tag", "quotes", "rtl", "address"):
        assert HOSTILE[name] in area.text
    assert script(opened, "document.querySelectorAll('#failure-area script').length") == 0


def test_fits_a_phone_and_follows_dark_mode(opened):
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    assert script(opened, "document.documentElement.scrollWidth") <= 390
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    light = script(opened, "getComputedStyle(document.body).backgroundColor")
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
    assert script(opened, "getComputedStyle(document.body).backgroundColor") != light
    click(opened, "#theme")
    assert script(opened, "getComputedStyle(document.body).backgroundColor") == light
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
