"""The pages without code, and the Sphinx extension that makes parts of them, without building the site."""

import ast
import base64
import inspect
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
from myst_nb.ext.glue import roles
from PIL import Image
from pybtex.database import parse_file
from regularity_book import (
    api,
    book,
    gallery,
    ledger,
    numbers,
    pages,
    speedups,
    tables,
    theme_fixes,
    verdicts,
)
from sphinx import addnodes
from sphinx.application import Sphinx

from regularity.lab.verdicts import claim_anchor
from regularity.press.chapters import Chapter, Pair, all_chapters, page_numbers
from regularity.press.cli import main
from tests.conftest import write

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
    """Names of the arguments of public functions and constructors of the library, a chapter's own machinery aside."""
    found = set()
    for path in (ROOT / "src" / "regularity").rglob("*.py"):
        if path.stem == "experiment":
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for inner in (node, *(node.body if isinstance(node, ast.ClassDef) else ())):
                if isinstance(inner, ast.FunctionDef) and not re.match("_(?!_init__)", inner.name):
                    found |= {argument.arg for argument in (*inner.args.args, *inner.args.kwonlyargs)}
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


def test_every_part_with_a_chapter_begins_with_its_opening() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    for part in toc["parts"]:
        files = [entry["file"] for entry in part["chapters"]]
        folders = {file.split("/")[1] for file in files if file.startswith("notebooks/")}
        if folders:
            assert [files[0]] == [f"notebooks/{folder}/opening" for folder in folders]
            assert Pair(ROOT, files[0]).title == part["caption"]


def test_plain_copies_are_where_buttons_lead() -> None:
    """Colab and hubs open a branch that the workflow pushes, Binder a folder that it fills when it is built."""
    workflow = (ROOT / ".github" / "workflows" / "book.yml").read_text(encoding="utf-8")
    assert f"--initial-branch {pages.PLAIN_BRANCH}\n" in workflow
    assert "regularity notebook --to plain" in workflow
    post_build = (ROOT / "binder" / "postBuild").read_text(encoding="utf-8")
    assert f"regularity notebook --to {pages.PLAIN_FOLDER}\n" in post_build


def test_api_lists_every_package() -> None:
    packages = {module.split(".")[0] for module in api.public_modules(ROOT)}
    assert {"foundations", "lab", "press", "stein"} <= packages
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
        tmp_path, ["stein.first", "stein._private", "foundations.second", "press.cli", "stein.__init__"]
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
    from regularity.lab import Claim, Estimate

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
    assert signature("class", Estimate)[0] == '(value: float, error: float | None = None, unit: str = "")'
    assert signature("class", Claim)[0].endswith('kind: Kind, *, source: Source, revised: str = "")')
    assert signature("class", UNet)[0].startswith("(*, width"), "the cached source must not have been changed"


def test_definitions_are_found_wherever_they_stand() -> None:
    """As inspect finds them, which reads the file anew for each."""
    for found in (Chapter.parameter_file, Chapter, page_numbers, numbers.remember):
        definition = api._definition(found)
        assert (definition.name, definition.lineno) == (found.__name__, inspect.getsourcelines(found)[1])
    assert api._definition(len) is None
    assert api._definition(None) is None


def test_signatures_are_set_in_lines() -> None:
    parameter = (
        '<em class="sig-param"><span class="n"><span class="pre">x</span></span><span class="p">:</span></em>'
    )
    link = '<a href="#A"><span class="pre">A</span></a>'
    html = f'<dt class="sig py" id="f"><span class="sig-name">f</span>(<dl><dd>{parameter} {link},</dd></dl>)</dt>'
    line = '<span class="sig-line"><em class="sig-param">x:</em> <a href="#A">A</a>,</span>'
    lines = f'<span class="sig-lines">{line}</span>'
    expected = f'<dt class="sig py" id="f"><span class="sig-name">f</span>({lines})</dt>'
    assert theme_fixes.plain_signature(html) == expected


def test_signatures_keep_links_to_the_package_alone() -> None:
    def reference(name: str) -> addnodes.pending_xref:
        module = {"py:module": "regularity.lab.claims"}
        return addnodes.pending_xref("", nodes.Text(name), reftarget=name, **module)

    shape = addnodes.desc_sig_literal_string("", "'n d'")
    annotation = addnodes.desc_sig_name("", "", reference("Float"), nodes.Text("["), shape, nodes.Text("]"))
    returned = addnodes.desc_sig_name("", "", reference("Rule"))
    signature = addnodes.desc_signature("", "", addnodes.desc_sig_name("", "score"), annotation, returned)
    document = new_document("page")
    document += signature
    api.thin_signatures(None, document)
    assert signature.astext() == 'scoreFloat["n d"]Rule'
    assert [found.astext() for found in signature.findall(addnodes.pending_xref)] == ["Rule"]
    assert len(signature.children) == 2, "text that is split costs time"


def test_references_on_api_pages_are_full_names() -> None:
    """Two chapters may each have a class of one name: what the module imports is meant."""
    places = [
        ("regularity.lab.claims", "Estimate", "regularity.lab.estimates.Estimate"),  # imported there
        ("regularity.stein", "Estimate", "Estimate"),  # unknown there
        ("regularity.lab.claims", "Float", "Float"),  # not this package's
        (None, "Estimate", "Estimate"),  # not on an API page
    ]
    document = new_document("page")
    for module, name, _ in places:
        extra = {"py:module": module} if module else {}
        document += addnodes.pending_xref("", nodes.Text(name), reftarget=name, **extra)
    api.name_in_full(None, document)
    targets = [found["reftarget"] for found in document.findall(addnodes.pending_xref)]
    assert targets == [full for _, _, full in places]


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


def test_a_default_of_another_library_is_not_told_of() -> None:
    for what in ("attribute", "method"):
        lines = ["Join paths."]
        api.plain_prose(None, what, "Run.join", Path.joinpath, None, lines)
        assert lines == []
    own = ["The digest."]
    api.plain_prose(None, "attribute", "Run.digest", Pair.__init__, None, own)
    api.plain_prose(None, "attribute", "Run.seed", 3, None, own)
    assert own == ["The digest."]


def test_named_results_are_left_to_napoleon() -> None:
    lines = ["Sum.", "", "Returns", "-------", "patches", "    The patches.", "indices", "    Where from."]
    expected = list(lines)
    api.plain_prose(None, "function", "", None, None, lines)
    assert lines == expected


# --- What chapters say of themselves -----------------------------------------------------------------------------


def picture(size: tuple[int, int]) -> str:
    buffer = BytesIO()
    Image.new("RGBA", size, (0, 0, 0, 0)).save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


def figure_cell(name: str, *tags: str, size: tuple[int, int] = (20, 10)) -> dict:
    output = {"data": {"image/png": picture(size)}, "metadata": {"scrapbook": {"name": name}}}
    return {"cell_type": "code", "source": "", "metadata": {"tags": list(tags)}, "outputs": [output]}


def text_cell(text: str) -> dict:
    return {"cell_type": "markdown", "source": inspect.cleandoc(text), "metadata": {}}


def claim(words: str, verdict: str, source: str = "paper") -> dict:
    told = {
        "claim": words,
        "verdict": verdict,
        "source": source,
        "paper": "“so”",
        "measured": 1.0,
        "error": None,
    }
    return told | {"unit": "dB", "rule": "≥ 1 dB", "kind": "exact", "revised": "", "reason": ""}


def claims_cell(*claims: dict) -> dict:
    output = {"data": {}, "metadata": {"regularity_claims": list(claims)}}
    return {"cell_type": "code", "source": "", "metadata": {}, "outputs": [output]}


@pytest.fixture
def chapter_with(tmp_path: Path):
    """Make a chapter with these cells."""
    import json

    def make(*cells: dict, entry: str = "notebooks/stein/first") -> Chapter:
        chapter = Chapter(tmp_path, entry)
        write(chapter.notebook, json.dumps({"cells": cells, "metadata": {}}))
        write(chapter.source, "")
        return chapter

    return make


FRONT = """
    # First: *a* method

    **A network sees noise alone.
    Can {func}`~regularity.lab.show` and `it` learn? It can.**

    | | |
    |---|---|
    | paper | *On noise* {cite:p}`key2020on` |
    | authors | A. Author, B. Author |
    | year, arXiv | 2020, [2001.00001](https://arxiv.org/abs/2001.00001) |
    | read for this chapter | abstract, `official` code |

    ```{glue:figure} answer
    :name: fig-first-answer
    :alt: A blue line.

    A caption.
    ```
"""


def test_a_chapter_introduces_itself(chapter_with) -> None:
    front = book.front_of(chapter_with(text_cell(FRONT)))
    assert (front.title, front.year) == ("First: a method", "2020")
    assert front.question == "A network sees noise alone. Can show and it learn?"
    assert front.card == {
        "paper": "On noise",
        "authors": "A. Author, B. Author",
        "year, arXiv": "2020, 2001.00001",
        "read for this chapter": "abstract, official code",
    }


@pytest.mark.parametrize(
    ("paragraph", "opening"),
    [
        ("How far? Not far. Or is it?", "How far?"),
        ("A network sees noise alone. Can it learn? It can.", "A network sees noise alone. Can it learn?"),
        ("A sentence of 0.5 dB. Another.", "A sentence of 0.5 dB."),
    ],
)
def test_a_card_says_what_the_chapter_asks(chapter_with, paragraph: str, opening: str) -> None:
    assert book.front_of(chapter_with(text_cell(f"# Title\n\n{paragraph}"))).question == opening


def test_thumbnail_is_the_figure_of_the_tagged_cell(chapter_with) -> None:
    other, tagged = figure_cell("other", size=(9, 9)), figure_cell("answer", "thumbnail")
    image, words = gallery.first_figure(chapter_with(text_cell(FRONT), other, tagged))
    assert (Image.open(BytesIO(image)).size, words) == ((20, 10), "A blue line.")
    assert gallery.first_figure(chapter_with(other, entry="notebooks/stein/other")) is None


def test_thumbnails_are_written_once(chapter_with, tmp_path: Path) -> None:
    chapter = chapter_with(text_cell(FRONT), figure_cell("answer", "thumbnail"))
    app = SimpleNamespace(outdir=tmp_path / "_build" / "html", srcdir=tmp_path)
    path, _ = gallery.write_thumbnail(app, chapter)
    assert path == tmp_path / "_build" / "thumbnails" / "thumbnail-stein-first.webp"
    with Image.open(path) as image:
        assert image.size == (gallery.WIDTH, gallery.WIDTH // 2)
    assert sorted(file.suffix for file in path.parent.iterdir()) == [".jpg", ".webp"]
    written = path.stat().st_mtime_ns
    gallery.write_thumbnail(app, chapter)
    assert path.stat().st_mtime_ns == written


# --- Verdicts and the ledger -------------------------------------------------------------------------------------

CLAIMS = [
    claim("It denoises", "reproduced"),
    claim("It scales", "not checked"),
    claim("It <never> fails", "not reproduced"),
    claim("It follows", "reproduced", "implied"),
    claim("A limit", "partly", "ours"),
]


def test_the_strip_leads_from_each_verdict_to_its_row() -> None:
    html = verdicts.strip(CLAIMS)
    linked = re.findall(r'class="verdict verdict-([a-z-]+)" href="#([^"]+)" aria-label="([^"]+)"', html)
    assert linked == [
        ("reproduced", "claim-1", "1, reproduced: It denoises"),
        ("not-checked", "claim-2", "2, not checked: It scales"),
        ("not-reproduced", "claim-3", "3, not reproduced: It &lt;never&gt; fails"),
        ("reproduced", "claim-4", "4, reproduced: It follows"),
        ("partly", "claim-5", "5, partly: A limit"),
    ]
    owners = re.findall(r'class="verdict-owner">(.*?)<', html)
    assert [owner.replace("&#x27;", "'") for owner in owners] == ["the paper's", "implied by it", "ours"]


def test_badges_count_the_papers_claims_that_were_checked() -> None:
    html = verdicts.tally(CLAIMS)
    assert re.findall(r'sign-([a-z-]+)">(.*?)<', html) == [
        ("reproduced", "✓&#8239;1"),
        ("not-reproduced", "✗&#8239;1"),
        ("not-checked", "–&#8239;1"),
    ]
    words = re.sub("<.*?>", "", html)
    assert re.search(r"1 of the paper.*?s 2 checked claims reproduced", words)
    assert "implied by it 1 of 1" in words
    assert "ours 0 of 1" in words
    assert "not judged" in verdicts.tally([])


@pytest.fixture
def ledger_of(executed_book, monkeypatch: pytest.MonkeyPatch):
    """Render the ledger of the small book, its rows changed."""

    def render(*changes: dict) -> str:
        rows = ledger.ledger_rows(executed_book)
        for row, change in zip(rows, changes, strict=False):
            row.update(change)
        monkeypatch.setattr(ledger, "ledger_rows", lambda root: rows)
        builder = SimpleNamespace(get_relative_uri=lambda here, there: f"../{there}.html")
        env = SimpleNamespace(found_docs={"notebooks/stein/tiny", "notebooks/stein/opening"})
        app = SimpleNamespace(srcdir=executed_book, builder=builder, env=env)
        return ledger.render(app, "book/ledger", "")

    return render


def test_each_claim_of_the_ledger_leads_to_its_own_row(ledger_of) -> None:
    html = ledger_of()
    links = re.findall(r'<th scope="row"><a href="([^"]+)">', html)
    assert links == [f"../notebooks/stein/tiny.html#{claim_anchor(number)}" for number in (1, 2, 3, 4)]
    assert re.findall(r'data-source="(\w+)"', html) == ["paper", "implied", "ours", "paper"]
    assert "there are too many" in html, "what was not checked says why"
    assert 'value="implied"' in html
    assert re.search(r"of the papers&#x27; 1 checked claims reproduced; implied by them 1 of 1", html)


def test_the_ledger_marks_rules_that_were_revised(ledger_of) -> None:
    assert "rule revised:" not in ledger_of()
    html = ledger_of({"revised": "it was <2>"})
    assert "rule revised: it was &lt;2&gt;" in html
    assert re.findall(r'data-revised="(\w+)"', html) == ["yes", "no", "no", "no"]


def test_runs_on_a_gpu_have_a_column_once_there_is_one(ledger_of) -> None:
    heads = re.findall(r'<th scope="col">(.*?)</th>', ledger_of())
    assert heads == list(ledger.COLUMNS)
    html = ledger_of({"gpu_verdict": "not reproduced (older version)"})
    assert re.findall(r'<th scope="col">(.*?)</th>', html)[-1] == "on a GPU"
    assert 'verdict-not-reproduced">✗&nbsp;not reproduced</span> (older version)' in html
    assert 'name="gpu"' in html


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


def test_tables_name_their_columns_in_each_cell() -> None:
    row = tables.Row("<b>head</b>", ["1", "2"], {"part": 'a"b'})
    html = tables.html_table(["what", "x<y", "z"], [row], label="All", name="t", caption="c")
    assert '<tr data-part="a&quot;b"><th scope="row"><b>head</b></th>' in html
    assert '<td data-label="x&lt;y">1</td><td data-label="z">2</td>' in html
    assert html.count('<th scope="col">') == 3


# --- Numbers -----------------------------------------------------------------------------------------------------


def test_chapters_are_numbered_through_the_book_and_openings_by_part(tmp_path: Path) -> None:
    files = ["noise/opening", "noise/one", "noise/two", "stein/opening", "stein/three"]
    contents = "".join(f"  - file: notebooks/{file}\n" for file in files)
    write(tmp_path / "_toc.yml", f"format: jb-book\nroot: book/index\nchapters:\n{contents}")
    for file in files:
        write(tmp_path / "notebooks" / f"{file}.py", "")
    write(tmp_path / "book" / "how_fast.py", "")
    found = {entry.removeprefix("notebooks/"): number for entry, number in page_numbers(tmp_path).items()}
    assert found == dict(zip(files, ("I", "1", "2", "II", "3"), strict=True))


def test_figures_and_equations_are_numbered_by_page() -> None:
    numbered = {
        "a": [("figure", "f"), ("displaymath", "e"), ("figure", "g")],
        "b": [("figure", "h")],
        "c": [("figure", "i")],
    }
    env = SimpleNamespace(
        found_docs=["a", "b", "c", "d"],
        metadata={page: {"numbered": numbered[page]} if page in numbered else {} for page in "abcd"},
        toc_secnumbers={"a": {"": ("3",)}, "b": {"": ("I",)}},
        toc_fignumbers={"b": {"figure": {"h": ("I", 1)}}},
    )
    assert numbers.assign_figure_numbers(None, env) == ["a", "c"], "b has the number that it had"
    assert env.toc_fignumbers == {
        "a": {"figure": {"f": ("3", 1), "g": ("3", 2)}, "displaymath": {"e": ("3", 1)}},
        "b": {"figure": {"h": ("I", 1)}},
        "c": {"figure": {"i": (1,)}},
    }


def test_pages_are_kept_without_the_environment() -> None:
    """A part that was read as a document of its own, by `eval-rst`, is tied to its page."""
    document, inner = new_document("page"), new_document("inner")
    part = nodes.paragraph(text="a")
    part.document = inner
    document += part
    speedups.leave_environment_out(None, document)
    assert part.document is document


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
    theme_fixes.drop_empty_heads(None, document)
    assert not list(empty.findall(nodes.thead))
    assert next(iter(empty.findall(nodes.colspec)))["stub"] == 1
    assert list(full.findall(nodes.thead))


@pytest.mark.parametrize(("script", "kept"), [("_static/thebe.js", False), ("_static/other.js", True)])
def test_live_code_is_left_to_pages_that_have_code(script: str, kept: bool) -> None:
    def left(*cells: nodes.container) -> int:
        document = new_document("page")
        document.extend(cells)
        context = {"script_files": [SimpleNamespace(filename=script), SimpleNamespace(filename=script)]}
        theme_fixes.mend_scripts(None, "page", "", context, document)
        return len(context["script_files"])

    assert left() == kept
    assert left(nodes.container(classes=["cell_input"])) == 1, "once, not twice"


def test_words_of_the_glossary_stay_in_the_search_when_another_page_is_built_again(tmp_path: Path) -> None:
    write(tmp_path / "conf.py", 'extensions = ["regularity_book.search"]\nhtml_theme = "basic"\n')
    write(tmp_path / "index.rst", "Start\n=====\n\n.. toctree::\n   :glob:\n\n   *\n")
    write(tmp_path / "words.rst", "Words\n=====\n\n.. glossary::\n\n   SURE\n      A risk estimate.\n")
    write(tmp_path / "other.rst", "Other\n=====\n\n.. glossary::\n\n   ridge\n      A penalty.\n")

    def entries() -> set[str]:
        built = tmp_path / "html"
        app = Sphinx(tmp_path, tmp_path, built, tmp_path / "doctrees", "html", status=None, warning=None)
        app.build()
        index = (built / "searchindex.js").read_text(encoding="utf-8")
        return set(json.loads(index.removeprefix("Search.setIndex(").removesuffix(")"))["indexentries"])

    assert entries() == {"sure", "ridge"}
    write(tmp_path / "other.rst", "Other\n=====\n\nNo words.\n")
    assert entries() == {"sure"}
    (tmp_path / "words.rst").unlink()
    assert entries() == set()


@pytest.mark.parametrize("words", ["20,000", "0.30", "1e-09", "λ = 4"])
def test_what_is_glued_stands_on_the_page_as_it_was_written(
    words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roles, "format_plain_text", roles.format_plain_text)
    theme_fixes.setup(SimpleNamespace(connect=lambda *arguments, **options: None))
    assert roles.format_plain_text(words, "") == words


def test_buttons_lead_to_plain_copies() -> None:
    pair = Pair(ROOT, "notebooks/stein/noise2score")
    colab = "https://colab.research.google.com/github/o/r/blob/main/notebooks/stein/noise2score.ipynb"
    assert pages.plain_address(colab, pair).endswith("/o/r/blob/plain/stein/noise2score.ipynb")
    binder = "https://mybinder.org/v2/gh/o/r/main?urlpath=lab/tree/notebooks/stein/noise2score.ipynb"
    assert pages.plain_address(binder, pair).endswith(
        "/o/r/main?urlpath=lab/tree/plain/stein/noise2score.ipynb"
    )


def test_downloads_are_plain_copies_and_scripts(executed_book, tmp_path: Path) -> None:
    chapter = Chapter(executed_book, "notebooks/stein/tiny")
    pages.write_downloads(chapter, tmp_path, "https://example.org/book/")
    script = (tmp_path / "notebooks" / "stein" / "tiny.py").read_text(encoding="utf-8")
    assert script == chapter.source.read_text(encoding="utf-8")
    copy = (tmp_path / "notebooks" / "stein" / "tiny.ipynb").read_text(encoding="utf-8")
    assert "{glue:" not in copy
    assert "https://example.org/book/notebooks/stein/tiny.html" in copy


def test_a_page_without_a_plain_copy_fails_the_build(
    executed_book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chapter = Chapter(executed_book, "notebooks/stein/tiny")
    text = chapter.notebook.read_text(encoding="utf-8")
    chapter.notebook.write_text(text.replace("{glue:text}`mean`", "{glue:text}`gone`"), encoding="utf-8")
    warnings = []
    monkeypatch.setattr(pages.LOGGER, "warning", lambda *arguments, **_: warnings.append(arguments))
    pages.write_downloads(chapter, tmp_path, "https://example.org/")
    assert "gone" in str(warnings)


def test_a_chapter_opens_with_what_matters(executed_book) -> None:
    """Question, answer, verdicts and figure; the card, which stands second in the notebook, comes after."""
    env = SimpleNamespace(docname="notebooks/stein/tiny", found_docs={"notebooks/stein/tiny"})
    app = SimpleNamespace(srcdir=executed_book, env=env)
    document = new_document("page")
    parts = {
        "title": nodes.title(text="Tiny"),
        "question": nodes.paragraph(text="Is it?"),
        "card": nodes.table(),
        "answer": nodes.paragraph(text="It is."),
        "figure": nodes.figure(),
        "more": nodes.section(),
    }
    document += nodes.section("", *parts.values())
    pages.put_first_things_first(app, document)
    found = document.children[0].children
    names = {id(part): name for name, part in parts.items()}
    assert [names.get(id(part), "byline") for part in found] == [
        "title",
        "byline",
        "question",
        "answer",
        "figure",
        "card",
        "more",
    ]
    assert found[1].astext() == "On nothing at all"
