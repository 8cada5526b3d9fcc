"""Directives whose content is made when a page is written, out of the whole book."""

from collections.abc import Callable
from html.parser import HTMLParser

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

Render = Callable[[Sphinx, str, str], str]
_RENDERERS: dict[str, Render] = {}


class Placeholder(nodes.General, nodes.Element):
    """Stands where a directive's HTML will be."""


def add_directive(app: Sphinx, name: str, render: Render) -> None:
    """Register a directive that becomes what `render(app, docname, argument)` returns, as HTML."""

    class Generated(SphinxDirective):
        optional_arguments = 1
        final_argument_whitespace = True

        def run(self) -> list[nodes.Node]:
            _documents(self.env).add(self.env.docname)
            return [Placeholder(name=name, argument=" ".join(self.arguments))]

    _RENDERERS[name] = render
    app.add_directive(name, Generated)


def fill(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for node in list(doctree.findall(Placeholder)):
        html = _RENDERERS[node["name"]](app, docname, node["argument"])
        node.replace_self(nodes.raw("", html, format="html"))


def _documents(env: BuildEnvironment) -> set[str]:
    if not hasattr(env, "regularity_generated"):
        env.regularity_generated = set()
    return env.regularity_generated


def documents_to_read_again(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> set[str]:
    """Pages that depend on notebooks, records and results are cheap: they are made anew in each build."""
    return _documents(env) & env.found_docs


def forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    _documents(env).discard(docname)


def merge(app: Sphinx, env: BuildEnvironment, docnames: set[str], other: BuildEnvironment) -> None:
    _documents(env).update(_documents(other))


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def text_of(html: str) -> str:
    """Drop the tags of a piece of HTML."""
    parser = _Words()
    parser.feed(html)
    return " ".join(" ".join(parser.words).split())
