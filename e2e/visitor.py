"""Somebody at a browser. Whatever a page may never do fails the test that saw it, by itself:
errors and violations of the page's policy in the console, requests to elsewhere, failed requests."""

import pathlib

import axe_playwright_python
from playwright.sync_api import expect

from words import WORDS

AXE = pathlib.Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text()
# Everything that WCAG 2.2 asks for on levels A and AA and a program can see.
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"]
PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 900}

# Chromium tells of violations in the console, too; this way each is told even if it doesn't.
REPORT_VIOLATIONS = """
document.addEventListener('securitypolicyviolation', (violation) =>
  console.error('violation', violation.effectiveDirective, violation.blockedURI, violation.sourceFile));
"""
# Shifts that follow input within half a second don't count, as in web vitals.
MEASURE_SHIFTS = """
window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({ type: 'layout-shift', buffered: true });
"""


class Visitor:
    """A browser window with cookies of its own."""

    def __init__(self, browser, service, *, language="en", scripts=True, dark=False, size=None):
        self.service = service
        self.words = WORDS[language]
        self.faults = []
        # What a test is about: statuses of requests by scripts, requests that get no answer, and
        # origins of others.
        self.expected_statuses = set()
        self.expected_failures = {"net::ERR_ABORTED"}
        self.origins = [service.origin]
        self.finished = []
        self.context = browser.new_context(
            base_url=service.origin,
            locale={"en": "en-GB", "ru": "ru-RU"}[language],
            timezone_id="Europe/Moscow",
            color_scheme="dark" if dark else "light",
            viewport=size or DESKTOP,
            java_script_enabled=scripts,
            reduced_motion="reduce",
        )
        self.context.set_default_timeout(15_000)
        if scripts:
            self.context.add_init_script(REPORT_VIOLATIONS)
            self.context.add_init_script(MEASURE_SHIFTS)
        self.page = self.context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        self.page.on("request", self._asked)
        self.page.on("response", self._answered)
        self.page.on("requestfailed", self._failed)
        self.page.on("requestfinished", lambda request: self.finished.append(request))

    def _heard(self, message):
        # Which answer it was is judged where answers are.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.faults.append(f"console: {message.text}")

    def _asked(self, request):
        if not request.url.startswith((*(f"{origin}/" for origin in self.origins), "data:")):
            self.faults.append(f"asked elsewhere: {request.url}")

    def _answered(self, response):
        # A document that says no is looked at by the test that got it.
        is_answer = response.request.resource_type == "document" and response.status < 500
        is_expected = is_answer or response.status in self.expected_statuses
        if response.status >= 400 and not is_expected:
            self.faults.append(f"{response.status}: {response.request.method} {response.url}")

    def _failed(self, request):
        # What a page was still loading when it was left is aborted, its stream above all.
        if request.failure not in self.expected_failures:
            self.faults.append(f"{request.failure}: {request.url}")

    def open(self, path):
        """Opens a page, and says with which status. A stream never ends, so nothing waits for that."""
        return self.page.goto(path, wait_until="load").status

    def sign_in_as(self, user):
        """Takes over a user's session without the sign-in page."""
        self.context.add_cookies([{"name": "session_id", "value": user.session, "url": self.service.origin}])
        return self

    @property
    def main(self):
        """What the page is about, without what stands around it."""
        return self.page.get_by_role("main")

    def press(self, name):
        """Presses one of the page's buttons."""
        self.main.get_by_role("button", name=name, exact=True).click()

    def follow(self, name):
        """Follows one of the page's links."""
        self.main.get_by_role("link", name=name, exact=True).click()

    def go_to(self, name):
        """Goes to a part of the site."""
        self.page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()

    def fill(self, label, text):
        # A form may be named after its only field.
        field = self.main.locator("input, textarea, select")
        field.and_(self.main.get_by_label(label, exact=True)).fill(text)

    def book(self, event, seats):
        """Books seats on the event's page, and returns the booking's number."""
        self.open(event["page"])
        self.fill(self.words.seats, str(seats))
        self.press(self.words.book)
        held = self.main.get_by_role("link", name=self.words.to_payment).first
        expect(held).to_be_visible()
        return int(held.get_attribute("href").rsplit("/", 1)[1])

    def axe_faults(self):
        """What axe finds wrong with the page as it is now. The source goes past the page's policy, which
        stays in force."""
        self.page.evaluate(AXE)
        found = self.page.evaluate(
            """(tags) => axe.run(document, {
              preload: false, resultTypes: ['violations'], runOnly: { type: 'tag', values: tags } })""",
            AXE_TAGS,
        )
        return [
            f"{violation['id']}: {node['target']} {node['failureSummary']}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]

    def wire_bytes(self):
        """What has been received since the window was opened, packed as it was sent, with headers."""
        sizes = [request.sizes() for request in self.finished]
        return sum(size["responseHeadersSize"] + size["responseBodySize"] for size in sizes)

    def shift(self):
        """By how much the page's parts have moved without having been asked to."""
        return self.page.evaluate("window.shift")

    def overflow(self):
        """By how many pixels the page is wider than the window."""
        return self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )

    def tab_to(self, control):
        """Presses Tab until a control has the focus, which has to be seen."""
        for _ in range(60):
            self.page.keyboard.press("Tab")
            if control.evaluate("control => control === document.activeElement"):
                style = control.evaluate("control => getComputedStyle(control).outlineStyle")
                assert style != "none", f"{control} doesn't show that it has the focus"
                return
        raise AssertionError(f"{control} can't be reached by Tab")

    def close(self):
        self.context.close()
        assert not self.faults, "\n".join(self.faults)
