"""The report in a real browser, from disk and without a network: sort, hide, drawer, metric, copy,
print, state in the fragment."""

import csv
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmark.store import Store
from reports import page
from reports.statistics import compare, tukey
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
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

TABLE = "#table-partial_pictograms_pocket-RN"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    out = tmp_path_factory.mktemp("browser")
    small_sweep(out, seeds=2, levels=(0.1, 0.9), images=60)
    # the others lack this seed
    write_run(out, specification("lm_clip", partial(0.9), seed=2), images=60)
    for k, text in enumerate(HOSTILE.values()):
        error = {"type": "Error", "message": text, "log": text}
        write_run(
            out,
            specification("positive_coop", partial(0.1), epochs=3 + k),
            status="failed",
            error=error,
        )
    return page.build([out]).path.resolve().as_uri()


def start_browser():
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
    return driver


@pytest.fixture(scope="module")
def browser():
    driver = start_browser()
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, address):
    show(browser, address)
    yield browser
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []


def show(browser, address, section="family-partial"):
    browser.get("about:blank")
    browser.get(f"{address}#tab={section}")
    wait(browser)


def wait(browser):
    WebDriverWait(browser, 60).until(
        lambda b: b.execute_script("return Boolean(document.documentElement.dataset.ready)")
    )


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
    wait(opened)
    assert labels(opened) == sorted(before)
    assert (
        script(opened, f"document.querySelector('{TABLE} th[aria-sort]').getAttribute('aria-sort')")
        == "ascending"
    )


def test_hides_a_method_in_every_table_and_figure(opened):
    assert min(visible(opened, "dualcoop")) > 2
    click(opened, ".chip[data-method=dualcoop]")
    assert visible(opened, "dualcoop") == [0, 0] and min(visible(opened, "lm_clip")) > 2
    assert "hide=dualcoop" in opened.current_url
    opened.refresh()
    wait(opened)
    assert visible(opened, "dualcoop") == [0, 0] and "dualcoop" not in labels(opened)
    click(opened, "nav [data-tab=examples]")
    examples = opened.find_element(By.ID, "example-area").text
    assert "dualcoop" not in examples and "lm_clip" in examples
    assert "nobody chose them by their scores" in examples and "seed 0" in examples


def bold(browser):
    return script(
        browser,
        f"[...document.querySelectorAll('{TABLE} tbody.last tr:not(.block)')].map(r => "
        "[r.querySelector('.name').textContent, r.querySelectorAll('.best').length])",
    )


def table_text(browser, form):
    return script(browser, f"tableText(data.tables.find(t => t.name === '{TABLE[7:]}'), '{form}')")


def test_copy_is_the_file_beside_the_page(opened, address):
    """Nothing hidden: what the page writes is what Python wrote, to the letter."""
    tables = Path(address.removeprefix("file://")).parent / "tables"
    for name in script(opened, "data.tables.filter(t => t.place !== 'first').map(t => t.name)"):
        for form in ("tex", "md"):
            shown = script(
                opened, f"tableText(data.tables.find(t => t.name === '{name}'), '{form}')"
            )
            assert shown == (tables / f"{name}.{form}").read_text(), (name, form)
    theirs = list(csv.reader(table_text(opened, "csv").splitlines()))
    ours = list(csv.reader((tables / f"{TABLE[7:]}.csv").read_text().splitlines()))
    for a, b in zip(theirs, ours, strict=True):
        for x, y in zip(a, b, strict=True):
            assert x == y or math.isclose(float(x), float(y), rel_tol=1e-9), (a, b)


def test_hiding_the_best_finds_the_best_of_what_is_shown(opened):
    """Bold, underline and the copy follow; the comparison is the one that Python would make."""
    best = max(bold(opened), key=lambda row: row[1])[0]
    others = [name for name, _ in bold(opened) if name != best]
    click(opened, f".chip[data-method={best}]")
    found = dict(bold(opened))
    assert best not in found and max(found.values()) >= 2
    text = table_text(opened, "tex")
    assert r"\textbf{" in text and f"\n{best} &" not in text
    second = max(found, key=found.get)
    name = second.replace("_", r"\_")
    assert any(line.startswith(name) and "textbf" in line for line in text.splitlines())
    click(opened, f".chip[data-method={best}]")
    assert dict(bold(opened))[best] >= 2 and set(others) <= set(dict(bold(opened)))


def test_the_pages_statistics_are_pythons(opened):
    """The same comparisons from the same numbers: gaps, p, intervals, ties, detectable gaps."""
    rng, undecided = np.random.default_rng(0), 0
    for methods, seeds in ((2, 1), (3, 2), (5, 3), (9, 2), (12, 3)):
        names = [f"m{k}" for k in range(methods)]
        values = {
            m: {s: 70 + 4 * rng.normal() for s in range(seeds) if k < 2 or rng.random() < 0.8}
            for k, m in enumerate(names)
        }
        values = {m: found or {0: 70.0} for m, found in values.items()}
        effects = {m: {s: rng.normal(size=50) / 12 for s in values[m]} for m in names}
        ours = compare(values, effects)
        noise = [[[v if math.isfinite(v) else None for v in row] for row in matrix.tolist()]
                 for matrix in (ours.noise.images, ours.noise.images_dof)]  # fmt: skip
        theirs = script(
            opened,
            """(() => { const [values, images, dof] = arguments;
            const found = compareWithBest(values.map((v) => new Map(Object.entries(v))),
              (i, j) => images[i][j], (i, j) => dof[i][j] ?? Infinity);
            return [found.best, found.verdicts.map(widened)]; })()""",
            [{str(s): v for s, v in values[m].items()} for m in names],
            *noise,
        )
        assert (names[theirs[0]] if theirs[0] >= 0 else "") == ours.best
        for name, found in zip(names, theirs[1], strict=True):
            verdict = ours.verdicts[name]
            undecided += verdict.undecided
            if found is None:
                assert not verdict.comparable
                continue
            assert (found["tied"], found.get("undecided", False)) == (
                verdict.tied,
                verdict.undecided,
            )
            for key in ("gap", "p", "low", "high", "detectable"):
                expected = getattr(verdict, key)
                if math.isfinite(expected):
                    assert found[key] == pytest.approx(expected, rel=2e-4, abs=2e-6), key
    assert undecided
    for p, methods in ((0.04, 3), (1e-4, 12), (0.3, 30), (1e-7, 5)):
        assert script(opened, f"tukey({p}, {methods})") == pytest.approx(
            tukey(p, methods), rel=1e-3, abs=1e-9
        )


def test_another_metric_is_shown_everywhere_and_marks_nothing(opened):
    before = table_text(opened, "md")
    opened.execute_script(
        "const s = document.getElementById('metric'); s.value = 'P@3';"
        "s.dispatchEvent(new Event('change'))"
    )
    assert "metric=P%403" in opened.current_url
    article = opened.find_element(By.CSS_SELECTOR, TABLE).text
    assert "P@3 (%)" in article and "nothing is bold" in article
    assert max(n for _, n in bold(opened)) == 0
    cell = script(
        opened,
        "(() => { const t = data.tables.find(t => t.name === arguments[0]), "
        "row = shownRows(t).find(r => r.label === 'dualcoop' && r.block === 'last'); "
        "return [row.cells[0].text, row.cells[0].runs.map(id => data.runs[id].metrics[1][0]["
        "data.shared[data.runs[id].metrics[0]][0][1].indexOf('P@3')])]; })()",
        TABLE[7:],
    )
    assert cell[0] == f"{np.mean(cell[1]):.1f}"
    assert "P@3 (%)" in table_text(opened, "md") and "**" not in table_text(opened, "md")
    click(opened, "#reset")
    assert table_text(opened, "md") == before


def test_every_metric_of_the_records_can_be_chosen(opened, address):
    """Also the official rules, "mAP_official" and "…@raw", which no table has by itself."""
    store = Store(Path(address.removeprefix("file://")).parent)
    views = [view for record in store.records() for view in record["metrics"].values()]
    offered = script(opened, "[...document.getElementById('metric').options].map(o => o.value)")
    assert set(offered) == {name for view in views for name in view} - {"classes"}
    assert offered[0] == "mAP" and len(offered) > 8


def test_the_drawer_explains_a_cell(opened):
    for row, words in (
        (
            "dualcoop",
            ("seed 0", "seed 1", "95 % interval of the mean", "Bold: ", "Data set".lower()),
        ),
        ("zero_shot_clip", ("Not bold: ", "points below ", "p = ", "python run_all.py one ")),
    ):
        opened.execute_script(
            f"[...document.querySelectorAll('{TABLE} tbody.last tr:not(.block)')].find(r => "
            "r.querySelector('.name').textContent === arguments[0])"
            ".querySelector('button.cell').click()",
            row,
        )
        text = opened.find_element(By.ID, "drawer").text
        assert all(word in text for word in words), text[:800]
        opened.execute_script("document.getElementById('drawer').close()")


def test_printing_unfolds_everything(opened):
    opened.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    folded = script(opened, "document.querySelectorAll('details:not([open])').length")
    hidden = script(
        opened, "[...document.querySelectorAll('main > section')].filter(s => s.hidden).length"
    )
    drawn = script(opened, "document.querySelectorAll('article.table tbody tr').length")
    figures = script(opened, "document.querySelectorAll('figure svg[role=img][aria-label]').length")
    assert (folded, hidden) == (0, 0) and drawn > 30 and figures >= 8
    opened.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert script(opened, "document.querySelectorAll('details[open]').length") == 0
    assert (
        script(
            opened, "[...document.querySelectorAll('main > section')].filter(s => !s.hidden).length"
        )
        == 1
    )
    pdf = opened.execute_cdp_cmd("Page.printToPDF", {})
    assert len(pdf["data"]) > 50_000


def test_the_first_screen_answers(opened, address):
    show(opened, address, "first")
    text = opened.find_element(By.ID, "first").text
    assert text.count("leads with") == 3 and "behind the best" in text
    assert "needs 5 data set × setting blocks" in text
    click(opened, "#first [data-tab]")
    assert "tab=family-partial" in opened.current_url and labels(opened)


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
    wait(opened)
    assert opened.find_element(By.ID, "drawer").is_displayed()
    opened.switch_to.active_element.send_keys(Keys.ESCAPE)
    WebDriverWait(opened, 10).until(lambda b: "run=" not in b.current_url)
    assert not opened.find_element(By.ID, "drawer").is_displayed()


def test_copies_latex_of_what_is_shown(opened):
    click(opened, ".chip[data-method=coop]")
    click(opened, f"{TABLE} [data-form=tex]")
    script(
        opened,
        "document.querySelector('main').prepend("
        "Object.assign(document.createElement('textarea'), {id: 'paste'}))",
    )
    area = opened.find_element(By.ID, "paste")
    area.send_keys(Keys.CONTROL, "v")
    text = area.get_attribute("value")
    assert text.startswith("% Partial labels") and r"\bottomrule" in text and "dualcoop &" in text
    assert "\ncoop &" not in text


def test_incomplete_cells_say_so(opened):
    cell = opened.find_element(By.CSS_SELECTOR, f"{TABLE} tbody.last .mark")
    assert (
        cell.text in ("1/3", "2/3")
        and "[object" not in opened.find_element(By.TAG_NAME, "body").text
    )


def test_filters_rows(opened):
    opened.find_element(By.ID, "query").send_keys("probe")
    assert labels(opened) == ["linear_probe"]
    click(opened, "#reset")
    assert "dualcoop" in labels(opened)


def test_hostile_text_is_shown_as_text(opened):
    click(opened, "nav [data-tab=failures]")
    area = opened.find_element(By.ID, "failure-area")
    opened.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    for name in ("tag", "quotes", "rtl", "address"):
        assert HOSTILE[name] in area.text
    assert script(opened, "document.querySelectorAll('#failure-area script').length") == 0


def test_what_is_out_of_sight_is_drawn_when_it_comes(opened, address):
    """Else a click on a page of 2,000 runs takes most of a second; what was hidden meanwhile is
    hidden."""
    low = {"width": 1280, "height": 300, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", low)
    show(opened, address, "first")
    last = "[...document.querySelectorAll('#first .group')].at(-1)"
    assert script(opened, f"{last}.dataset.drawn") is None
    click(opened, ".chip[data-method=coop]")
    opened.execute_script(f"{last}.scrollIntoView()")
    WebDriverWait(opened, 10).until(lambda b: script(b, f"{last}.dataset.drawn"))
    shown = script(opened, f"{last}.innerText")
    assert "lm_clip" in shown and "\ncoop" not in shown
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


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
