"""Pages opened in headless Chromium."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sample_frames import make_dataset, make_frames, report_on

from stt_ft.evaluation.report import Report
from stt_ft.evaluation.scores import Scores
from stt_ft.pages.report_page import write_report_page


@dataclass(frozen=True, kw_only=True)
class OpenedPage:
    """A page in a browser, and the report that it shows, where it shows one."""

    driver: Any
    path: Path
    report: Report | None = None

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def wait_until(self, condition: Callable[[], Any], timeout_s: float = 60.0) -> None:
        """Ask until `condition` is true. What the page replaced while it was looked at is not there yet."""
        from selenium.common.exceptions import StaleElementReferenceException

        deadline_s = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(StaleElementReferenceException):
                if condition():
                    return
            assert time.monotonic() < deadline_s, "nothing happened in time"
            time.sleep(0.05)

    def nameless_controls(self) -> list[str]:
        """Return the controls that a screen reader could not name."""
        return self.run("""
            const nameOf = e => e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.[0]?.textContent.trim();
            const controls = [...document.querySelectorAll('button, input, select, [role=slider], canvas')];
            return controls.filter(control => !nameOf(control)).map(control => control.outerHTML.slice(0, 80));
        """)


@pytest.fixture
def opened_page() -> type[OpenedPage]:
    """Return the class, which test files cannot import from here."""
    return OpenedPage


@pytest.fixture(scope="session")
def driver() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    chromedriver = shutil.which("chromedriver")
    if chromedriver is None or subprocess.run([chromedriver, "--version"], capture_output=True).returncode:
        pytest.skip("needs a chromedriver that runs (Ubuntu's asks for a snap)")
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,1400"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    yield browser
    browser.quit()


@pytest.fixture(scope="session")
def written_page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    directory = tmp_path_factory.mktemp("page")
    frames = make_frames(10, 5, num_hesitant=8)
    dataset = make_dataset(directory / "dataset", frames)
    report = report_on(frames)
    write_report_page(directory / "report.html", report, Scores.of(frames), dataset=dataset.directory)
    return report, directory / "report.html"


@pytest.fixture
def page(driver: Any, written_page: tuple[Report, Path]) -> OpenedPage:
    report, path = written_page
    driver.get(path.as_uri())
    return OpenedPage(driver=driver, report=report, path=path)
