"""Ratios of times: how they are measured in turns, summed up, and kept in ``results.json``.

``results.json`` holds an object with ``rows`` and, over all rows, ``machine``, ``date`` and ``versions``. A row
compares one method with one peer on one task at one number of threads, and names the machine, day and versions of its
own measurement. `Row` lists its entries.
"""

import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict


class Row(TypedDict):
    """One comparison.

    Attributes
    ----------
    part, chapter
        The file that measured it: ``benchmarks/<part>/bench_<chapter>.py``.
    task
        What was done, in a few words; one name a comparison of the chapter.
    method
        Our function, by its name.
    peer, peer_version
        The distribution that does the same work, as the package index calls it.
    threads
        Threads that both were allowed.
    rounds
        Pairs of measurements.
    ratio, low, high
        Median of the paired ratios, time of the method over time of the peer, and its 95 % interval.
    seconds_method, seconds_peer
        Median times of one unit of the task.
    quality_method, quality_peer, quality_name
        What both reached, in the unit that the name says.
    note
        How to read the row; where the method is slower, why.
    machine, date, versions
        Where, when (ISO 8601) and with what it was measured.
    """

    part: str
    chapter: str
    task: str
    method: str
    peer: str
    peer_version: str
    threads: int
    rounds: int
    ratio: float
    low: float
    high: float
    seconds_method: float
    seconds_peer: float
    quality_method: float
    quality_peer: float
    quality_name: str
    note: str
    machine: str
    date: str
    versions: dict[str, str]


def time_in_turns(
    benchmark: Callable, run_method: Callable[[], object], run_peer: Callable[[], object], *, rounds: int
) -> tuple[list[float], list[float]]:
    """Time two functions alternately: peer, method, peer, method, ...

    pytest-benchmark times the method, and calls the peer as the set-up of each round, where it is timed by the same
    clock. What the machine does meanwhile (other work, heat, clock rates) meets both alike.

    Parameters
    ----------
    benchmark
        pytest-benchmark's fixture.
    run_method, run_peer
        The work, without arguments.
    rounds
        Pairs of measurements. A pair more comes first and is thrown away: caches fill, kernels are chosen.

    Returns
    -------
    Seconds of the method and of the peer, in the order of the rounds; two empty lists where pytest-benchmark is
    switched off and both have run once.
    """
    seconds_peer = []

    def time_peer() -> None:
        start = time.perf_counter()
        run_peer()
        seconds_peer.append(time.perf_counter() - start)

    benchmark.pedantic(run_method, setup=time_peer, rounds=rounds, warmup_rounds=1)
    if benchmark.disabled:
        return [], []
    return list(benchmark.stats.stats.data), seconds_peer[-rounds:]


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float, float, float]:
    """Median of the ratios of pairs, with the interval between two order statistics that covers it in 95 %.

    The interval supposes nothing of the distribution of times but that rounds are independent.

    Parameters
    ----------
    numerators, denominators
        Positive numbers, paired.

    Returns
    -------
    The median ratio, and the ends of its interval.

    Raises
    ------
    ValueError
        If there are fewer than six pairs: then no two of them enclose the median with 95 %.

    References
    ----------
    David and Nagaraja (2003), Order Statistics, Section 7.1.

    Examples
    --------
    >>> median_ratio([2.0, 3.0, 1.0, 4.0, 6.0, 5.0], [2.0] * 6)
    (1.75, 0.5, 3.0)
    """
    n = len(numerators)
    if n < 6:
        raise ValueError(f"rounds must be at least 6 for an interval of 95 %; got {n}")
    ratios = sorted(above / below for above, below in zip(numerators, denominators, strict=True))
    # The k-th smallest and k-th largest miss the median with probability 2 P(Binomial(n, 1/2) < k).
    tail, k = 1.0, 1
    while 2 * (tail + math.comb(n, k)) <= 0.05 * 2**n:
        tail += math.comb(n, k)
        k += 1
    return statistics.median(ratios), ratios[k - 1], ratios[n - k]


def fold(rows: Iterable[Row], measured: Sequence[Row], *, whole: bool) -> list[Row]:
    """Put fresh rows in the place of older ones.

    Parameters
    ----------
    rows
        What is kept so far.
    measured
        Fresh rows.
    whole
        Whether all comparisons of their chapters were measured: then the chapters' older rows go, whatever their
        task. If not, only those go that were measured again. Rows of other chapters always stay.

    Returns
    -------
    All rows, by part, chapter, task and threads.
    """

    def place(row: Row) -> tuple:
        return row["part"], row["chapter"], row["task"], row["threads"]

    chapters = {place(row)[:2] for row in measured}
    fresh = {place(row): row for row in measured}
    kept = {place(row): row for row in rows if not (whole and place(row)[:2] in chapters)}
    return [row for _, row in sorted((kept | fresh).items())]


def write_results(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows, and above them the machines, dates and versions that they name.

    Parameters
    ----------
    path
        The file; replaced in one step.
    rows
        What it shall hold.
    """
    dates = sorted({row["date"] for row in rows})
    packages = sorted({name for row in rows for name in row["versions"]})
    results = {
        "machine": "; ".join(sorted({row["machine"] for row in rows})),
        "date": dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}",
        "versions": {name: _join(row["versions"].get(name) for row in rows) for name in packages},
        "rows": rows,
    }
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(unfinished, path)


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a file of results; none where there is no file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Its rows.
    """
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []


def report(rows: Iterable[Mapping]) -> list[str]:
    """Say what was measured, a line a row, for the terminal.

    Parameters
    ----------
    rows
        The rows.

    Returns
    -------
    Aligned lines without line ends.
    """
    return [
        f"{row['chapter']}: {row['task']}, {row['threads']} thr.: {row['ratio']:.2f} ({row['low']:.2f} to "
        f"{row['high']:.2f}) of {row['peer']} {row['peer_version']}, {row['seconds_method']:.2e} s against "
        f"{row['seconds_peer']:.2e} s, {row['quality_name']} {row['quality_method']:.4g} against "
        f"{row['quality_peer']:.4g}"
        for row in rows
    ]


def _join(values: Iterable[str | None]) -> str:
    return " / ".join(sorted({value for value in values if value is not None}))
