"""What each chapter costs, in CPU-seconds: printed after every pass of the tests, and failing at twice the budget.

A pytest plugin. Under xdist the workers measure and the controller adds up.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil
import pytest

BUDGETS = {"kernel": 45.0, "unit tests": 10.0, "one test": 3.0, "site": 14.0}  # of one chapter
TOLERANCE = 2.0  # a slow day


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process and of the children that it has now or has waited for."""
    times = process.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in process.children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:
            continue  # it has just ended; its parent has its times
        total += times.user + times.system
    return total


def chapter_of(path: Path, root: Path) -> str | None:
    """Name the chapter that a test file or a notebook belongs to, as "stein/noise2score"."""
    part, name = path.parent.name, path.stem.removeprefix("test_")
    return f"{part}/{name}" if (root / "notebooks" / part / f"{name}.py").is_file() else None


def chapter_of_page(page: str, root: Path) -> str | None:
    """The same for a page of the site."""
    return chapter_of(Path(page), root) if page.startswith("notebooks/") else None


class Costs:
    """Adds up what the tests report, says it, and fails where it is too much."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spent: dict[tuple[str, str], float] = defaultdict(float)
        self.slow: dict[str, float] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        item.stash[_BEFORE] = cpu_seconds(psutil.Process())

    @pytest.hookimpl(tryfirst=True)  # a notebook's kernel is still there
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Leave what the test cost among its properties, which travel with its last report."""
        spent = cpu_seconds(psutil.Process()) - item.stash[_BEFORE]
        kernel = getattr(item.parent, "kernel", None)
        if kernel is not None:  # a cell of a notebook
            if nextitem is None or nextitem.parent is not item.parent:
                total = cpu_seconds(psutil.Process(kernel.km.provisioner.pid))
                item.user_properties.append(("cost", [chapter_of(item.path, self.root), "kernel", total]))
            return
        page = getattr(item, "callspec", None) and item.callspec.params.get("path")
        if item.get_closest_marker("site") is not None:
            if page and (chapter := chapter_of_page(page, self.root)):
                item.user_properties.append(("cost", [chapter, "site", spent]))
        elif chapter := chapter_of(item.path, self.root):
            item.user_properties.append(("cost", [chapter, "unit tests", spent]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "teardown":
            return
        for name, cost in report.user_properties:
            if name == "cost" and cost[0] is not None:
                chapter, kind, seconds = cost
                self.spent[kind, chapter] += seconds
                if kind == "unit tests" and seconds > BUDGETS["one test"]:
                    self.slow[report.nodeid] = seconds

    def too_much(self) -> list[str]:
        """What went over twice its budget."""
        over = [
            f"{chapter}: {kind} {seconds:.1f} CPU-s, budget {BUDGETS[kind]:g}"
            for (kind, chapter), seconds in sorted(self.spent.items())
            if seconds > TOLERANCE * BUDGETS[kind]
        ]
        return over + [
            f"{test}: {seconds:.1f} CPU-s, budget {BUDGETS['one test']:g}"
            for test, seconds in sorted(self.slow.items())
            if seconds > TOLERANCE * BUDGETS["one test"]
        ]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.spent:
            terminalreporter.section("what each chapter costs, in CPU-seconds")
            for (kind, chapter), seconds in sorted(self.spent.items()):
                terminalreporter.write_line(f"{kind:<12} {chapter:<32} {seconds:6.1f} of {BUDGETS[kind]:g}")
            for test, seconds in sorted(self.slow.items()):
                terminalreporter.write_line(f"one test     {test} {seconds:.1f} of {BUDGETS['one test']:g}")
            for complaint in self.too_much():
                terminalreporter.write_line(f"over twice its budget: {complaint}", red=True)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.OK and self.too_much():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


_BEFORE = pytest.StashKey[float]()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Costs(config.rootpath), "costs")
