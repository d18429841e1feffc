"""What every test has: the service, which is one for all, and windows of its own.

Each test makes its own users and events, so that tests can run in any order."""

import os
import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

from service import Service
from visitor import Visitor

# What a page does by itself it does within this; how fast it has to be is measured elsewhere.
expect.set_options(timeout=5_000)

# No name but this machine's leads anywhere, and the browser's own business stays at home.
CHROMIUM_FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@pytest.fixture(scope="session")
def service():
    service = Service(os.environ["EVENTBOOKER_TEST_PROGRAM"])
    yield service
    service.close()


@pytest.fixture
def own_service():
    """One that a test may stop."""
    service = Service(os.environ["EVENTBOOKER_TEST_PROGRAM"])
    yield service
    service.close()


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=CHROMIUM_FLAGS,
            # As root there is no sandbox to be had.
            chromium_sandbox=os.geteuid() != 0,
        )
        yield browser
        browser.close()


@pytest.fixture
def visitor(browser, service):
    """Opens windows, and looks at the end whether all was well in each."""
    opened = []

    def open_window(service=service, **options):
        opened.append(Visitor(browser, service, **options))
        return opened[-1]

    yield open_window
    faults = []
    for window in opened:
        try:
            window.close()
        except AssertionError as error:
            faults.append(str(error))
    assert not faults, "\n".join(faults)
