"""`regularity`: a thin command line over papermill, for the chapters of this book."""
# ruff: noqa: E402 (an interrupt is met before anything else is imported)

import errno
import os
import signal
import sys


def _end(*_: object) -> None:
    os.write(2, b"interrupted before anything was begun\n")
    os._exit(INTERRUPTED)


INTERRUPTED = 130
if (
    os.path.basename(sys.argv[0]) == "regularity"
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    # A worker of a sweep imports this too; its parent sees to it.
    and "multiprocessing.spawn" not in sys.modules
):
    signal.signal(signal.SIGINT, _end)  # until the rest is imported: an exception would be a long traceback

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from regularity.press.chapters import Chapter, all_chapters, all_pairs, find_chapter, find_pair, find_root
from regularity.press.errors import BookError, one_line
from regularity.press.parameters import check_device, read_parameters

FIRST_FRESH_SEED = 101  # far from the seeds that anybody tries while a chapter is written


class Tool(click.Group):
    """The group of commands; whatever ends one says so in a line."""

    def invoke(self, context: click.Context) -> Any:
        """Run a command, on a terminal of any encoding."""
        if signal.getsignal(signal.SIGINT) is _end:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            click.echo("interrupted; the same command goes on with what is left to do", err=True)
            context.exit(INTERRUPTED)
        except OSError as error:
            if error.errno == errno.EPIPE:  # whoever read has enough; click ends in silence
                raise
            raise BookError(
                f"{error.filename or 'cannot write'}: {error.strerror or one_line(error)}"
            ) from None


@click.group(
    cls=Tool,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog='Completion, also for zsh and fish: eval "$(_REGULARITY_COMPLETE=bash_source regularity)"',
)
@click.version_option(package_name="regularity")
def main() -> None:
    """List, execute and judge the chapters of the book."""


@main.command("list")
@click.argument("chapters", nargs=-1, metavar="[CHAPTER]...")
def list_chapters(chapters: tuple[str, ...]) -> None:
    """List all chapters, or tell of those named: the parameters, each with its type, default and meaning."""
    chosen = [find_chapter(name) for name in chapters] or all_chapters()
    for chapter in chosen:
        click.echo(f"{chapter.label}: {chapter.title}")
        for parameter in chapter.parameters.values():
            definition = f"{parameter.name}: {parameter.type} = {parameter.default!r}"
            click.echo(f"    {definition:<44} {parameter.help}")


@main.command()
@click.argument("pages", nargs=-1, metavar="[PAGE]...")
@click.option("--force", is_flag=True, help="Execute them even if nothing has changed.")
def execute(pages: tuple[str, ...], force: bool) -> None:
    """Execute in place what is stale, all pages or those named, and keep both halves of each pair in step.

    Pages are the chapters, the parts' openings (stein/opening), and how_fast.
    """
    from regularity.press.execution import execute_in_place

    chosen = [find_pair(name) for name in pages] or all_pairs()
    for pair in chosen:
        started = time.perf_counter()
        ran = execute_in_place(pair, force=force)
        done = f"executed in {time.perf_counter() - started:.0f} s" if ran else "up to date"
        click.echo(f"{pair.label}: {done}")


@main.command()
@click.argument("pages", nargs=-1, metavar="[PAGE]...")
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the copies; the default is `plain` at the top of the book.",
)
def notebook(pages: tuple[str, ...], folder: Path | None) -> None:
    """Write plain copies of all pages, or of those named: ordinary notebooks, numbers and links filled in.

    A copy that you have changed is left as it is.
    """
    from regularity.press.plain import write_plain

    chosen = [find_pair(name) for name in pages] or all_pairs()
    for path, written in write_plain(chosen, folder or find_root() / "plain").items():
        click.echo(path if written else f"{path} is kept: you changed it; remove it to have it written anew")


def _options(*options: Callable[..., Any]) -> Callable[..., Any]:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_PARAMETERS = _options(
    click.option(
        "-p",
        "pairs",
        nargs=2,
        multiple=True,
        metavar="NAME VALUE",
        help="Set a parameter; a list is written [1, 2], as YAML does.",
    ),
    click.option(
        "-f",
        "file",
        metavar="gpu|paper|FILE",
        help="Take parameters from the chapter's file, or a YAML file.",
    ),
)
_RUNS = click.option(
    "--runs",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="REGULARITY_RUNS",
    help="Folder of all runs; the default is `runs` at the top of the book.",
)
_WHERE_TO_RUN = _options(
    click.option(
        "--workers", type=click.IntRange(1), help="Processes on this machine; the default is one a core."
    ),
    click.option("--scheduler", metavar="tcp://...", help="Use the dask scheduler at this address instead."),
)


@main.command()
@click.argument("chapter")
@_PARAMETERS
@_RUNS
def run(chapter: str, pairs: Sequence[tuple[str, str]], file: str | None, runs: Path | None) -> None:
    """Run CHAPTER at other parameters; a run that is done is not repeated.

    Parameters that are paths are relative to the working directory.
    """
    from regularity.lab.claims import SIGNS
    from regularity.lab.verdicts import describe_measurement
    from regularity.press.execution import RunFailedError
    from regularity.press.runs import Run

    found = find_chapter(chapter)
    parameters = read_parameters(found, pairs, file)
    check_device(parameters)
    this = Run(found, parameters, _store(runs))
    if this.done:
        click.echo(f"done already: {this.folder}")
    else:
        this.prepare()
        try:
            result = this.execute(Path.cwd())
        except RunFailedError as failure:
            kept = this.fail(failure)
            click.echo(f"Error: {found.name}: {failure} (traceback in {kept / 'traceback.txt'})", err=True)
            sys.exit(1)
        this.store(result)
        click.echo(f"{this.folder} ({result['seconds']} s, {result['peak_memory_mib']} MiB)")
    for claim in this.read()["claims"]:
        rule = f"; rule {claim['rule']}" if claim["rule"] else ""
        verdict = f"{SIGNS[claim['verdict']]} {claim['verdict']:<15}"
        click.echo(f"{verdict} {claim['claim']}: {describe_measurement(claim)}{rule}")


@main.command()
@click.argument("chapter")
@_PARAMETERS
@_RUNS
@click.option(
    "--over",
    multiple=True,
    metavar="NAME=V1,V2,...",
    help="Values to try, lists as [1, 2],[3, 4]; all combinations are run.",
)
@click.option("--seeds", type=click.IntRange(1), help="Run each setting at the seeds 0 to N - 1.")
@_WHERE_TO_RUN
def sweep(
    chapter: str,
    pairs: Sequence[tuple[str, str]],
    file: str | None,
    runs: Path | None,
    over: Sequence[str],
    seeds: int | None,
    workers: int | None,
    scheduler: str | None,
) -> None:
    """Run CHAPTER over parameters and seeds, on this machine or on a dask cluster.

    Interrupt it and start it again: what is finished is neither lost nor repeated.
    """
    from regularity.press import sweeps
    from regularity.press.digests import short_hash
    from regularity.press.runs import Run

    found = find_chapter(chapter)
    fixed = read_parameters(found, pairs, file)
    swept = {entry.partition("=")[0]: "--over" for entry in over}
    _refuse_both(pairs, swept | ({"seed": "--seeds"} if seeds else {}))
    settings = sweeps.expand_grid(found, fixed, over, range(seeds) if seeds else None)
    chosen = [Run(found, setting, _store(runs)) for setting in settings]
    failures = _run_all(chosen, workers, scheduler)
    names = [name for entry in over if (name := entry.partition("=")[0]) != "seed"]
    rows = sweeps.summarise(chosen, names)
    if rows:
        words = [*over, str(seeds), Run(found, fixed, _store(runs)).command, found.digest()]
        place = _store(runs) / found.name / "sweeps" / short_hash(words)
        sweeps.write_summary(rows, place)
        click.echo(sweeps.as_table(rows))
        click.echo(f"{place / 'summary.csv'}, {place / 'summary.png'}")
    _report_failures(failures, chosen)


@main.command()
@click.argument("chapters", nargs=-1, metavar="[CHAPTER]...")
@_PARAMETERS
@_RUNS
@click.option(
    "--seeds", type=click.IntRange(1), help="How many fresh seeds; 5 by default, 1 with a parameter file."
)
@click.option(
    "--first-seed", type=click.IntRange(0), help=f"The others follow; {FIRST_FRESH_SEED} by default."
)
@click.option(
    "--stale", is_flag=True, help="Record again what was recorded of an older version, and only that."
)
@_WHERE_TO_RUN
def record(
    chapters: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    file: str | None,
    runs: Path | None,
    seeds: int | None,
    first_seed: int | None,
    stale: bool,
    workers: int | None,
    scheduler: str | None,
) -> None:
    """Run CHAPTER over fresh seeds, or at a parameter file's size, and keep the verdicts beside it.

    With --stale, all chapters or those named, at the sizes and seeds of their records.
    """
    from regularity.press import sweeps
    from regularity.press.runs import Run

    if stale and (pairs or file or seeds or first_seed is not None):
        raise BookError(
            "--stale takes sizes and seeds from the records: it excludes -p, -f, --seeds and --first-seed"
        )
    if not stale and len(chapters) != 1:
        raise BookError("name one chapter to record, or ask for what is --stale")
    chosen = [find_chapter(name) for name in chapters] or all_chapters()
    if stale:
        _check_recordable(chosen)
        _record_again(chosen, _store(runs), workers, scheduler)
        return
    fixed = read_parameters(chosen[0], pairs, file)
    n_seeds, first = seeds or (1 if file else 5), FIRST_FRESH_SEED if first_seed is None else first_seed
    _refuse_both(pairs, {"seed": "--seeds and --first-seed"})
    settings = sweeps.expand_grid(chosen[0], fixed, (), range(first, first + n_seeds))
    _check_recordable(chosen)
    _record([Run(chosen[0], setting, _store(runs)) for setting in settings], workers, scheduler)


def _check_recordable(chapters: Sequence[Chapter]) -> None:
    """Refuse before it is run what could not be kept: records lie beside the chapter, their lock in the runs."""
    from regularity.press.files import check_writable

    for chapter in chapters:
        check_writable(chapter.records.parent)
        check_writable(chapter.root / "runs")


def _refuse_both(pairs: Sequence[tuple[str, str]], elsewhere: dict[str, str]) -> None:
    """Refuse a parameter that is given and varied."""
    for name in dict(pairs):
        if name in elsewhere:
            raise BookError(f"-p {name} and {elsewhere[name]} exclude each other")


def _record(runs: list[Any], workers: int | None, scheduler: str | None) -> None:
    from regularity.press.records import fold_runs, kind_of_device

    _report_failures(_run_all(runs, workers, scheduler), runs)
    # Workers of a cluster, or a folder of runs, may be of several machines.
    by_device: dict[str, list[Any]] = {}
    for run in runs:
        by_device.setdefault(kind_of_device(run.read()["provenance"]), []).append(run)
    for device, group in by_device.items():
        kept = fold_runs(group)
        if len(by_device) > 1:
            click.echo(f"on {device}:")
        for number, claim in enumerate(kept["runs"][-1]["claims"]):
            if claim["verdict"] != "not checked":
                verdicts = [run["claims"][number]["verdict"] for run in kept["runs"]]
                click.echo(f"{verdicts.count('reproduced')}/{len(verdicts)} {claim['claim']}")
    click.echo(runs[0].chapter.records)


def _record_again(
    chapters: Sequence[Chapter], store: Path, workers: int | None, scheduler: str | None
) -> None:
    """Record what is stale; what only another machine can do is told, and the rest goes on."""
    from regularity.press.records import runs_of, stale_records

    n_left = 0
    for chapter in chapters:
        stale = stale_records(chapter)
        for old in stale:
            words = f"{chapter.label}, {old['size']}, of {old['date'][:10]} on {old['device']}"
            try:
                runs = runs_of(old, chapter, store)
                if is_elsewhere := scheduler is None and _needs_other_machine(old):
                    click.echo(
                        f"{words}: recorded on a GPU, which this machine lacks; there: {old['command']}"
                    )
            except BookError as error:
                is_elsewhere = True
                click.echo(f"{words}: cannot be recorded again: {error.message}", err=True)
            n_left += is_elsewhere
            if not is_elsewhere:
                click.echo(words)
                _record(runs, workers, scheduler)
        if not stale:
            click.echo(f"{chapter.label}: up to date")
    if n_left:
        sys.exit(1)


def _needs_other_machine(record: dict[str, Any]) -> bool:
    from regularity.press.ledger import is_on_gpu
    from regularity.press.runs import device_name

    return is_on_gpu(record) and device_name("auto") != record["device"]


def _store(runs: Path | None) -> Path:
    return (runs or find_root() / "runs").resolve()


def _run_all(runs: Sequence[Any], workers: int | None, scheduler: str | None) -> dict[int, str]:
    from regularity.press.sweeps import run_many

    if workers and scheduler:
        raise BookError("--workers and --scheduler exclude each other: the scheduler's workers are used")
    if scheduler is None:
        for run in runs:
            check_device(run.parameters)
    try:
        options = {"workers": workers, "scheduler": scheduler, "say": lambda text: click.echo(text, err=True)}
        return run_many(runs, **options)
    except KeyboardInterrupt:
        n_done = sum(run.done for run in runs)
        click.echo(f"interrupted; {n_done} of {len(runs)} runs are kept; the same command goes on", err=True)
        sys.exit(INTERRUPTED)


def _report_failures(failures: dict[int, str], runs: Sequence[Any]) -> None:
    for number, reason in sorted(failures.items()):
        click.echo(f"Error: run {runs[number].parameters or 'with the defaults'}: {reason}", err=True)
    if failures:
        click.echo(f"{len(failures)} of {len(runs)} runs failed; the same command tries them again", err=True)
        sys.exit(1)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object a claim.")
def ledger(as_json: bool) -> None:
    """Show all claims of all chapters, with their verdicts."""
    from regularity.lab.claims import SIGNS
    from regularity.lab.verdicts import describe_measurement, summarise_verdicts
    from regularity.press.ledger import ledger_rows

    rows = ledger_rows()
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        click.echo(f"{SIGNS[row['verdict']]} {row['verdict']:<15} {row['chapter']}: {row['claim']}")
        parts = [describe_measurement(row), f"rule {row['rule']}" if row["rule"] else ""]
        parts.append(f"over seeds {row['held_over_seeds']}" if row["held_over_seeds"] else "")
        parts.append(f"on a GPU {row['gpu_verdict']}" if row["gpu_verdict"] else "")
        click.echo(f"  {'':<15} {'; '.join(part for part in parts if part)}")
    click.echo(summarise_verdicts(rows))
