"""Many runs of a chapter: over parameters and seeds, spread by dask.distributed, summarised in a table."""

import csv
import io
import itertools
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from tqdm import tqdm

from regularity.lab.chapters import BookError, Chapter
from regularity.lab.claims import format_measurement
from regularity.lab.execution import RunFailedError
from regularity.lab.parameters import default_values, parse_value
from regularity.lab.runs import (
    execute_run,
    read_run,
    run_folder,
    store_failure,
    store_run,
)


def expand_grid(
    chapter: Chapter, fixed: Mapping[str, Any], over: Sequence[str], seeds: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """List the runs of a sweep.

    Parameters
    ----------
    chapter
        The chapter.
    fixed
        Parameters of all runs.
    over
        "NAME=V1,V2,..." each; every combination becomes a run.
    seeds
        Each setting is run at each of them; None: at the chapter's own or the one in `fixed`.

    Returns
    -------
    The parameters of each run, without those that equal the defaults.

    Raises
    ------
    BookError
        If an entry is not of that form, a name is unknown or comes twice, or a value has the wrong type.
    """
    axes: dict[str, list[Any]] = {}
    for entry in over:
        name, equals, values = entry.partition("=")
        if not equals or not values:
            raise BookError(f"--over must be NAME=V1,V2,...; got {entry!r}")
        if name in axes:
            raise BookError(f"--over {name} is given twice")
        axes[name] = [parse_value(chapter, name, text.strip()) for text in values.split(",")]
    if seeds is not None:
        if "seed" in axes:
            raise BookError("--over seed and --seeds exclude each other")
        axes["seed"] = list(seeds)
    defaults = default_values(chapter)
    runs = []
    for values in itertools.product(*axes.values()):
        setting = {**fixed, **dict(zip(axes, values, strict=True))}
        run = {name: value for name, value in setting.items() if value != defaults[name]}
        if run not in runs:
            runs.append(run)
    return runs


@dataclass(frozen=True)
class SweepResult:
    """What a sweep left.

    Attributes
    ----------
    folders
        Where each run is kept, in the order of the runs; None where it failed.
    failures
        The reason of each failed run, by its number.
    """

    folders: list[Path | None]
    failures: dict[int, str]


def run_many(
    chapter: Chapter,
    runs: Sequence[Mapping[str, Any]],
    store: Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    say: Callable[[str], None] = print,
) -> SweepResult:
    """Run what is not done yet, on dask; keep each run as soon as it is finished.

    A lost worker's run goes to another one; a notebook that raised is tried once more, then reported, and the others
    finish. Cut off at any moment, the same call goes on from what was kept.

    Parameters
    ----------
    chapter
        The chapter.
    runs
        The parameters of each run.
    store
        The folder of all runs.
    workers
        Processes of a local cluster; None: one a core, at most one a run.
    scheduler
        Address of a dask scheduler, instead of a local cluster.
    say
        Told what is going on, in single lines.

    Returns
    -------
    Where the runs are kept, and what failed.

    Raises
    ------
    BookError
        If no scheduler answers at the address, or a run cannot be written.
    KeyboardInterrupt
        Where the user interrupts; finished runs are kept.
    """
    places = [run_folder(chapter, run, store) for run in runs]
    waiting = {number: run for number, run in enumerate(runs) if not places[number].is_dir()}
    if len(waiting) < len(runs):
        say(f"{len(runs) - len(waiting)} of {len(runs)} runs are done already")
    failures: dict[int, str] = {}
    if waiting:
        with _client(min(workers or os.cpu_count() or 1, len(waiting)), scheduler, say) as client:
            from distributed import as_completed

            text = nbformat.writes(chapter.cells)
            futures = {
                client.submit(
                    execute_run, text, run, key=f"{chapter.name}-{places[number].name}", retries=1
                ): number
                for number, run in waiting.items()
            }
            finished = as_completed(futures, loop=client.loop)
            for future in tqdm(finished, total=len(futures), desc=chapter.name, file=sys.stderr):
                number = futures[future]
                error = future.exception()
                if error is None:
                    store_run(places[number], chapter, runs[number], future.result())
                else:
                    failures[number] = str(error)
                    if isinstance(error, RunFailedError):
                        kept = store_failure(places[number], chapter, error)
                        failures[number] += f" (traceback in {kept / 'traceback.txt'})"
                future.release()
    return SweepResult([place if place.is_dir() else None for place in places], failures)


@contextmanager
def _client(workers: int, scheduler: str | None, say: Callable[[str], None]) -> Iterator[Any]:
    """Open a client of a scheduler, or of a local cluster that ends with it."""
    from distributed import Client, LocalCluster

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout="10s", set_as_default=False)
        except (OSError, ValueError) as error:
            raise BookError(f"no dask scheduler answers at {scheduler!r}: {error}") from None
        say(f"scheduler {scheduler}, dashboard {client.dashboard_link}")
        with client:
            yield client
        return
    n_threads = max(1, (os.cpu_count() or 1) // workers)
    threads = {
        name: str(n_threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    }
    options = {"n_workers": workers, "threads_per_worker": 1, "memory_limit": 0, "env": threads}
    options["silence_logs"] = logging.CRITICAL  # what goes wrong is told by the runs themselves
    with (
        LocalCluster(host="127.0.0.1", dashboard_address="127.0.0.1:0", **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        say(f"local cluster of {workers} workers, dashboard {client.dashboard_link}")
        yield client


@dataclass(frozen=True)
class SummaryRow:
    """One claim at one setting, over its runs.

    Attributes
    ----------
    setting
        The swept parameters, without the seed.
    claim
        The words of the claim.
    n_runs
        How many runs there are.
    mean, standard_error
        Of the measured values; the standard error is None for a single run, both are None where a value is missing.
    reproduced
        In how many runs the verdict was *reproduced*.
    """

    setting: dict[str, Any]
    claim: str
    n_runs: int
    mean: float | None
    standard_error: float | None
    reproduced: int


def summarise(
    runs: Sequence[Mapping[str, Any]], folders: Sequence[Path | None], names: Sequence[str], chapter: Chapter
) -> list[SummaryRow]:
    """Average each claim over the runs of each setting.

    Parameters
    ----------
    runs, folders
        Parameters of the runs and where they are kept; failed ones are left out.
    names
        The swept parameters, without the seed.
    chapter
        The chapter, for the defaults.

    Returns
    -------
    One row a setting and claim.
    """
    defaults = default_values(chapter)
    groups: dict[tuple[Any, ...], list[list[dict[str, Any]]]] = {}
    for run, folder in zip(runs, folders, strict=True):
        if folder is not None:
            setting = tuple(str({**defaults, **run}[name]) for name in names)
            groups.setdefault(setting, []).append(read_run(folder)["claims"])
    rows = []
    for setting, claims_of_runs in groups.items():
        for claims in zip(*claims_of_runs, strict=True):
            values = [claim["measured"] for claim in claims]
            mean, error = _mean_and_error(values)
            held = sum(claim["verdict"] == "reproduced" for claim in claims)
            named = dict(zip(names, setting, strict=True))
            rows.append(SummaryRow(named, claims[0]["claim"], len(values), mean, error, held))
    return rows


def _mean_and_error(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    if any(value is None for value in values):
        return None, None
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def as_csv(rows: Sequence[SummaryRow]) -> str:
    """Write a summary as comma-separated values.

    Parameters
    ----------
    rows
        Of one sweep.

    Returns
    -------
    A header and one line a row.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(rows[0].setting) if rows else []
    writer.writerow([*names, "claim", "runs", "mean", "standard_error", "reproduced"])
    for row in rows:
        numbers = ["" if value is None else f"{value:.6g}" for value in (row.mean, row.standard_error)]
        writer.writerow([*row.setting.values(), row.claim, row.n_runs, *numbers, row.reproduced])
    return text.getvalue()


def as_table(rows: Sequence[SummaryRow]) -> str:
    """Write a summary for a terminal.

    Parameters
    ----------
    rows
        Of one sweep.

    Returns
    -------
    A block a setting, one line a claim.
    """
    lines = []
    for setting, group in itertools.groupby(rows, key=lambda row: row.setting):
        lines.append(", ".join(f"{name}={value}" for name, value in setting.items()) or "all runs")
        for row in group:
            measured = format_measurement(row.mean, row.standard_error)
            lines.append(f"    {row.reproduced}/{row.n_runs} {row.claim}: {measured}")
    return "\n".join(lines)


def write_summary(rows: Sequence[SummaryRow], folder: Path) -> None:
    """Keep a sweep's summary as `summary.csv` and `summary.png`.

    Parameters
    ----------
    rows
        Of one sweep.
    folder
        Made where it is missing.

    Raises
    ------
    BookError
        If it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.csv").write_text(as_csv(rows), encoding="utf-8")
        _draw_summary(rows, folder / "summary.png")
    except OSError as error:
        raise BookError(f"cannot write {folder}: {error.strerror}") from None


def _draw_summary(rows: Sequence[SummaryRow], path: Path) -> None:
    """Draw each claim's measured value against the settings, with standard errors."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from regularity.lab.figures import ACCENT, figure, use_book_style

    claims = list(dict.fromkeys(row.claim for row in rows))
    with matplotlib.rc_context():
        use_book_style()
        fig, axes = figure(len(claims), 1, height=1.9 * len(claims), squeeze=False)
        for claim, panel in zip(claims, axes[:, 0], strict=True):
            chosen = [row for row in rows if row.claim == claim and row.mean is not None]
            labels = [
                "\n".join(f"{name}={value}" for name, value in row.setting.items()) or "all" for row in chosen
            ]
            errors = [row.standard_error or 0.0 for row in chosen]
            panel.errorbar(
                range(len(chosen)), [row.mean for row in chosen], errors, fmt="o", color=ACCENT, capsize=3
            )
            panel.set_xticks(range(len(chosen)), labels)
            panel.set_title(claim, loc="left", wrap=True)
            panel.set_ylabel("measured")
        fig.savefig(path)
        plt.close(fig)
