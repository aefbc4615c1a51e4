"""The page of ``bestroute report`` in a headless Chromium: no error, no request, no barrier, with and without a script.

Chromium is driven over a pipe by its own protocol. axe-core is the file that BESTROUTE_AXE names, or the one that
``npm install axe-core`` puts into node_modules.
"""

import base64
import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bestroute.evaluation.html_report.blocks import Chart, DataSeries, KeyFigure, Page, Section, Table, Text
from bestroute.evaluation.html_report.page import html, plotting_script

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = Path(os.environ.get("BESTROUTE_AXE", "node_modules/axe-core/axe.min.js"))
HOSTILE = "<img src=x onerror=window.hacked=1></script><script>window.hacked=1</script><b>bold</b>"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def a_page(name=HOSTILE):
    days = tuple(f"2026-01-{day:02d}" for day in range(1, 31))
    spent = DataSeries(name, days, tuple(float(i) for i in range(30)), "bars")
    curve = DataSeries("router", (0.1, 0.5, 1.0), (0.7, 0.8, 0.9), low=(0.6, 0.75, 0.9), high=(0.75, 0.85, 0.9))
    marks = DataSeries(name, (0.2, 0.4), (0.7, 0.75), "points", labels=(name, "two"))
    rows = tuple((f"{name} {i}", f"${i}.00", name) for i in range(12))
    return Page(
        f"Spent {name}",
        name,
        (KeyFigure(name, "$1.00", name),),
        (
            Section(name, (Text((name,)), Text((name, "two"), is_list=True))),
            Section(
                "Charts", (Chart(f"By day {name}", name, "USD", (spent,)), Chart("Curve", "x", "y", (curve, marks)))
            ),
            Section("Table", (Table("Spent", ("model", "USD", "why"), rows, shares=(0.5,) * 12, words_right=1),)),
        ),
    )


class Browser:
    """One tab of a headless Chromium."""

    def __init__(self, folder):
        self.read, theirs_out = os.pipe()
        theirs_in, self.write = os.pipe()
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            f"--user-data-dir={folder}",
        ]

        def wire():
            free = [
                fcntl.fcntl(each, fcntl.F_DUPFD, 200) for each in (theirs_in, theirs_out)
            ]  # not in each other's way
            for place, each in zip((3, 4), free, strict=True):
                os.dup2(each, place)

        self.process = subprocess.Popen(
            [CHROMIUM, *flags, "about:blank"],
            pass_fds=(3, 4),
            preexec_fn=wire,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.rest, self.number, self.events, self.session = b"", 0, [], None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _next(self):
        while b"\0" not in self.rest:
            if not (more := os.read(self.read, 1 << 20)):
                raise EOFError("Chromium has ended")
            self.rest += more
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.write, data) :]
        while (answer := self._next()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def open(self, path, *, width=1440, dark=False, scripts=True):
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=phone)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media="screen", features=scheme)
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())
        if scripts:
            self.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")

    def complaints(self):
        """Return errors of scripts and of the console, and requests for anything but the page."""
        found = []
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"]["text"])
            elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(params["entry"]["text"])
            elif event.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append(str(params["args"]))
            elif event.get("method") == "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith(("file:", "data:", "blob:")):
                    found.append(f"asks for {url}")
        return found

    def screenshot(self, path):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self):
        self.session = None
        self.call("Browser.close")
        self.process.wait(20)
        os.close(self.read)
        os.close(self.write)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "report.html"
    path.write_text(html(a_page(), script=plotting_script()))
    return path


needs_plotly = pytest.mark.skipif(plotting_script() is None, reason="plotly is not installed (extra report)")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_the_page_has_no_error_asks_for_nothing_and_is_no_wider_than_the_screen(browser, path, width, dark):
    browser.open(path, width=width, dark=dark)
    assert browser.complaints() == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("window.hacked") is None
    assert browser.evaluate("document.querySelectorAll('main b, main img, header b').length") == 0


@needs_plotly
def test_charts_are_filtered_by_check_boxes_and_zoomed_by_buttons(browser, path):
    browser.open(path)
    assert browser.evaluate("document.querySelectorAll('.live .main-svg').length") >= 2
    assert browser.evaluate("document.querySelector('figure .still').checkVisibility()") is False
    box = "document.querySelectorAll('figure')[1].querySelectorAll('input[type=checkbox]')[0]"
    traces = "document.querySelectorAll('figure')[1].querySelectorAll('.scatterlayer .trace').length"
    both = browser.evaluate(traces)
    browser.evaluate(f"{box}.click()")
    assert browser.evaluate(traces) == both - 1
    width = "(() => { const [a, b] = document.querySelectorAll('.live')[1]._fullLayout.xaxis.range; return b - a; })()"
    whole = browser.evaluate(width)
    browser.evaluate("document.querySelectorAll('figure')[1].querySelectorAll('button')[0].click()")
    assert browser.evaluate(width) == pytest.approx(whole / 2)
    assert browser.complaints() == []


def test_a_long_table_is_filtered_by_what_is_typed(browser, path):
    browser.open(path)
    browser.evaluate(
        "(() => { const i = document.querySelector('section:last-of-type input[type=search]'); i.value = '$11'; "
        "i.dispatchEvent(new Event('input')); })()"
    )
    rows = "[...document.querySelectorAll('section:last-of-type tbody tr')].filter(r => r.checkVisibility()).length"
    assert browser.evaluate(rows) == 1


def test_without_a_script_every_chart_stands_there_with_its_numbers(browser, path):
    browser.open(path, scripts=False)
    nodes = browser.call("DOM.getDocument", depth=-1)
    assert browser.complaints() == []
    text = json.dumps(nodes)
    assert "polyline" in text
    assert text.count('"details"') >= 2


def test_printed_the_still_charts_are_shown(browser, path):
    browser.open(path)
    browser.call("Emulation.setEmulatedMedia", media="print")
    shown = browser.evaluate("[...document.querySelectorAll('figure .still')].map(e => e.checkVisibility())")
    assert shown == [True, True]
    assert browser.evaluate("[...document.querySelectorAll('.live, nav')].some(e => e.checkVisibility())") is False


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core: npm install axe-core, or BESTROUTE_AXE=its file")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_axe_finds_no_barrier(browser, path, width, dark):
    browser.open(path, width=width, dark=dark)
    browser.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    browser.evaluate(f"(() => {{ {AXE.read_text(encoding='utf-8')}; return 1; }})()")
    found = browser.evaluate(
        "axe.run().then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.html.slice(0, 200))]))"
    )
    assert found == []
