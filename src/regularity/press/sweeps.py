"""Many runs of a chapter: over parameters and seeds, spread by dask.distributed, summarised in a table."""

import asyncio
import csv
import io
import itertools
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regularity.lab.estimates import format_measurement, mean
from regularity.press.chapters import Chapter
from regularity.press.errors import BookError, one_line
from regularity.press.execution import RunFailedError
from regularity.press.files import replace_file, sweep_scratch
from regularity.press.parameters import parse_values, without_defaults
from regularity.press.runs import Run, execute_run, n_cores

PATIENCE = 10.0  # seconds for a scheduler's first answer


def expand_grid(
    chapter: Chapter, fixed: Mapping[str, Any], over: Sequence[str], seeds: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """List the runs of a sweep.

    Parameters
    ----------
    fixed
        Parameters of all runs.
    over
        "NAME=V1,V2,..." each; every combination becomes a run. Values that are lists are written [1, 2],[3, 4].
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
        axes[name] = parse_values(chapter, name, values)
    if seeds is not None:
        if "seed" in axes:
            raise BookError("--over seed and --seeds exclude each other")
        axes["seed"] = list(seeds)
    runs = []
    for values in itertools.product(*axes.values()):
        run = without_defaults(chapter, {**fixed, **dict(zip(axes, values, strict=True))})
        if run not in runs:
            runs.append(run)
    return runs


def run_many(
    runs: Sequence[Run],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    say: Callable[[str], None] = print,
) -> dict[int, str]:
    """Run what is not done yet, on dask; keep each run as soon as it is finished.

    A lost worker's run goes to another one; a notebook that raised is tried once more, then reported, and the others
    finish. Cut off at any moment, the same call goes on from what was kept.

    Parameters
    ----------
    runs
        The runs, of one chapter.
    workers
        Processes of a local cluster; None: one a core, at most one a run.
    scheduler
        Address of a dask scheduler, instead of a local cluster.
    say
        Told what is going on, in single lines.

    Returns
    -------
    The reason of each run that failed, by its number.

    Raises
    ------
    BookError
        If no scheduler answers at the address, or a run cannot be written.
    KeyboardInterrupt
        Where the user interrupts; finished runs are kept.
    """
    runs[0].prepare()
    waiting = {number: run for number, run in enumerate(runs) if not run.done}
    if len(waiting) < len(runs):
        say(f"{len(runs) - len(waiting)} of {len(runs)} runs are done already")
    failures: dict[int, str] = {}
    if not waiting:
        return failures
    from distributed import as_completed
    from tqdm import tqdm

    chapter = runs[0].chapter
    here = Path.cwd()
    with _client(min(workers or n_cores(), len(waiting)), scheduler, say) as client:
        futures = {}
        for number, run in waiting.items():
            key = f"{chapter.name}-{run.digest}"
            futures[client.submit(execute_run, *run.task, here, key=key, retries=1)] = number
        finished = as_completed(futures, loop=client.loop)
        for future in tqdm(finished, total=len(futures), desc=chapter.name, file=sys.stderr):
            if future.cancelled():
                n_kept = sum(run.done for run in runs)
                raise BookError(
                    f"the scheduler is gone; {n_kept} of {len(runs)} runs are kept, and the same command goes on"
                )
            number = futures[future]
            error = future.exception()
            if error is None:
                runs[number].store(future.result())
            else:
                failures[number] = one_line(error)
                if isinstance(error, RunFailedError):
                    kept = runs[number].fail(error)
                    failures[number] += f" (traceback in {kept / 'traceback.txt'})"
            future.release()
    return failures


@contextmanager
def _client(workers: int, scheduler: str | None, say: Callable[[str], None]) -> Iterator[Any]:
    """Open a client of a scheduler, or of a local cluster that ends with it."""
    from distributed import Client

    for name in ("distributed", "distributed.client"):  # the second has a level of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is told by the runs themselves
    with ExitStack() as stack:
        if scheduler is None:
            stack.callback(sweep_scratch)  # of workers that were ended in the middle of a run
            n_threads = str(max(1, n_cores() // workers))
            threads = {f"{library}_NUM_THREADS": n_threads for library in ("OMP", "MKL", "OPENBLAS")}
            cluster = _start_cluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=0,
                env=threads,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                security=True,  # keys of its own: other users of this machine cannot command it
                silence_logs=logging.CRITICAL,
            )
            address, name = stack.enter_context(cluster), f"local cluster of {workers} workers"
        else:
            n_workers = _ask_scheduler(scheduler)
            address, name = scheduler, f"scheduler {scheduler}"
            if not n_workers:
                say(f"{name} has no workers yet: waiting for the first")
        client = Client(address, timeout="30s", set_as_default=False)
        stack.callback(_close, client)
        say(f"{name}, dashboard {client.dashboard_link}")
        yield client


def _start_cluster(**options: Any) -> Any:
    """Start a local cluster; one that is interrupted half-way is not closed at exit, which dask cannot do."""
    import atexit

    from distributed import LocalCluster
    from distributed.deploy import spec

    try:
        return LocalCluster(**options)
    except KeyboardInterrupt:
        atexit.unregister(spec.close_clusters)  # its processes are daemons, and end with this one
        raise
    except RuntimeError as error:
        atexit.unregister(spec.close_clusters)
        raise BookError(f"no local cluster can be started: {one_line(error)}") from None


def _close(client: Any) -> None:
    with suppress(OSError, TimeoutError):  # a scheduler that is gone does not answer
        client.close(timeout=3)


def _ask_scheduler(address: str) -> int:
    """Ask a scheduler how many workers it has; dask itself waits minutes for a server of another kind."""
    from distributed.core import rpc
    from distributed.security import Security

    async def identify() -> dict[str, Any]:
        server = rpc(address, connection_args=Security().get_connection_args("client"))
        try:
            return await asyncio.wait_for(server.identity(), PATIENCE)
        finally:
            await server.close_rpc()

    try:
        found = asyncio.run(identify())
    except Exception as error:  # whatever a transport makes of an address, or of who answers there
        reason = (
            f"nothing that is one within {PATIENCE:g} s"
            if isinstance(error, TimeoutError)
            else one_line(error)
        )
        raise BookError(f"no dask scheduler answers at {address!r}: {reason}") from None
    if found.get("type") != "Scheduler":
        raise BookError(f"no dask scheduler answers at {address!r}, but a {found.get('type')}")
    return len(found["workers"])


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
    unit
        Of both.
    reproduced
        In how many runs the verdict was *reproduced*.
    """

    setting: dict[str, Any]
    claim: str
    n_runs: int
    mean: float | None
    standard_error: float | None
    unit: str
    reproduced: int


def summarise(runs: Sequence[Run], names: Sequence[str]) -> list[SummaryRow]:
    """Average each claim over the runs of each setting.

    Parameters
    ----------
    runs
        Of one chapter; those that failed are left out.
    names
        The swept parameters, without the seed.

    Returns
    -------
    One row a setting and claim that was checked.
    """
    groups: dict[tuple[tuple[str, ...], str], list[dict[str, Any]]] = {}
    for run in runs:
        if run.done:
            declared = run.chapter.parameters
            setting = tuple(str(run.parameters.get(name, declared[name].default)) for name in names)
            for claim in run.read()["claims"]:
                if claim["verdict"] != "not checked":
                    groups.setdefault((setting, claim["claim"]), []).append(claim)
    rows = []
    for (setting, text), claims in groups.items():
        centre, error = _mean_and_error([claim["measured"] for claim in claims])
        held = sum(claim["verdict"] == "reproduced" for claim in claims)
        named = dict(zip(names, setting, strict=True))
        rows.append(SummaryRow(named, text, len(claims), centre, error, claims[0]["unit"], held))
    return rows


def _mean_and_error(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    if None in values:
        return None, None
    if len(values) < 2:
        return values[0], None
    estimate = mean(values)
    return estimate.value, estimate.error


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
    writer.writerow([*names, "claim", "runs", "mean", "standard_error", "unit", "reproduced"])
    for row in rows:
        numbers = ["" if value is None else f"{value:.6g}" for value in (row.mean, row.standard_error)]
        writer.writerow([*row.setting.values(), row.claim, row.n_runs, *numbers, row.unit, row.reproduced])
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
            measured = format_measurement(row.mean, row.standard_error, row.unit)
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
        replace_file(folder / "summary.csv", as_csv(rows))
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
