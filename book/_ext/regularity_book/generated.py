"""Directives whose content is made out of notebooks, records and sources while a page is read."""

from collections.abc import Callable

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

Render = Callable[[Sphinx, str, str], str]


class Generated(SphinxDirective):
    """A directive that depends on more than the text of its page."""

    optional_arguments = 1
    final_argument_whitespace = True

    def remember(self) -> None:
        """Have the page read again in each build: such pages are few and cheap."""
        self.env.metadata[self.env.docname]["generated"] = True


def add_directive(app: Sphinx, name: str, render: Render) -> None:
    """Register a directive that becomes what `render(app, page, argument)` returns, as HTML."""

    class Rendered(Generated):
        def run(self) -> list[nodes.Node]:
            self.remember()
            html = render(self.env.app, self.env.docname, " ".join(self.arguments))
            return [nodes.raw("", html, format="html")]

    app.add_directive(name, Rendered)


def documents_to_read_again(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> set[str]:
    return {page for page in env.found_docs if env.metadata[page].get("generated")}
