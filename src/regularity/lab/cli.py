"""`regularity`: a thin command line over papermill, for the chapters of this book."""

import json
import time

import click

from regularity.lab.chapters import all_chapters, find_chapter
from regularity.lab.claims import SIGNS, format_measurement
from regularity.lab.execution import execute_in_place
from regularity.lab.ledger import ledger_rows


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
