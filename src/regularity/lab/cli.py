"""`regularity`: a thin command line over papermill, for the chapters of this book."""

import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import nbformat

from regularity.lab.chapters import BookError, Chapter, all_chapters, find_chapter, find_root
from regularity.lab.claims import SIGNS, format_measurement
from regularity.lab.execution import RunFailedError, execute_in_place
from regularity.lab.ledger import ledger_rows
from regularity.lab.parameters import check_device, read_parameters

FIRST_FRESH_SEED = 101  # far from the seeds that anybody tries while a chapter is written


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="regularity")
def main() -> None:
    """List, execute and judge the chapters of the book."""


@main.command("list")
def list_chapters() -> None:
    """List the chapters, each with its parameters: type, default and meaning."""
    for chapter in all_chapters():
        click.echo(f"{chapter.part}/{chapter.name}: {chapter.title}")
        for name, parameter in chapter.parameters.items():
            definition = f"{name}: {parameter['inferred_type_name']} = {parameter['default']}"
            click.echo(f"    {definition:<44} {parameter['help']}")


@main.command()
@click.argument("chapters", nargs=-1, metavar="[CHAPTER]...")
@click.option("--force", is_flag=True, help="Execute them even if nothing has changed.")
def execute(chapters: tuple[str, ...], force: bool) -> None:
    """Execute in place what is stale, all chapters or those named, and keep both halves of each pair in step."""
    chosen = [find_chapter(name) for name in chapters] or all_chapters()
    for chapter in chosen:
        started = time.perf_counter()
        ran = execute_in_place(chapter, force=force)
        done = f"executed in {time.perf_counter() - started:.0f} s" if ran else "up to date"
        click.echo(f"{chapter.part}/{chapter.name}: {done}")


def _options(*options: Callable[..., Any]) -> Callable[..., Any]:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_WHAT_TO_RUN = _options(
    click.argument("chapter"),
    click.option("-p", "pairs", nargs=2, multiple=True, metavar="NAME VALUE", help="Set a parameter."),
    click.option(
        "-f",
        "file",
        metavar="gpu|paper|FILE",
        help="Take parameters from the chapter's file, or a YAML file.",
    ),
    click.option(
        "--runs",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="REGULARITY_RUNS",
        help="Folder of all runs; the default is `runs` at the top of the book.",
    ),
)
_WHERE_TO_RUN = _options(
    click.option(
        "--workers", type=click.IntRange(1), help="Processes on this machine; the default is one a core."
    ),
    click.option("--scheduler", metavar="tcp://...", help="Use the dask scheduler at this address instead."),
)


@main.command()
@_WHAT_TO_RUN
def run(chapter: str, pairs: Sequence[tuple[str, str]], file: str | None, runs: Path | None) -> None:
    """Run CHAPTER at other parameters; a run that is done is not repeated."""
    from regularity.lab import runs as storage

    found = find_chapter(chapter)
    parameters = read_parameters(found, pairs, file)
    check_device(parameters)
    folder = storage.run_folder(found, parameters, _store(runs))
    if folder.is_dir():
        click.echo(f"done already: {folder}")
    else:
        try:
            result = storage.execute_run(nbformat.writes(found.cells), parameters)
        except RunFailedError as failure:
            kept = storage.store_failure(folder, found, failure)
            click.echo(f"Error: {found.name}: {failure} (traceback in {kept / 'traceback.txt'})", err=True)
            sys.exit(1)
        storage.store_run(folder, found, parameters, result)
        click.echo(f"{folder} ({result['seconds']} s, {result['peak_memory_mib']} MiB)")
    for claim in storage.read_run(folder)["claims"]:
        measured = format_measurement(claim["measured"], claim["uncertainty"], claim["unit"])
        click.echo(f"{SIGNS[claim['verdict']]} {claim['verdict']:<15} {claim['claim']}: {measured}")


@main.command()
@_WHAT_TO_RUN
@click.option(
    "--over", multiple=True, metavar="NAME=V1,V2,...", help="Values to try; all combinations are run."
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
    from regularity.lab import sweeps
    from regularity.lab.runs import run_command

    found = find_chapter(chapter)
    fixed = read_parameters(found, pairs, file)
    settings = sweeps.expand_grid(found, fixed, over, range(seeds) if seeds else None)
    result = _run_all(found, settings, _store(runs), workers, scheduler)
    names = [name for entry in over if (name := entry.partition("=")[0]) != "seed"]
    rows = sweeps.summarise(settings, result.folders, names, found)
    if rows:
        words = [*over, *(["--seeds", str(seeds)] if seeds else []), run_command(found, fixed)]
        place = _store(runs) / found.name / "sweeps" / found.run_digest({"sweep": words})
        sweeps.write_summary(rows, place)
        click.echo(sweeps.as_table(rows))
        click.echo(f"{place / 'summary.csv'}, {place / 'summary.png'}")
    _report_failures(result.failures, settings)


@main.command()
@_WHAT_TO_RUN
@click.option(
    "--seeds", type=click.IntRange(1), help="How many fresh seeds; 5 by default, 1 with a parameter file."
)
@click.option("--first-seed", type=click.IntRange(0), default=FIRST_FRESH_SEED, show_default=True)
@_WHERE_TO_RUN
def record(
    chapter: str,
    pairs: Sequence[tuple[str, str]],
    file: str | None,
    runs: Path | None,
    seeds: int | None,
    first_seed: int,
    workers: int | None,
    scheduler: str | None,
) -> None:
    """Run CHAPTER over fresh seeds, or at a parameter file's size, and keep the verdicts beside it."""
    from regularity.lab import sweeps
    from regularity.lab.records import fold_runs

    found = find_chapter(chapter)
    fixed = read_parameters(found, pairs, file)
    n_seeds = seeds or (1 if file else 5)
    settings = sweeps.expand_grid(found, fixed, (), range(first_seed, first_seed + n_seeds))
    result = _run_all(found, settings, _store(runs), workers, scheduler)
    _report_failures(result.failures, settings)
    words = ["regularity", "record", found.name, "--seeds", str(n_seeds), "--first-seed", str(first_seed)]
    words += [word for pair in pairs for word in ("-p", *pair)] + (["-f", file] if file else [])
    size = file or ("default" if not pairs else "other")
    kept = fold_runs(
        found, size, settings, [folder for folder in result.folders if folder], shlex.join(words)
    )
    for number, claim in enumerate(kept["runs"][0]["claims"]):
        verdicts = [run["claims"][number]["verdict"] for run in kept["runs"]]
        click.echo(f"{verdicts.count('reproduced')}/{len(verdicts)} {claim['claim']}")
    click.echo(found.records)


def _store(runs: Path | None) -> Path:
    return (runs or find_root() / "runs").resolve()


def _run_all(
    chapter: Chapter, settings: list[dict[str, Any]], store: Path, workers: int | None, scheduler: str | None
) -> Any:
    from regularity.lab.runs import run_folder
    from regularity.lab.sweeps import run_many

    if workers and scheduler:
        raise BookError("--workers and --scheduler exclude each other: the scheduler's workers are used")
    if scheduler is None:
        for setting in settings:
            check_device(setting)
    try:
        options = {"workers": workers, "scheduler": scheduler, "say": lambda text: click.echo(text, err=True)}
        return run_many(chapter, settings, store, **options)
    except KeyboardInterrupt:
        n_done = sum(run_folder(chapter, setting, store).is_dir() for setting in settings)
        click.echo(
            f"interrupted; {n_done} of {len(settings)} runs are kept; the same command goes on", err=True
        )
        sys.exit(130)


def _report_failures(failures: dict[int, str], settings: list[dict[str, Any]]) -> None:
    for number, reason in sorted(failures.items()):
        click.echo(f"Error: run {settings[number] or 'with the defaults'}: {reason}", err=True)
    if failures:
        click.echo(
            f"{len(failures)} of {len(settings)} runs failed; the same command tries them again", err=True
        )
        sys.exit(1)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object a claim.")
def ledger(as_json: bool) -> None:
    """Show all claims of all chapters, with their verdicts."""
    rows = ledger_rows()
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        measured = format_measurement(row["measured"], row["uncertainty"])
        click.echo(f"{SIGNS[row['verdict']]} {row['verdict']:<15} {row['chapter']}: {row['claim']}")
        seeds = f"; over seeds {row['held_over_seeds']}" if row["held_over_seeds"] else ""
        gpu = f"; on a GPU {row['gpu_verdict']}" if row["gpu_verdict"] else ""
        click.echo(f"  {'':<15} measured {measured}; rule {row['rule']}{seeds}{gpu}")
    reproduced = sum(row["verdict"] == "reproduced" for row in rows)
    click.echo(f"{reproduced} of {len(rows)} claims reproduced")
