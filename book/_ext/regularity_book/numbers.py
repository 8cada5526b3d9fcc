"""Numbers: chapters are 1, 2, ... through the book, parts I, II, ...; figures and equations follow, as in 3.2."""

from collections import Counter

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors.toctree import TocTreeCollector

from regularity.press.chapters import page_numbers


def assign_section_numbers(collector: TocTreeCollector, env: BuildEnvironment) -> list[str]:
    """Number the pages, in place of Sphinx, which would number a part's opening like a chapter of it.

    Sections have no number of their own. Returns the pages whose number has changed, which are written anew.
    """
    before, env.toc_secnumbers = env.toc_secnumbers, {}
    for page, number in page_numbers(env.srcdir).items():
        if page not in env.tocs:
            continue
        env.toc_secnumbers[page] = {}
        for entry in env.tocs[page].findall(addnodes.compact_paragraph):
            reference = next(iter(entry.findall(nodes.reference)))
            own = (number,) if not reference["anchorname"] else None
            env.toc_secnumbers[page][reference["anchorname"]] = own
            reference["secnumber"] = own
        env.titles[page]["secnumber"] = (number,)
    return [page for page, numbers in env.toc_secnumbers.items() if numbers != before.get(page)]


def assign_figure_numbers(collector: TocTreeCollector, env: BuildEnvironment) -> list[str]:
    """Number what each page has, in place of Sphinx, which would load all pages anew to look for it."""
    before, env.toc_fignumbers = env.toc_fignumbers, {}
    for page in env.found_docs:
        counts: Counter[str] = Counter()
        for kind, name in env.metadata[page].get("numbered", ()):
            counts[kind] += 1
            number = (*env.toc_secnumbers.get(page, {}).get("", ()), counts[kind])
            env.toc_fignumbers.setdefault(page, {}).setdefault(kind, {})[name] = number
    return [page for page, numbers in env.toc_fignumbers.items() if numbers != before.get(page)]


def remember(app: Sphinx, doctree: nodes.document) -> None:
    """Keep the figures, tables and equations of a page that have a name and so get a number, in their order."""
    found = []
    for node in doctree.findall(nodes.Element):
        kind = _kind(app.env, node) if node.get("ids") else None
        if kind is not None:
            found.append((kind, node["ids"][0]))
    if found:
        app.env.metadata[app.env.docname]["numbered"] = found


def _kind(env: BuildEnvironment, node: nodes.Element) -> str | None:
    """What Sphinx counts a node as: "figure", "displaymath", ...; None where it has no caption or no number."""
    for domain in env.domains.values():
        kind = domain.get_enumerable_node_type(node)
        if kind and (domain.name != "std" or domain.get_numfig_title(node)):
            return kind
    return None


def replace_numbering(app: Sphinx) -> None:
    TocTreeCollector.assign_section_numbers = assign_section_numbers
    TocTreeCollector.assign_figure_numbers = assign_figure_numbers


def setup(app: Sphinx) -> None:
    app.connect(
        "builder-inited", replace_numbering
    )  # after Jupyter Book's own way of numbering has been set up
    app.connect("doctree-read", remember)
