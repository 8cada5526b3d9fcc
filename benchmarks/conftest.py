"""Benchmarks: each method beside the peer that a user would pick instead, on the same inputs, timed in turns.

``make bench`` runs them all; ``pytest benchmarks/stein/bench_noise2score.py`` one chapter's, ``-k`` a part of it, and
``--benchmark-disable`` checks the agreement alone. What was measured replaces its own rows of ``results.json``, and
no others; a session with a failure writes nothing. A chapter adds one file, ``benchmarks/<part>/bench_<chapter>.py``,
whose tests call the fixture `compare`.
"""

import os
import platform
from collections.abc import Callable, Iterator
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path
from statistics import median

import pytest
import torch
from cpuinfo import get_cpu_info
from threadpoolctl import threadpool_limits

from benchmarks.measure import Row, fold, median_ratio, read_rows, report, time_in_turns, write_results

RESULTS = Path(__file__).with_name("results.json")
MEASURED = pytest.StashKey[list[Row]]()
SELECTED = pytest.StashKey[bool]()
N_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.fixture(params=sorted({1, N_CORES}), ids="{}-threads".format)
def n_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Allow one thread, then all cores: to torch, to linear algebra and to OpenMP."""
    before = torch.get_num_threads()
    with threadpool_limits(limits=request.param):
        torch.set_num_threads(request.param)
        yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def compare(request: pytest.FixtureRequest, n_threads: int, benchmark: Callable) -> Callable[..., None]:
    """Return the function that times a method against its peer and keeps the row.

    Assert before it that both reach the same accuracy. Its arguments, all but the first by name:

    task
        What is done, in a few words; one name a comparison of the chapter.
    method
        Our function, by its name.
    peer
        The distribution that does the same work, by its name on the package index.
    run_method, run_peer
        The work, without arguments, on the same inputs.
    n_units
        Units of the task in one call (steps, images, draws): seconds are kept for one.
    quality, quality_name
        What method and peer reached, a pair of numbers, and what the numbers are.
    note
        How to read the row. A method that is slower than its peer must say why, or the benchmark fails.
    """

    def compare(
        task: str,
        *,
        method: str,
        peer: str,
        run_method: Callable[[], object],
        run_peer: Callable[[], object],
        quality: tuple[float, float],
        quality_name: str,
        n_units: int = 1,
        note: str = "",
    ) -> None:
        benchmark.group = task
        rounds = request.config.getoption("rounds")
        seconds_method, seconds_peer = time_in_turns(benchmark, run_method, run_peer, rounds=rounds)
        if not seconds_method:
            return
        ratio, low, high = median_ratio(seconds_method, seconds_peer)
        assert note or low <= 1, f"{task}: {ratio:.2f} times its peer's time; say why in `note`"
        row = Row(
            part=request.path.parent.name,
            chapter=request.path.stem.removeprefix("bench_"),
            task=task,
            method=method,
            peer=peer,
            peer_version=version(peer),
            threads=n_threads,
            rounds=rounds,
            ratio=_rounded(ratio),
            low=_rounded(low),
            high=_rounded(high),
            seconds_method=_rounded(median(seconds_method) / n_units),
            seconds_peer=_rounded(median(seconds_peer) / n_units),
            quality_method=_rounded(quality[0]),
            quality_peer=_rounded(quality[1]),
            quality_name=quality_name,
            note=note,
            machine=_machine(),
            date=date.today().isoformat(),
            versions={"python": platform.python_version()}
            | {name: version(name) for name in ("numpy", "scipy", "torch")},
        )
        request.config.stash[MEASURED].append(row)

    return compare


def _rounded(value: float) -> float:
    """Four digits: more would be noise."""
    return float(f"{value:.4g}")


@cache
def _machine() -> str:
    cpu = get_cpu_info().get("brand_raw", platform.machine())
    return f"{cpu}, {N_CORES} {'core' if N_CORES == 1 else 'cores'}, {platform.system()}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the number of rounds to the command line."""
    parser.addoption(
        "--rounds", type=int, default=21, help="pairs of measurements of each benchmark (at least 6)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start a session without rows."""
    config.stash[MEASURED] = []
    config.stash[SELECTED] = any("::" in argument for argument in config.args)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Remember that a part of a file was asked for."""
    items[0].config.stash[SELECTED] = True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the ratios."""
    if config.stash[MEASURED]:
        terminalreporter.section("time of the method over time of its peer (95 % interval)")
        terminalreporter.write_line("\n".join(report(config.stash[MEASURED])))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep the rows of a session without failures."""
    measured = session.config.stash[MEASURED]
    if measured and exitstatus == pytest.ExitCode.OK:
        write_results(RESULTS, fold(read_rows(RESULTS), measured, whole=not session.config.stash[SELECTED]))
