"""What a reader waits for on a page of many runs: the load and every kind of click, in a browser.

    python -m tests.fixtures.synthetic_records OUT big    2,000 runs
    python run_all.py report --out OUT
    python -m tests.speed.page OUT

Prints medians and the worst of a few repetitions, in milliseconds from `performance.now()` inside
the page: a click counts until the page has been laid out again.
"""

import statistics
import sys
from pathlib import Path

from tests.unit.reports.test_browser import start_browser, wait

REPEATED = 9
MEASURE = """
const done = arguments[arguments.length - 1];
const times = [];
(async () => {
  for (let k = 0; k < arguments[1]; k++) {
    await new Promise((found) => requestAnimationFrame(() => setTimeout(found)));
    const start = performance.now();
    try { eval(arguments[0]); } catch (error) { return done([NaN]); }
    document.body.getBoundingClientRect();
    times.push(performance.now() - start);
  }
  done(times);
})();
"""
CHANGE = (
    "const s = document.getElementById('metric'); s.value = s.value === '{0}' ? 'mAP' : '{0}';"
    "s.dispatchEvent(new Event('change'));"
)
CLICKS = {
    "hide or show a method": "document.querySelector('.chip').click()",
    "hide or show the best": "document.querySelectorAll('.chip')[4].click()",
    "metric": CHANGE.format("P@3"),
    "sort": "document.querySelector('section:not([hidden]) article.table thead th + th button')"
    ".click()",
    "theme": "document.getElementById('theme').click()",
    "drawer": "document.querySelector('section:not([hidden]) button.cell').click();"
    "document.getElementById('drawer').close()",
    "filter": "const q = document.getElementById('query'); q.value = q.value ? '' : 'coop';"
    "q.dispatchEvent(new Event('input'))",
}


def main(out):
    browser = start_browser()
    address = (Path(out) / "report.html").resolve().as_uri()
    try:
        loads = []
        for _ in range(5):
            browser.get("about:blank")
            browser.get(address)
            wait(browser)
            loads.append(
                browser.execute_script("return Number(document.documentElement.dataset.ready)")
            )
        say("load until ready", loads)
        tabs = browser.execute_script(
            "return [...document.querySelectorAll('nav [data-tab]')].map(n => n.dataset.tab)"
        )
        for tab in tabs:
            click = f"document.querySelector('nav [data-tab=\"{tab}\"]').click()"
            first = browser.execute_async_script(MEASURE, click, 1)
            say(f"{tab}: the first time", first)
            leave = "document.querySelector('nav [data-tab=provenance]').click();"
            times = []
            for _ in range(REPEATED):
                browser.execute_script(leave)
                times += browser.execute_async_script(MEASURE, click, 1)
            say(f"{tab}: again", times)
            if tab == "first" or tab.startswith("family"):
                for name, script in CLICKS.items():
                    say(
                        f"{tab}: {name}",
                        browser.execute_async_script(MEASURE, script, 2 * REPEATED),
                    )
    finally:
        browser.quit()


def say(what, times):
    print(f"{what:40} {statistics.median(times):7.0f} ms, worst {max(times):.0f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
