"""Numbers: chapters are 1, 2, ... through the book, parts I, II, ...; figures and equations follow, as in 3.2."""

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


def replace_numbering(app: Sphinx) -> None:
    TocTreeCollector.assign_section_numbers = assign_section_numbers


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", replace_numbering)  # after Jupyter Book's own way of numbering has been set up
