"""How ratios are measured and kept, on toy benchmarks; and the form, not the numbers, of what has been recorded."""

import html
import json
import platform
import re
import time
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from benchmarks.measure import Row, fold, median_ratio, read_rows, time_in_turns, write_results
from regularity.press.chapters import all_chapters, find_pair

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
FILES = sorted(ROOT.glob("benchmarks/*/bench_*.py"))


# --- The median ratio and its interval ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [*range(6, 40), 99, 100])
def test_interval_ends_where_the_binomial_law_says(n):
    """The k-th smallest of n is above the median with probability P(Binomial(n, 1/2) < k), at most 2.5 %."""
    ratios = np.arange(1.0, n + 1)
    median, low, high = median_ratio(np.random.default_rng(n).permutation(ratios), np.ones(n))
    k = int(low)
    assert stats.binom(n, 0.5).cdf(k - 1) <= 0.025 < stats.binom(n, 0.5).cdf(k)
    assert high == n + 1 - k
    assert median == (n + 1) / 2


def test_interval_covers_the_median_of_any_law():
    """Of times with a long tail, whose ratios have median 1: at least 95 % of the intervals hold it."""
    draws = np.random.default_rng(0).pareto(1.5, size=(2, 2000, 21)) + 1
    held = [low <= 1 <= high for _, low, high in map(median_ratio, *draws)]
    expected = 1 - 2 * stats.binom(21, 0.5).cdf(5)
    assert expected > 0.95
    assert np.mean(held) == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 2000) ** 0.5)


def test_ratios_are_paired():
    """A machine that slows down tenfold halfway does not move the ratio."""
    slowdown = np.repeat([1.0, 10.0], 6)
    assert median_ratio(2 * slowdown, 4 * slowdown) == (0.5, 0.5, 0.5)


@pytest.mark.bad_input
def test_five_rounds_have_no_interval():
    with pytest.raises(ValueError, match="rounds must be at least 6 for an interval of 95 %; got 5"):
        median_ratio([1.0] * 5, [1.0] * 5)


class StoppedWatch:
    """What `time_in_turns` uses of pytest-benchmark's fixture, on a clock that the work itself moves."""

    disabled = False

    def __init__(self):
        self.now = 0.0
        self.stats = SimpleNamespace(stats=SimpleNamespace(data=[]))

    def work(self, seconds):
        """Return a function whose calls last one of these seconds after another."""
        durations = iter(seconds)

        def run():
            self.now += next(durations)

        return run

    def pedantic(self, target, setup, rounds, warmup_rounds):
        """Time as pytest-benchmark does: each round after a set-up, the first ones for nothing."""
        for number in range(warmup_rounds + rounds):
            setup()
            start = self.now
            target()
            if number >= warmup_rounds:
                self.stats.stats.data.append(self.now - start)


def test_rounds_are_paired_and_the_first_is_thrown_away(monkeypatch):
    watch = StoppedWatch()
    monkeypatch.setattr(time, "perf_counter", lambda: watch.now)
    method, peer = watch.work([50.0, 1.0, 2.0, 3.0]), watch.work([90.0, 10.0, 20.0, 30.0])
    assert time_in_turns(watch, method, peer, rounds=3) == ([1.0, 2.0, 3.0], [10.0, 20.0, 30.0])


# --- What is kept ---------------------------------------------------------------------------------------------------


def a_row(**changes):
    row = dict.fromkeys(Row.__annotations__, 1.0)
    row |= {"part": "stein", "chapter": "noise2score", "task": "step", "threads": 1, "machine": "a CPU"}
    return row | {"date": "2026-01-02", "versions": {"torch": "2.6"}} | changes


def test_fresh_rows_replace_their_own_place_alone():
    old = [a_row(), a_row(threads=2), a_row(task="gone"), a_row(chapter="stein_pareto"), a_row(part="noise")]
    fresh = [a_row(ratio=7.0), a_row(task="new", ratio=7.0)]

    def places(rows):
        return [(row["part"], row["chapter"], row["task"], row["threads"], row["ratio"]) for row in rows]

    others = [("noise", "noise2score", "step", 1, 1.0), ("stein", "stein_pareto", "step", 1, 1.0)]
    new, again = ("stein", "noise2score", "new", 1, 7.0), ("stein", "noise2score", "step", 1, 7.0)
    assert places(fold(old, fresh, whole=True)) == sorted([new, again, *others])
    left = [("stein", "noise2score", "gone", 1, 1.0), ("stein", "noise2score", "step", 2, 1.0)]
    assert places(fold(old, fresh, whole=False)) == sorted([new, again, *left, *others])
    assert places(fold([], fresh, whole=False)) == [new, again]


def test_results_name_all_machines_dates_and_versions(tmp_path):
    path = tmp_path / "results.json"
    assert read_rows(path) == []
    rows = [
        a_row(),
        a_row(machine="another CPU", date="2026-03-04", versions={"torch": "2.7", "numpy": "2.0"}),
        a_row(date="2026-02-03"),
    ]
    write_results(path, rows[:1])
    assert json.loads(path.read_text())["date"] == "2026-01-02"
    write_results(path, rows)
    assert read_rows(path) == rows
    results = json.loads(path.read_text())
    assert results["machine"] == "a CPU; another CPU"
    assert results["date"] == "2026-01-02 to 2026-03-04"
    assert results["versions"] == {"numpy": "2.0", "torch": "2.6 / 2.7"}
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


# --- Whole sessions, on toy benchmarks ------------------------------------------------------------------------------

TOY = """
import time
import pytest

TURNS = []

def work(name, seconds):
    TURNS.append(name)
    time.sleep(seconds)

@pytest.mark.parametrize("task", {tasks})
def test_nap(compare, task):
    assert {agrees}, "they do not agree"
    TURNS.clear()
    compare(
        task, method="nap", peer="pytest", n_units=4, quality=(1.0, {quality}), quality_name="naps", note={note!r},
        run_method=lambda: work("method", {seconds}), run_peer=lambda: work("peer", 0.04),
    )
    assert TURNS == ["peer", "method"] * {n_turns}
"""


@pytest.fixture
def session(pytester, monkeypatch):
    """Run toy benchmarks under the real conftest, in their own folder; return the outcome and the rows by place."""
    monkeypatch.delenv(
        "PYTEST_XDIST_WORKER", raising=False
    )  # pytest-benchmark would see it and switch itself off
    folder = pytester.mkpydir("timings")
    (folder / "conftest.py").write_text((ROOT / "benchmarks" / "conftest.py").read_text())

    def run(*arguments, **files):
        for chapter, changes in files.items():
            toy = {
                "tasks": ["nap"],
                "agrees": True,
                "quality": 1.0,
                "note": "",
                "seconds": 0.01,
                "n_turns": 7,
            } | changes
            (folder / "stein").mkdir(exist_ok=True)
            (folder / "stein" / f"bench_{chapter}.py").write_text(TOY.format(**toy))
        result = pytester.runpytest_inprocess("-o", "python_files=bench_*.py", "--rounds=6", *arguments)
        rows = read_rows(folder / "results.json")
        return result, {(row["chapter"], row["task"], row["threads"]): row for row in rows}

    return run


def test_a_session_times_in_turns_and_keeps_what_it_measured(session):
    result, rows = session("timings", dream={"tasks": ["short nap", "nap"]}, sleep={})
    result.assert_outcomes(passed=len(rows))
    threads = {place[2] for place in rows}
    assert 1 in threads
    assert rows.keys() == {
        (chapter, task, n)
        for chapter, task in (("dream", "short nap"), ("dream", "nap"), ("sleep", "nap"))
        for n in threads
    }
    row = rows["dream", "nap", 1]
    # A nap of 0.01 s beside one of 0.04 s, four units each; on a busy machine either may last longer, never shorter.
    assert 0 < row["low"] <= row["ratio"] <= row["high"]
    assert row["ratio"] < 1
    assert 0.01 / 4 <= row["seconds_method"] < row["seconds_peer"]
    assert 0.04 / 4 <= row["seconds_peer"] < 0.04
    assert (row["peer_version"], row["rounds"], row["date"]) == (
        pytest.__version__,
        6,
        date.today().isoformat(),
    )
    result.stdout.fnmatch_lines(["*dream: short nap, 1 thr.: 0.* of pytest *, naps 1 against 1"])

    # A file that is run again replaces its own rows, those of tasks that it no longer has too, and no others.
    result, again = session(
        "timings/stein/bench_dream.py", dream={"tasks": ["siesta", "nap"], "quality": 2.0}
    )
    assert {place[:2] for place in again} == {("dream", "siesta"), ("dream", "nap"), ("sleep", "nap")}
    assert again["dream", "nap", 1]["quality_peer"] == 2.0
    assert all(again["sleep", "nap", n] == rows["sleep", "nap", n] for n in threads)

    # A part of a file replaces that part.
    result, part = session(
        "timings", "-k", "siesta and 1-threads", dream={"tasks": ["siesta", "nap"], "quality": 3.0}
    )
    result.assert_outcomes(passed=1, deselected=3 * len(threads) - 1)
    assert {place for place in part if part[place] != again[place]} == {("dream", "siesta", 1)}
    assert part.keys() == again.keys()


@pytest.mark.parametrize(
    ("toy", "arguments", "message"),
    [
        ({"agrees": False}, [], "*they do not agree*"),
        ({"seconds": 0.2}, [], "*nap: * times its peer's time; say why in `note`*"),
        ({}, ["--rounds=5"], "*rounds must be at least 6*"),
    ],
)
def test_a_session_with_a_failure_writes_nothing(session, toy, arguments, message):
    _, before = session("timings", sleep={})
    result, after = session("timings", "-k", "1-threads", *arguments, sleep={}, dream=toy)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([message])
    assert after == before


def test_a_slower_method_may_say_why(session):
    result, rows = session("timings", "-k", "1-threads", sleep={"seconds": 0.2, "note": "it sleeps longer"})
    result.assert_outcomes(passed=1, deselected=result.parseoutcomes().get("deselected", 0))
    assert rows["sleep", "nap", 1]["low"] > 1
    assert rows["sleep", "nap", 1]["note"] == "it sleeps longer"


def test_agreement_can_be_checked_without_timing(session):
    result, rows = session("timings", "--benchmark-disable", sleep={"n_turns": 1})
    assert result.ret == pytest.ExitCode.OK
    assert rows == {}


def test_threads_are_given_back(session):
    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(n_threads + 7)
        session("timings", "--benchmark-disable", sleep={"n_turns": 1})
        assert torch.get_num_threads() == n_threads + 7
    finally:
        torch.set_num_threads(n_threads)


# --- What has been recorded -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded():
    return read_rows(ROOT / "benchmarks" / "results.json")


def test_every_benchmark_has_rows_and_every_row_a_benchmark(recorded):
    measured = {(row["part"], row["chapter"]) for row in recorded}
    assert measured == {(path.parent.name, path.stem.removeprefix("bench_")) for path in FILES}
    assert measured <= {(chapter.part, chapter.name) for chapter in all_chapters(ROOT)}


def test_rows_have_their_form(recorded):
    places = [(row["chapter"], row["task"], row["threads"]) for row in recorded]
    assert len(set(places)) == len(places)
    for row, place in zip(recorded, places, strict=True):
        assert row.keys() == Row.__annotations__.keys(), place
        kinds = {name: kind for name, kind in Row.__annotations__.items() if kind in (str, int, float)}
        assert all(isinstance(row[name], kind) for name, kind in kinds.items()), place
        assert 0 < row["low"] <= row["ratio"] <= row["high"], place
        assert row["seconds_method"] > 0 < row["seconds_peer"], place
        assert row["rounds"] >= 6, place
        assert row["threads"] >= 1, place
        assert row["low"] <= 1 or row["note"], place
        assert date.fromisoformat(row["date"]) >= date(2026, 1, 1), place
        assert {"python", "torch"} <= row["versions"].keys(), place


@pytest.fixture(scope="module")
def shown():
    """The tables of "How fast", as text: the slowest tasks, then those of each part; and the names of its figures."""
    outputs = [
        output
        for cell in find_pair("how_fast", ROOT).executed()["cells"]
        for output in cell.get("outputs", [])
    ]
    found = ["".join(output["data"]["text/html"]) for output in outputs if "text/html" in output["data"]]
    glued = {
        output["metadata"]["scrapbook"]["name"] for output in outputs if "scrapbook" in output["metadata"]
    }
    return [html.unescape(table) for table in found], glued


def test_how_fast_begins_with_the_slowest(recorded, shown):
    slowest = re.findall(r"<th>([^<]+: [^<]+)</th>\s*<td>([^<]+)</td>", shown[0][0])
    ratios = {}
    for row in recorded:
        task = f"{row['chapter']}: {row['task']}"
        ratios[task] = max(row["ratio"], ratios.get(task, 0.0))
    expected = sorted(ratios.items(), key=lambda pair: -pair[1])[: len(slowest)]
    assert slowest
    assert [(task, float(ratio)) for task, ratio in slowest] == [
        (task, pytest.approx(ratio, abs=0.006)) for task, ratio in expected
    ]


def test_how_fast_shows_every_part_and_all_that_was_recorded(recorded, shown):
    tables, glued = shown
    assert {row["part"] for row in recorded} <= glued
    for row in recorded:
        ratio = f"{row['ratio']:.2f} ({row['low']:.2f}–{row['high']:.2f})"
        assert any(f"{row['chapter']}: {row['task']}" in table and ratio in table for table in tables[1:]), (
            row
        )


def test_recorded_results_say_nothing_of_whose_machine_it_was():
    text = (ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.])[/~]\w+/\w|[A-Z]:\\\\", text)
    assert len(platform.node()) < 4 or platform.node() not in text
