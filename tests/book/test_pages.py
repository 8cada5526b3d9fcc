"""The pages without code, and the Sphinx extension that makes parts of them, without building the site."""

import ast
import base64
import json
import re
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
import yaml
from docutils import nodes
from docutils.utils import new_document
from PIL import Image
from pybtex.database import parse_file
from regularity_book import api, gallery, ledger, pages, speed

from regularity.press.chapters import all_chapters
from regularity.press.cli import main

ROOT = Path(__file__).parents[2]


# --- What the pages say is so ------------------------------------------------------------------------------------


def shell_commands(path: Path) -> list[list[str]]:
    """The lines of all shell listings of a page, continued lines joined."""
    listings = re.findall(r"^```sh\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = "\n".join(listings).replace("\\\n", " ").splitlines()
    return [line.split("#")[0].split() for line in lines if line.strip() and not line.startswith("#")]


COMMANDS = [
    pytest.param(words, id=f"{page}: {' '.join(words)[:60]}")
    for page in ("README.md", "book/how_to_run.md")
    for words in shell_commands(ROOT / page)
]


@pytest.mark.parametrize("words", COMMANDS)
def test_commands_name_what_exists(words: list[str]) -> None:
    """Files, subcommands, options and targets: a page whose command cannot run as it stands fails."""
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    command = words[0].rpartition("/")[2]
    if command == "make":
        assert set(words[1:]) <= set(targets)
    if command == "regularity":
        subcommand = main.get_command(click.Context(main), words[1])
        assert subcommand is not None, f"no command {words[1]}"
        options = {option for parameter in subcommand.params for option in parameter.opts}
        assert {word.split("=")[0] for word in words[2:] if word.startswith("-")} <= options
    for word in words:
        if word.startswith("notebooks/"):
            path = ROOT / word
            assert path.suffix in {".ipynb", ".yaml"}
            assert path.with_name(path.name.split(".")[0] + ".py").is_file(), f"no chapter {word}"
            assert path.suffix == ".ipynb" or path.is_file(), f"no file {word}"
    if command == "papermill" and "-p" in words:
        notebook = next(word for word in words if word.startswith("notebooks/"))
        chapter = next(found for found in all_chapters(ROOT) if found.name == Path(notebook).stem)
        given = [words[place + 1] for place, word in enumerate(words) if word == "-p"]
        assert set(given) <= set(chapter.parameters)


def argument_names() -> set[str]:
    """Names of the arguments of public functions of the library."""
    found = set()
    for path in (ROOT / "src" / "regularity").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (
                not node.name.startswith("_") or node.name == "__init__"
            ):
                found |= {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
    return found


def table(page: str, heading: str) -> list[list[list[str]]]:
    """Rows of the table below a heading: the code spans of each cell."""
    text = (ROOT / page).read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[re.findall("`([^`]+)`", cell) for cell in row.strip("|").split("|")] for row in rows]


def test_notation_is_true() -> None:
    """The names that the page lists are in use, and those that it forbids are not."""
    arguments = argument_names()
    parameters = {name for chapter in all_chapters(ROOT) for name in chapter.parameters}
    rows = table("book/notation.md", "Names")
    listed = {name for row in rows for name in row[0]}
    forbidden = {name for row in rows for name in row[3]}
    assert listed
    assert forbidden
    assert listed <= arguments | parameters
    assert not forbidden & (arguments | parameters)


def test_references_link_to_their_papers() -> None:
    """Books, and papers older than anything that numbers papers, may do without."""
    entries = parse_file(ROOT / "book" / "references.bib").entries
    assert entries
    for key, entry in entries.items():
        linked = {"doi", "eprint", "url"} & set(entry.fields)
        assert linked or entry.type == "book" or int(entry.fields["year"]) < 1960, key


def test_every_part_with_a_chapter_has_an_opening_page() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    for part in toc["parts"]:
        files = [entry["file"] for entry in part["chapters"]]
        folders = {file.split("/")[1] for file in files if file.startswith("notebooks/")}
        if folders:
            assert [files[0]] == [f"book/parts/{folder}" for folder in folders]
            title = (ROOT / f"{files[0]}.md").read_text(encoding="utf-8").splitlines()[0]
            assert title == f"# {part['caption']}"


def test_api_lists_every_package() -> None:
    packages = {module.split(".")[0] for module in api.public_modules(ROOT)}
    page = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^```\{api-modules\} (\w+)$", page, re.MULTILINE)) == packages


# --- API pages ---------------------------------------------------------------------------------------------------


def book_of(root: Path, modules: list[str]) -> SimpleNamespace:
    for module in modules:
        path = root / "src" / "regularity" / f"{module.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('"""One line.\n\nMore."""\n', encoding="utf-8")
    (root / "book").mkdir(exist_ok=True)
    return SimpleNamespace(srcdir=root)


def test_api_pages_follow_the_modules(tmp_path: Path) -> None:
    app = book_of(
        tmp_path, ["stein.first", "stein._private", "foundations.second", "lab.cli", "stein.__init__"]
    )
    folder = tmp_path / "book" / "api"
    api.write_pages(app, None)
    assert sorted(path.name for path in folder.iterdir()) == ["foundations-second.md", "stein-first.md"]
    written = (folder / "stein-first.md").stat().st_mtime_ns
    (tmp_path / "src" / "regularity" / "foundations" / "second.py").unlink()
    api.write_pages(app, None)
    assert [path.name for path in folder.iterdir()] == ["stein-first.md"]
    assert (folder / "stein-first.md").stat().st_mtime_ns == written, (
        "an unchanged page must not be read again"
    )


def test_signatures_are_those_of_the_source() -> None:
    from regularity.foundations.networks import UNet
    from regularity.foundations.risk import sure_gaussian
    from regularity.stein.noise2score import NoiseEstimate

    def signature(what: str, obj: object) -> tuple[str, str | None]:
        return api.annotations_as_written(None, what, "", obj, None, "()", None)

    arguments, returned = signature("function", sure_gaussian)
    assert arguments.startswith('(denoised: Float[Tensor, " n *dims"], noisy: Float[Tensor, " n *dims"], ')
    assert returned == 'Float[Tensor, " n"]'
    assert signature("method", UNet.forward) == (
        '(images: Float[Tensor, "n c h w"])',
        'Float[Tensor, "n c h w"]',
    )
    assert signature("class", UNet)[0].startswith("(*, width: int=16, ")
    assert signature("class", NoiseEstimate)[0].startswith('(value: Float[Tensor, " n"], denoised: ')


def test_signatures_are_set_in_lines() -> None:
    parameter = (
        '<em class="sig-param"><span class="n"><span class="pre">x</span></span><span class="p">:</span></em>'
    )
    link = '<a href="#A"><span class="pre">A</span></a>'
    html = f'<dt class="sig py" id="f"><span class="sig-name">f</span>(<dl><dd>{parameter} {link},</dd></dl>)</dt>'
    line = '<span class="sig-line"><em class="sig-param">x:</em> <a href="#A">A</a>,</span>'
    lines = f'<span class="sig-lines">{line}</span>'
    expected = f'<dt class="sig py" id="f"><span class="sig-name">f</span>({lines})</dt>'
    assert pages.plain_signature(html) == expected


def test_signatures_keep_links_to_the_package_alone() -> None:
    from sphinx import addnodes

    def reference(name: str) -> addnodes.pending_xref:
        module = {"py:module": "regularity.stein.noise2score"}
        return addnodes.pending_xref("", nodes.Text(name), reftarget=name, **module)

    shape = addnodes.desc_sig_literal_string("", "'n d'")
    annotation = addnodes.desc_sig_name("", "", reference("Float"), nodes.Text("["), shape, nodes.Text("]"))
    returned = addnodes.desc_sig_name("", "", reference("NoiseEstimate"))
    signature = addnodes.desc_signature("", "", addnodes.desc_sig_name("", "score"), annotation, returned)
    document = new_document("page")
    document += signature
    api.thin_signatures(None, document)
    assert signature.astext() == 'scoreFloat["n d"]NoiseEstimate'
    assert [found.astext() for found in signature.findall(addnodes.pending_xref)] == ["NoiseEstimate"]
    assert len(signature.children) == 2, "text that is split costs time"


def test_docstrings_in_plain_prose() -> None:
    lines = [
        "The mean |a| of a*b and x_, not of `a_b` or ``*c``.",
        "",
        "Returns",
        "-------",
        "A number: so much,",
        "and more.",
        "",
        "Raises",
        "------",
        "ValueError",
        "    If it is wrong.",
        ">>> 2 * 3",
    ]
    api.plain_prose(None, "function", "", None, None, lines)
    assert lines[0] == r"The mean \|a\| of a\*b and x\_, not of `a_b` or ``*c``."
    assert ":returns: A number: so much, and more." in lines
    assert lines[-5:] == ["Raises", "------", "ValueError", "    If it is wrong.", ">>> 2 * 3"]


def test_named_results_are_left_to_napoleon() -> None:
    lines = ["Sum.", "", "Returns", "-------", "patches", "    The patches.", "indices", "    Where from."]
    expected = list(lines)
    api.plain_prose(None, "function", "", None, None, lines)
    assert lines == expected


# --- Gallery and ledger ------------------------------------------------------------------------------------------


def picture(size: tuple[int, int]) -> str:
    buffer = BytesIO()
    Image.new("RGBA", size, (0, 0, 0, 0)).save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


def chapter_with(cells: list[dict]) -> SimpleNamespace:
    return SimpleNamespace(executed=lambda: {"cells": cells}, part="stein", name="first")


def claim(words: str, verdict: str) -> dict:
    return {"claim": words, "verdict": verdict, "unit": ""}


def claims_cell(*verdicts: str) -> dict:
    records = [claim(f"claim {number}", verdict) for number, verdict in enumerate(verdicts)]
    return {"metadata": {}, "outputs": [{"metadata": {"regularity_claims": records}}]}


def test_thumbnail_is_the_figure_of_the_tagged_cell() -> None:
    other = {"metadata": {}, "outputs": [{"data": {"image/png": picture((9, 9))}}]}
    tagged = {
        "metadata": {"tags": ["thumbnail"], "mystnb": {"image": {"alt": "What it shows."}}},
        "outputs": [{"data": {"text/plain": "x"}}, {"data": {"image/png": picture((20, 10))}}],
    }
    image, words = gallery.first_figure(chapter_with([other, tagged]))
    assert (image.size, words) == ((20, 10), "What it shows.")
    assert gallery.first_figure(chapter_with([other])) is None


def test_tally_counts_and_shows_each_verdict() -> None:
    html = gallery.tally(chapter_with([claims_cell("reproduced", "not reproduced", "reproduced", "partly")]))
    assert "2 of 4 claims reproduced" in html
    assert re.findall(r'sign-[a-z-]+">(.*?)<', html) == ["✓&#8239;2", "◐&#8239;1", "✗&#8239;1"]
    assert "not judged" in gallery.tally(chapter_with([]))


@pytest.mark.parametrize(
    ("paragraph", "opening"),
    [
        ("How far? Not far. Or is it?", "How far?"),
        ("A network sees noise alone. Can it learn? It can.", "A network sees noise alone. Can it learn?"),
        ("A sentence of 0.5 dB. Another.", "A sentence of 0.5 dB."),
    ],
)
def test_a_card_says_what_the_chapter_asks(paragraph: str, opening: str) -> None:
    document = new_document("page")
    document += nodes.section("", nodes.title(text="Title"), nodes.paragraph(text=paragraph))
    assert gallery.opening_sentence(document) == opening


def test_the_ledger_links_to_the_section_with_the_claims() -> None:
    document = new_document("page")
    cell = nodes.container(classes=["cell", "tag_claims"])
    document += nodes.section(
        "", nodes.title(text="The claims"), nodes.container("", cell), ids=["the-claims"]
    )
    assert gallery.claims_section(document) == "the-claims"
    assert gallery.claims_section(new_document("page")) == ""


@pytest.mark.parametrize(
    ("held", "group"),
    [
        (None, "not recorded"),
        ("5/5", "always"),
        ("0/5", "never"),
        ("3/5, partly 2/5", "sometimes"),
        ("5/5 (older version)", "always"),
    ],
)
def test_seeds_are_grouped_for_the_filter(held: str | None, group: str) -> None:
    assert ledger.seeds_group(held) == group


def test_gpu_verdicts_are_grouped_for_the_filter() -> None:
    assert ledger.gpu_group(None) == "not recorded"
    assert ledger.gpu_group("not reproduced (older version)") == "not reproduced"


# --- What every page carries -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ({}, True),
        ({"alt": " "}, True),
        ({"alt": "a.png"}, True),
        ({"alt": "A blue curve above a grey one."}, False),
    ],
)
def test_figures_without_alternative_text_fail_the_build(
    options: dict[str, str], warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = new_document("page")
    document += nodes.image(uri="a.png", **options)
    warnings = []
    monkeypatch.setattr(pages.LOGGER, "warning", lambda *arguments, **_: warnings.append(arguments))
    pages.demand_alternative_text(None, document)
    assert bool(warnings) == warned


def markdown_table(heads: tuple[str, str]) -> nodes.tgroup:
    def row(*cells: str) -> nodes.row:
        return nodes.row(
            "", *(nodes.entry("", nodes.paragraph(text=cell) if cell else nodes.comment()) for cell in cells)
        )

    columns = nodes.colspec(colwidth=1), nodes.colspec(colwidth=1)
    return nodes.tgroup(
        "", *columns, nodes.thead("", row(*heads)), nodes.tbody("", row("paper", "Noise2Score")), cols=2
    )


def test_a_table_with_empty_heads_heads_its_rows() -> None:
    document = new_document("page")
    empty, full = markdown_table(("", "")), markdown_table(("what", "which"))
    document += [nodes.table("", empty), nodes.table("", full)]
    pages.drop_empty_heads(None, document)
    assert not list(empty.findall(nodes.thead))
    assert next(iter(empty.findall(nodes.colspec)))["stub"] == 1
    assert list(full.findall(nodes.thead))


# --- How fast ----------------------------------------------------------------------------------------------------


def timing(**changes: object) -> dict[str, object]:
    row = {"part": "stein", "chapter": "noise2score", "task": "step", "method": "ours", "peer": "deepinv"}
    row |= {"peer_version": "0.5", "threads": 1, "ratio": 0.5, "low": 0.4, "high": 0.7, "note": "<why>"}
    row |= {"seconds_method": 0.1, "seconds_peer": 0.2}
    row |= {"quality_method": 27.1, "quality_peer": 27.0, "quality_name": "PSNR/dB"}
    return row | changes


def test_speed_figure_stands_on_a_logarithmic_scale() -> None:
    svg = speed.figure([timing(), timing(ratio=2.0, low=1.5, high=3.0, threads=2)])
    faster, slower = (float(x) for x in re.findall(r'<circle class="ratio" cx="([\d.]+)"', svg))
    one = float(re.search(r'<line class="one" x1="([\d.]+)"', svg)[1])
    assert faster < one < slower
    assert slower - one == pytest.approx(one - faster, abs=0.2)
    assert "as fast or faster in 1" in svg
    assert "2 threads" in svg


def test_speed_page_reads_the_results(tmp_path: Path) -> None:
    app = SimpleNamespace(srcdir=tmp_path, env=SimpleNamespace(found_docs=set()))
    assert "No times" in speed.render(app, "book/how_fast", "")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").write_text("root: book/index\n", encoding="utf-8")
    results = {
        "machine": "two cores",
        "date": "2026-11-24",
        "versions": {"torch": "2.13"},
        "rows": [timing()],
    }
    (tmp_path / "benchmarks" / "results.json").write_text(json.dumps(results), encoding="utf-8")
    html = speed.render(app, "book/how_fast", "")
    assert "two cores · 2026-11-24" in html
    assert "torch 2.13" in html
    assert "0.50 (0.40–0.70)" in html
    assert "&lt;why&gt;" in html
