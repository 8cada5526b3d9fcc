"""A book of 33 chapters made out of those that there are, and what it costs: a measurement, not a guess.

    python benchmarks/scale.py                    # the eight parts of the whole book
    python benchmarks/scale.py --chapters 100

The chapters are cloned with names, labels and references of their own into a scratch folder, which is built, listed
and weighed there. Their outputs are those of the originals; nothing is executed.
"""

import gzip
import itertools
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import yaml

ROOT = Path(__file__).resolve().parents[1]
PARTS = {
    "stein": 4,
    "tuning": 2,
    "dynamics": 4,
    "theory": 6,
    "noise": 4,
    "generative": 6,
    "economy": 4,
    "geometry": 3,
}
COPIED = ("_config.yml", "_toc.yml", "book", "notebooks", "src", "benchmarks", "pyproject.toml")


@dataclass(frozen=True)
class Clone:
    """A chapter that is there, and the name and part under which it stands once more."""

    part: str
    name: str
    new_part: str
    new_name: str

    def rename(self, text: str) -> str:
        """Give names, labels, modules and citations of a text their new form."""
        number = self.new_name.rsplit("_", 1)[1]
        text = re.sub(
            r"\{doc\}`(\w+)`", rf"{{doc}}`/notebooks/{self.part}/\1`", text
        )  # neighbours stay where they are
        for joint in "./":
            text = text.replace(f"{self.part}{joint}{self.name}", f"{self.new_part}{joint}{self.new_name}")
        hyphenated = self.name.replace("_", "-")
        text = re.sub(rf"\b{hyphenated}-", f"{hyphenated}-{number}-", text)
        text = re.sub(rf"\b{self.name}\b", self.new_name, text)

        def cite(found: re.Match[str]) -> str:
            keys = ",".join(f"{key.strip()}x{number}" for key in found[2].split(","))
            return f"{found[1]}{keys}`"

        return relabel_equations(re.sub(r"(\{cite:[pt]\}`)([^`]+)`", cite, text), number)


def relabel_equations(text: str, number: str) -> str:
    """Give the equations that a text labels, and what it says of them, labels of their own."""
    for label in re.findall(r"\$\$ \(([\w-]+)\)", text):
        text = text.replace(f"$$ ({label})", f"$$ ({label}-{number})")
        text = text.replace(f"{{eq}}`{label}`", f"{{eq}}`{label}-{number}`")
    return text


def clones(chapters: list[tuple[str, str]], n_chapters: int) -> Iterator[Clone]:
    """Spread as many clones as are wanting over the parts of the whole book, and over as many more as it takes."""
    wanting = n_chapters - len(chapters)
    places = (
        part for part, size in PARTS.items() if part not in {p for p, _ in chapters} for _ in range(size)
    )
    more = (f"more{number // 6}" for number in itertools.count())
    numbered = zip(
        itertools.cycle(chapters), itertools.chain(places, more), range(2, wanting + 2), strict=False
    )
    for (part, name), new_part, number in numbered:
        yield Clone(part, name, new_part, f"{name}_{number}")


def make_book(root: Path, n_chapters: int) -> None:
    """Write the large book: notebooks, modules, references and table of contents."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "api", ".ipynb_checkpoints", "*.records.json")
            shutil.copytree(source, root / name, ignore=ignored)
        else:
            shutil.copy(source, root / name)
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    chapters = sorted(
        (path.parent.name, path.stem)
        for path in (root / "notebooks").glob("*/*.py")
        if path.stem != "opening"
    )
    bibliography = (root / "book" / "references.bib").read_text(encoding="utf-8")
    entries, new_parts = [bibliography], {}
    for clone in clones(chapters, n_chapters):
        copy_chapter(root, clone)
        number = clone.new_name.rsplit("_", 1)[1]
        entries.append(re.sub(r"^(@\w+\{[^,]+)", rf"\1x{number}", bibliography, flags=re.MULTILINE))
        new_parts.setdefault(clone.new_part, []).append(clone)
    (root / "book" / "references.bib").write_text("\n".join(entries), encoding="utf-8")
    for part, members in new_parts.items():
        copy_opening(root, members[0])
        files = [f"notebooks/{part}/opening", *(f"notebooks/{part}/{clone.new_name}" for clone in members)]
        entry = {"caption": part.capitalize(), "chapters": [{"file": file} for file in files]}
        toc["parts"].insert(-1, entry)
    (root / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False), encoding="utf-8")


def copy_chapter(root: Path, clone: Clone) -> None:
    """Copy a chapter's notebook, its parameter files and its method."""
    for path in (root / "notebooks" / clone.part).glob(f"{clone.name}.*"):
        suffix = path.name.removeprefix(clone.name)
        write(
            root / "notebooks" / clone.new_part / f"{clone.new_name}{suffix}", clone.rename(path.read_text())
        )
    package = root / "src" / "regularity"
    (package / clone.new_part).mkdir(exist_ok=True)
    (package / clone.new_part / "__init__.py").write_text(f'"""{clone.new_part}."""\n', encoding="utf-8")
    method = package / clone.part / clone.name
    for path in [method.with_suffix(".py")] if method.with_suffix(".py").is_file() else method.rglob("*.py"):
        new = path.relative_to(method).as_posix() if method.is_dir() else ""
        place = package / clone.new_part / (f"{clone.new_name}/{new}" if new else f"{clone.new_name}.py")
        write(place, clone.rename(path.read_text(encoding="utf-8")))


def copy_opening(root: Path, clone: Clone) -> None:
    """Give a new part an opening page, with labels and chapters of its own."""
    number = clone.new_name.rsplit("_", 1)[1]
    for suffix in (".py", ".ipynb"):
        text = (root / "notebooks" / clone.part / f"opening{suffix}").read_text(encoding="utf-8")
        text = relabel_equations(text, number)
        text = text.replace(f"fig-{clone.part}-", f"fig-{clone.new_part}-{number}-")
        text = text.replace(f"{{gallery}} {clone.part}", f"{{gallery}} {clone.new_part}")
        write(root / "notebooks" / clone.new_part / f"opening{suffix}", text)


def write(path: Path, text: str) -> None:
    """Write a file, and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def measure(name: str, command: list[str], root: Path) -> dict[str, float | str]:
    """Run a command on the large book: wall-clock and CPU-seconds, and the largest process's memory."""
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise click.ClickException(f"{name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    row = {"what": name, "wall_s": round(wall, 1), "cpu_s": round(cpu, 1), "peak_mb": after.ru_maxrss // 1024}
    click.echo(f"{name:<24} {row['wall_s']:7.1f} s {row['cpu_s']:8.1f} CPU-s {row['peak_mb']:6} MB")
    return row


def heaviest_pages(html: Path, n_shown: int = 5) -> list[tuple[str, int]]:
    """The largest pages, in bytes as they travel, without what they share."""
    sizes = {
        path.relative_to(html).as_posix(): len(gzip.compress(path.read_bytes(), 6))
        for folder in ("book", "notebooks")
        for path in (html / folder).rglob("*.html")
    }
    return sorted(sizes.items(), key=lambda item: -item[1])[:n_shown]


@click.command()
@click.option(
    "--chapters", "n_chapters", type=click.IntRange(1), default=sum(PARTS.values()), show_default=True
)
@click.option("--keep", type=click.Path(path_type=Path), help="Leave the large book in this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON at the end.")
def main(n_chapters: int, keep: Path | None, as_json: bool) -> None:
    """Make a book of as many chapters, and time its build, list and ledger."""
    with tempfile.TemporaryDirectory(prefix="regularity-scale-") as folder:
        root = (keep or Path(folder, "book")).resolve()
        root.mkdir(parents=True)
        make_book(root, n_chapters)
        scripts = Path(sys.executable).parent
        tool = [sys.executable, "-c", "from regularity.press.cli import main; main()"]
        rows = [
            measure("regularity list", [*tool, "list"], root),
            measure("regularity ledger --json", [*tool, "ledger", "--json"], root),
            measure("jupyter-book build", [str(scripts / "jupyter-book"), "build", ".", "-W", "-n"], root),
        ]
        pages = heaviest_pages(root / "_build" / "html")
    for page, size in pages:
        click.echo(f"{size / 1000:8.0f} kB over the wire  {page}")
    if as_json:
        click.echo(json.dumps({"chapters": n_chapters, "rows": rows, "pages": dict(pages)}, indent=2))


if __name__ == "__main__":
    main()
