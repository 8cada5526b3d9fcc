"""Plain copies: the text a reader sees, wherever the chapter is opened; and those of the whole book."""

import ast
import base64
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner

from regularity.lab.claims import claims_of
from regularity.press.chapters import Pair, all_pairs, find_chapter
from regularity.press.cli import main
from regularity.press.errors import BookError
from regularity.press.execution import execute_notebook
from regularity.press.plain import SITE, plain_notebook, write_plain

ROOT = Path(__file__).parents[2]
PNG = base64.b64encode(b"a picture").decode()
REFERENCES = """
@inproceedings{kim2021,
  author = {Kim, Kwanyoung and Ye, Jong Chul},
  title = {{Noise2Score}: without clean images},
  booktitle = {NeurIPS}, year = {2021}, eprint = {2106.07009}, url = {https://example.org/kim}
}
@article{xie2012,
  author = {Xie, Xianchao and Kou, S. C. and Brown, Lawrence D.},
  title = {{SURE} estimates}, journal = {JASA}, year = {2012}, volume = {107}, doi = {10.1080/a_b}
}
@book{dalmaso1993,
  author = {Dal Maso, Gianni}, title = {An introduction}, publisher = {Birkh{\\"a}user}, year = {1993}
}
"""


def record(name, text):
    key = "application/papermill.record/"
    scrapbook = {"name": name, "mime_prefix": key}
    return {
        "output_type": "display_data",
        "data": {f"{key}text/plain": text},
        "metadata": {"scrapbook": scrapbook},
    }


def picture(name):
    scrapbook = {"name": name, "mime_prefix": ""}
    data = {"image/png": PNG, "text/plain": "<Figure>"}
    return {"output_type": "display_data", "data": data, "metadata": {"scrapbook": scrapbook}}


def claims(*verdicts):
    entry = {"claim": "c", "paper": "p", "source": "paper", "kind": "exact", "rule": "> 0", "revised": ""}
    entry |= {"measured": None, "error": None, "unit": "", "reason": ""}
    entries = [{**entry, "verdict": verdict} for verdict in verdicts]
    data, metadata = {"text/plain": "a table"}, {"regularity_claims": entries}
    return {"output_type": "display_data", "data": data, "metadata": metadata}


def markdown(text):
    return {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}


def code(source="draw()", *outputs, **metadata):
    cell = {"cell_type": "code", "execution_count": 1, "metadata": metadata, "outputs": list(outputs)}
    return {**cell, "source": source}


def write_notebook(root, entry, *cells):
    path = root / f"{entry}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{**cell, "id": f"cell-{number}"} for number, cell in enumerate(cells)]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return Pair(root, entry)


@pytest.fixture
def book(tmp_path):
    """Two chapters, an opening and a page of prose; the first chapter is the one that tests write."""
    entries = ("book/ledger", "notebooks/stein/opening", "notebooks/stein/example", "notebooks/stein/other")
    contents = "".join(f"      - file: {entry}\n" for entry in entries)
    (tmp_path / "_toc.yml").write_text(
        f"format: jb-book\nroot: book/index\nparts:\n  - chapters:\n{contents}", encoding="utf-8"
    )
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "references.bib").write_text(REFERENCES, encoding="utf-8")
    (tmp_path / "book" / "ledger.md").write_text("# The ledger\n\n(all-claims)=\n## All claims\n")
    write_notebook(tmp_path, "notebooks/stein/opening", markdown("# Stein's identity\n\n$$\na\n$$ (sure)\n"))
    figure = "# Another chapter\n\n```{glue:figure} map\n:name: fig-other-map\n:alt: A.\n\nB.\n```\n"
    write_notebook(tmp_path, "notebooks/stein/other", markdown(figure), code("draw()", picture("map")))
    for name in ("opening", "example", "other"):
        source = f"# %% [markdown]\n# # {name.capitalize()}\n"
        (tmp_path / "notebooks" / "stein" / f"{name}.py").write_text(source)
    return tmp_path


OUTPUTS = (
    record("gain", "−1.2\N{NO-BREAK SPACE}dB"),
    record("signs", "a_1*b|c"),
    claims("reproduced", "partly"),
)


def convert(book, *texts):
    """The texts of a page, of which the second and later ones stand after the code; as a plain copy has them."""
    outputs = (*OUTPUTS, picture("answer"), picture("second"))
    cells = [markdown(texts[0]), code(), code("work()", *outputs), *map(markdown, texts[1:])]
    copied = plain_notebook(write_notebook(book, "notebooks/stein/example", *cells))["cells"]
    return [cell["source"] for cell in copied[2:] if cell["cell_type"] == "markdown"]


CHAPTER = f"{SITE}notebooks/stein/"
API = f"{SITE}book/api/"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("by {glue:text}`gain`.", "by −1.2\N{NO-BREAK SPACE}dB."),
        ("| {glue:text}`signs` |", r"| a\_1\*b\|c |"),
        ("(see {cite:p}`kim2021`)", "(see ([Kim and Ye, 2021](https://arxiv.org/abs/2106.07009)))"),
        (
            "{cite:p}`xie2012, dalmaso1993`",
            "([Xie et al., 2012](https://doi.org/10.1080/a_b); Dal Maso, 1993)",
        ),
        (
            "{cite:t}`kim2021,xie2012`",
            "[Kim and Ye (2021)](https://arxiv.org/abs/2106.07009), [Xie et al. (2012)](https://doi.org/10.1080/a_b)",
        ),
        ("{doc}`other`", f"[Another chapter]({CHAPTER}other.html)"),
        ("{doc}`all\nclaims </book/ledger>`", f"[all claims]({SITE}book/ledger.html)"),
        ("{doc}`../../book/ledger`", f"[The ledger]({SITE}book/ledger.html)"),
        ("{ref}`all-claims`", f"[All claims]({SITE}book/ledger.html#all-claims)"),
        ("{ref}`there <all-claims>`", f"[there]({SITE}book/ledger.html#all-claims)"),
        (
            "{mod}`regularity.press.plain`",
            f"[`regularity.press.plain`]({API}press-plain.html#module-regularity.press.plain)",
        ),
        (
            "{func}`~regularity.press.plain.plain_notebook`",
            f"[`plain_notebook()`]({API}press-plain.html#regularity.press.plain.plain_notebook)",
        ),
        (
            "{class}`regularity.lab.Claim`",  # from where it is defined, not from where it is handed on
            f"[`regularity.lab.Claim`]({API}lab-claims.html#regularity.lab.claims.Claim)",
        ),
        (
            "{py:meth}`the dictionary <regularity.lab.claims.Claim.as_dict>`",
            f"[the dictionary]({API}lab-claims.html#regularity.lab.claims.Claim.as_dict)",
        ),
        ("```{verdicts}\n```", "**Verdicts:** 1 of the paper's 2 checked claims reproduced."),
        (
            "```{gallery} stein\n```",
            f"- [Example]({CHAPTER}example.html): 1 of the paper's 2 checked claims reproduced\n"
            f"- [Other]({CHAPTER}other.html): 0 of the paper's 0 checked claims reproduced",
        ),
        ("```{note}\nMind {glue:text}`gain`.\n```", "> **Note**\n>\n> Mind −1.2\N{NO-BREAK SPACE}dB."),
        (
            ":::{admonition} Algorithm: *descend*\n:class: tip\n\n"
            "1. Step to\n\n   $$\n   x\n   $$\n\n2. with $a\n   = b$\n:::",
            "> **Algorithm: *descend***\n>\n> 1. Step to\n>\n>    $$ x $$\n>\n> 2. with $a = b$",
        ),
        (
            "````{tip}\nOuter\n\n```{warning}\nInner\n```\n````",
            "> **Tip**\n>\n> Outer\n>\n> > **Warning**\n> >\n> > Inner",
        ),
        (
            "Counts\n: are whole, {glue:text}`gain`\n  of them.\n\nJumps\n: are not.",
            "- **Counts**: are whole, −1.2\N{NO-BREAK SPACE}dB\n  of them.\n\n- **Jumps**: are not.",
        ),
        ("{.lead}\nA [word]{.wide} and `code`{.python}", "A word and `code`"),
        ("One.\n\n% a comment\n\nTwo.", "One.\n\n\n\nTwo."),
        ('<div class="wide">HTML &amp; {curly}</div>', '<div class="wide">HTML &amp; {curly}</div>'),
    ],
)
def test_what_is_of_myst_becomes_ordinary_markdown(book, text, expected):
    assert convert(book, text) == [expected]


@pytest.mark.parametrize(
    "literal",
    [
        "a role is written `` {cite:p}`key` ``, as in `{doc}`",
        "```text\n{glue:text}`gain`\n```",
        "````markdown\n```{verdicts}\n```\n````",
        "$a_{eq}`b` + c$ and\n\n$$\n\\min_{x}`y`\n$$",
        "    {cite:p}`indented`",
        r"no \{.lead} and \`{glue:text}\`",
        "two lines  \nwith a break",
    ],
)
def test_code_and_mathematics_stay_as_they_are(book, literal):
    assert convert(book, literal) == [literal.strip("\n")]


FIGURE = (
    "```{{glue:figure}} {0}\n:name: fig-{0}\n:alt: What [{0}]\n:  shows: all.\n\n"
    "A caption of {{glue:text}}`gain`,\nwrapped.\n```"
)


def test_figures_are_numbered_and_shown_before_they_are_drawn(book):
    top, below = FIGURE.format("answer"), FIGURE.format("second")
    references = "{numref}`fig-second`, {numref}`picture %s <fig-answer>`, {numref}`fig-other-map`"
    first, second = convert(book, f"{top}\n\nText.", f"{below}\n\n{references}")
    caption = "A caption of −1.2\N{NO-BREAK SPACE}dB,\nwrapped."
    assert (
        first
        == f"![What \\[answer\\] shows: all.](attachment:answer.png)\n\n**Figure 1.1.** {caption}\n\nText."
    )
    assert second == (
        f"**Figure 1.2.** {caption}\n\nFigure 1.2, picture 1.1, [Figure 2.1]({CHAPTER}other.html#fig-other-map)"
    )
    cells = plain_notebook(Pair(book, "notebooks/stein/example"))["cells"]
    assert [cell.get("attachments", {}) for cell in cells if cell["cell_type"] == "markdown"] == [
        {},
        {"answer.png": {"image/png": PNG}},
        {},
    ]


def test_a_caption_just_before_its_figure_needs_no_copy_of_it(book):
    pair = write_notebook(
        book,
        "notebooks/stein/example",
        markdown(FIGURE.format("answer")),
        code("draw()", record("gain", "2"), picture("answer")),
    )
    caption = plain_notebook(pair)["cells"][2]
    assert caption["source"] == "**Figure 1.1.** A caption of 2,\nwrapped."
    assert "attachments" not in caption


def test_equations_have_their_numbers(book):
    text = (
        "Before {eq}`second`:\n\n$$\na\n= b\n$$ (first)\n\n"
        "- In a list\n\n  $$ c $$ (second)\n\nAs {eq}`first` and {eq}`sure` say."
    )
    elsewhere = f"{CHAPTER}opening.html#equation-sure"
    assert convert(book, text) == [
        "Before (1.2):\n\n$$\na\n= b \\tag{1.1}\n$$\n\n- In a list\n\n  $$ c \\tag{1.2}\n  $$\n\n"
        f"As (1.1) and [(I.1)]({elsewhere}) say."
    ]


def test_the_works_that_a_page_cites_are_listed(book):
    text = "{cite:p}`xie2012`\n\n```{bibliography}\n:filter: docname in docnames\n```"
    listed, _ = convert(book, text, "- {cite:t}`kim2021`, {cite:p}`xie2012`")
    assert listed.split("\n\n", 1)[1] == (
        "- Kwanyoung Kim and Jong Chul Ye. Noise2Score: without clean images. In *NeurIPS*. 2021. "
        "[arXiv:2106.07009](https://arxiv.org/abs/2106.07009).\n"
        "- Xianchao Xie, S. C. Kou, and Lawrence D. Brown. SURE estimates. *JASA*, 2012. "
        r"[doi:10.1080/a\_b](https://doi.org/10.1080/a_b)."
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{glue:text}`gian`", "nothing is glued as 'gian'; did you mean 'gain'?"),
        ("{glue:text}`answer`", "what is glued as 'answer' is no text"),
        ("{cite:p}`kim2012`", "no work 'kim2012' in references.bib; did you mean 'kim2021'?"),
        ("{eq}`nothing`", "no equation 'nothing'; there are: "),
        ("{numref}`sure`", "no figure 'sure'"),
        ("{ref}`nowhere`", "no section 'nowhere'"),
        ("{doc}`othre`", "no page 'othre'; did you mean 'notebooks/stein/other'?"),
        (
            "{func}`regularity.press.plain.paint`",
            "'regularity.press.plain.paint' is nothing that regularity has",
        ),
        ("{class}`torch.Tensor`", "'torch.Tensor' is nothing that regularity has"),
        ("{kbd}`Ctrl`", "role 'kbd' has no plain form"),
        ("```{verdict}\n```", "directive 'verdict' has no plain form; did you mean 'verdicts'?"),
        ("```{glue:figure} gain\n:name: a\n:alt: b\n```", "what is glued as 'gain' is no figure"),
        ("```{glue:figure} answer\n:name: a\n```", "the figure 'answer' must have :name: and :alt:"),
        (
            "```{glue:figure} answer\n:name: a\n:alt: b\n  goes on\n\nCaption.\n```",
            "a line within options begins with a colon, and a blank one ends them; got 'goes on'",
        ),
        ("```{gallery} theory\n```", "no chapters in part 'theory'"),
    ],
)
def test_what_cannot_be_resolved_is_an_error(book, text, message):
    with pytest.raises(BookError, match=re.escape(f"notebooks/stein/example: {message}")):
        convert(book, text)


def test_verdicts_need_claims(book):
    pair = write_notebook(book, "notebooks/stein/example", markdown("```{verdicts}\n```"))
    with pytest.raises(BookError, match="there are no claims"):
        plain_notebook(pair)


def test_a_page_must_have_been_executed(book):
    with pytest.raises(BookError, match=r"new\.ipynb must be executed first"):
        plain_notebook(Pair(book, "notebooks/stein/new"))


def test_cells_keep_what_a_reader_and_papermill_need(book):
    shown = {"output_type": "display_data", "data": {"text/html": "<b>"}, "metadata": {}}
    pair = write_notebook(
        book,
        "notebooks/stein/example",
        code("seed: int = 0", tags=["parameters"]),
        code(
            "work()",
            *OUTPUTS,
            picture("answer"),
            shown,
            tags=["hide-input", "remove-output"],
            mystnb={"a": 1},
        ),
        code("judge()", tags=["claims", "hide-input"]),
    )
    copied = plain_notebook(pair)
    nbformat.validate(nbformat.from_dict(copied))
    parameters, work, judge = copied["cells"][2:]
    assert parameters["metadata"] == {"tags": ["parameters"]}
    assert work["metadata"] == {"jupyter": {"source_hidden": True}}
    assert judge["metadata"] == {"jupyter": {"source_hidden": True}, "tags": ["claims"]}
    assert work["outputs"] == [OUTPUTS[2], picture("answer"), shown]  # texts for the prose are shown nowhere
    assert copied["metadata"]["jupytext"] == {"formats": "ipynb"}


def test_a_copy_that_its_reader_changed_is_left_alone(book, tmp_path):
    folder = tmp_path / "copies"
    pair = write_notebook(book, "notebooks/stein/example", markdown("# One"), code("1 + 1"))
    path = folder / "stein" / "example.ipynb"
    assert write_plain([pair], folder) == {path: True}
    saved = json.loads(path.read_text())
    for cell in saved["cells"]:  # as JupyterLab writes what nobody changed
        cell["source"] = cell["source"].splitlines(keepends=True)
    path.write_text(json.dumps(saved, indent=2))
    write_notebook(book, "notebooks/stein/example", markdown("# Two"), code("1 + 1"))
    assert write_plain([pair], folder) == {path: True}
    assert "# Two" in path.read_text()
    path.write_text(path.read_text().replace("1 + 1", "1 + 2"))
    write_notebook(book, "notebooks/stein/example", markdown("# Three"), code("1 + 1"))
    assert write_plain([pair], folder) == {path: False}
    assert "1 + 2" in path.read_text()


def test_the_command_says_what_it_wrote_and_what_it_kept(book, monkeypatch):
    write_notebook(book, "notebooks/stein/example", markdown("# One"), code("1 + 1"))
    monkeypatch.chdir(book)
    done = CliRunner().invoke(main, ["notebook", "example", "stein/opening"])
    paths = [book / "plain" / "stein" / f"{name}.ipynb" for name in ("example", "opening")]
    assert done.output.splitlines() == [str(path) for path in paths]
    paths[0].write_text(paths[0].read_text().replace("1 + 1", "1 + 2"))
    done = CliRunner().invoke(main, ["notebook", "example", "--to", "plain"])
    assert done.output.startswith("plain/stein/example.ipynb is kept: you changed it")


def test_a_plain_copy_executes_with_parameters(executed_book):
    pair = find_chapter("tiny", executed_book)
    copied = plain_notebook(pair)
    done = json.loads(execute_notebook(json.dumps(copied), {"n_draws": 50}, package=pair.package))
    assert [claim["claim"] for claim in claims_of(done)] == [
        claim["claim"] for claim in claims_of(pair.executed())
    ]
    before, after = glued_texts(pair.executed()), glued_texts(done)
    assert before.keys() == after.keys()
    assert before != after  # half as many draws have another mean


# --- The book ----------------------------------------------------------------------------------------------------

PAIRS = all_pairs(ROOT)
every_page = pytest.mark.parametrize("pair", PAIRS, ids=[pair.label for pair in PAIRS])
plain_of = cache(plain_notebook)
LEFT_OVER = re.compile(
    r"(?<!`)\{[a-zA-Z][\w:+.-]*\}`"  # a role; one in code begins with the code's own sign
    r"|^[ >]*(`{3,}|:{3,})\{|^\([\w-]+\)=$|^%|\$\$ *\([\w-]+\)|\{[.#][a-z]|\[\^",
    re.MULTILINE,
)


def glued_texts(notebook):
    outputs = (output for cell in notebook["cells"] for output in cell.get("outputs", []))
    found = (output for output in outputs if "scrapbook" in output.get("metadata", {}))
    return {
        output["metadata"]["scrapbook"]["name"]: "".join(
            output["data"]["application/papermill.record/text/plain"]
        )
        for output in found
        if "application/papermill.record/text/plain" in output["data"]
    }


def texts_of(notebook) -> list[str]:
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]


def without_fences(text):
    return re.sub(r"^([ >]*)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)


@every_page
def test_nothing_of_myst_is_left(pair):
    copied = plain_of(pair)
    nbformat.validate(nbformat.from_dict(copied))
    for cell in copied["cells"]:
        if cell["cell_type"] == "markdown":
            text = without_fences(cell["source"])
            assert not (found := LEFT_OVER.search(text)), text[max(found.start() - 40, 0) : found.end() + 40]
            attached = re.findall(r"\]\(attachment:([^)]+)\)", text)
            assert sorted(attached) == sorted(cell.get("attachments", {}))
            targets = re.findall(r"\]\(((?!attachment:)[^)\s]*)", text)
            assert [target for target in targets if not target.startswith(("https://", "http://"))] == []
        else:
            assert not {"mystnb"} & cell["metadata"].keys()


@every_page
def test_the_text_says_the_same_numbers_as_the_page(pair):
    executed = pair.executed()
    glued = glued_texts(executed)
    words = [re.sub(r"\\(.)", r"\1", text) for text in texts_of(plain_of(pair))[1:]]
    assert len(words) == len(texts_of(executed))
    for text, plain in zip(texts_of(executed), words, strict=True):
        for before, name in re.findall(r"([\w ,]*)\{glue:text\}`([^`]+)`", without_directive_marks(text)):
            assert before + glued[name] in plain


def without_directive_marks(text):
    return re.sub(r"^```.*$", "", text, flags=re.MULTILINE)


@every_page
def test_code_and_visible_outputs_are_those_of_the_page(pair):
    install, *copied = (cell for cell in plain_of(pair)["cells"] if cell["cell_type"] == "code")
    assert "pip install" in install["source"]
    executed = [cell for cell in pair.executed()["cells"] if cell["cell_type"] == "code"]
    assert [cell["source"] for cell in copied] == ["".join(cell["source"]) for cell in executed]
    pictures = [
        output for cell in copied for output in cell["outputs"] if "image/png" in output.get("data", {})
    ]
    originals = [
        output for cell in executed for output in cell["outputs"] if "image/png" in output.get("data", {})
    ]
    assert pictures == originals


OPTIONAL = {"minatar"}  # what a parameter file alone asks for, and says so


def modules_imported(code: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_of(module: str) -> list[Path]:
    """The file of one of our modules, or all those of a package, for whatever it hands on."""
    parts = module.split(".")
    for n_parts in range(len(parts), 1, -1):
        stem = ROOT.joinpath("src", *parts[:n_parts])
        if stem.is_dir():
            return list(stem.rglob("*.py"))
        if stem.with_suffix(".py").is_file():
            return [stem.with_suffix(".py")]
    return []


@every_page
def test_the_first_cell_installs_what_the_page_imports(pair):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    install, *cells = (cell for cell in plain_of(pair)["cells"] if cell["cell_type"] == "code")
    extras = re.search(r'"regularity\[(.*?)\] @ git', install["source"])[1].split(",")
    wanted = [
        *project["dependencies"],
        *(entry for name in extras for entry in project["optional-dependencies"][name]),
    ]
    installed = {re.match(r"[\w.-]+", entry)[0].lower().replace("_", "-") for entry in wanted}
    distributions = packages_distributions()
    waiting, seen, missing = ["\n".join(cell["source"] for cell in cells)], set(), set()
    while waiting:
        for module in modules_imported(waiting.pop()):
            top = module.split(".")[0]
            if top == "regularity":
                new = [path for path in files_of(module) if path not in seen]
                seen.update(new)
                waiting += [path.read_text(encoding="utf-8") for path in new]
            elif top not in sys.stdlib_module_names:
                names = {name.lower().replace("_", "-") for name in distributions.get(top, [])}
                missing |= set() if names & installed else {top}
    assert seen
    assert missing <= OPTIONAL


def test_links_lead_to_the_site_as_it_is_configured():
    assert f"baseurl: {SITE}\n" in (ROOT / "_config.yml").read_text(encoding="utf-8")


@pytest.mark.site
@every_page
def test_every_link_to_the_site_arrives(pair):
    built = ROOT / "_build" / "html"
    for text in texts_of(plain_of(pair)):
        for address in re.findall(rf"\]\({re.escape(SITE)}([^)\s]*)\)", text):
            page, _, anchor = address.partition("#")
            html = (built / (page or "index.html")).read_text(encoding="utf-8")
            assert not anchor or f'id="{anchor}"' in html, address
