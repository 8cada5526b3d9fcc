"""What the theme and its extensions leave amiss, put right: each fix says what of."""

import re
from typing import Any

from docutils import nodes
from myst_nb.ext.glue import roles
from sphinx.application import Sphinx

_SIGNATURE = re.compile(r'<dt class="sig .*?</dt>', re.DOTALL)


def drop_empty_heads(app: Sphinx, doctree: nodes.document) -> None:
    """A Markdown table must have heads; where they are empty, its first column heads the rows instead."""
    for group in doctree.findall(nodes.tgroup):
        heads = next(iter(group.findall(nodes.thead)), None)
        if heads is not None and not heads.astext().strip():
            group.remove(heads)
            next(iter(group.findall(nodes.colspec)))["stub"] = 1


def mend_scripts(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """sphinx-thebe declares its constants twice, which is an error in JavaScript, and on pages without cells."""
    kept = {}
    for script in context.get("script_files", []):
        body = getattr(script, "attributes", {}).get("body", "")
        key = (str(getattr(script, "filename", script) or ""), body)
        if has_cells(doctree) or not any("thebe" in word.lower() for word in key):
            kept.setdefault(key, script)
    context["script_files"] = list(kept.values())


def has_cells(doctree: nodes.document | None) -> bool:
    """Whether a page has code that a reader could run on it."""
    containers = doctree.findall(nodes.container) if doctree is not None else ()
    return any("cell_input" in container["classes"] for container in containers)


def name_folds(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """The sidebar's folds have no name for who cannot see their arrow."""
    make_toctree = context["generate_toctree_html"]

    def named(*arguments: Any, **options: Any) -> str:
        html = str(make_toctree(*arguments, **options))
        return html.replace("<summary>", '<summary aria-label="Pages of this section">')

    context["generate_toctree_html"] = named


def mend_body(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Signatures hold a list without terms; references are given roles that contradict each other."""
    if "body" in context:
        body = _SIGNATURE.sub(lambda found: plain_signature(found[0]), context["body"])
        for role in (' role="list" class="citation-list"', ' role="doc-biblioentry"'):
            body = body.replace(role, ' class="citation-list"' if "class" in role else "")
        context["body"] = body


def plain_signature(html: str) -> str:
    """Set a signature in lines, and without an element for each comma: pages are half as long."""
    pieces, names = [], []
    for piece in re.split("(<[^>]+>)", html):
        if piece.startswith("</"):
            piece = f"</{name}>" if (name := names.pop()) else ""
        elif piece.startswith("<"):
            tag, css = re.match(r'<(\w+)(?: class="([^"]*)")?', piece).groups()
            if tag in {"dl", "dd"}:
                tag, piece = "span", f'<span class="{"sig-lines" if tag == "dl" else "sig-line"}">'
            elif tag in {"span", "em"} and css in {"pre", "p", "n", "o", "w", "s", "sig-paren"}:
                tag, piece = "", ""
            names.append(tag)
        pieces.append(piece)
    return "".join(pieces)


def glued_words(text: str, fmt_spec: str) -> str:
    """MyST-NB evaluates what is glued, to take quotes off: 20,000 would be a pair of numbers, and 0.30 be 0.3.

    `lab.glue` writes words without quotes, formatted already.
    """
    return format(text, fmt_spec)


def setup(app: Sphinx) -> None:
    roles.format_plain_text = glued_words
    app.connect("doctree-read", drop_empty_heads)
    for fix in (mend_scripts, name_folds, mend_body):
        app.connect("html-page-context", fix, priority=900)  # after the theme
