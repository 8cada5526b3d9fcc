"""What every page carries: downloads, alternative text, link previews, and a way in at the top of the site."""

import re
import shutil
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from .gallery import chapters_in_book, first_figure, page_of, thumbnail_path, write_thumbnails

LOGGER = logging.getLogger(__name__)


def demand_alternative_text(app: Sphinx, doctree: nodes.document) -> None:
    """Warn, which fails the build, of each figure that says nothing to who cannot see it."""
    for image in doctree.findall(nodes.image):
        text = image.get("alt", "").strip()
        if not text or text == image.get("uri"):
            LOGGER.warning("a figure has no alternative text: %s", image.get("uri"), location=image)


def drop_empty_heads(app: Sphinx, doctree: nodes.document) -> None:
    """A Markdown table must have heads; where they are empty, its first column heads the rows instead."""
    for group in doctree.findall(nodes.tgroup):
        heads = next(iter(group.findall(nodes.thead)), None)
        if heads is not None and not heads.astext().strip():
            group.remove(heads)
            next(iter(group.findall(nodes.colspec)))["stub"] = 1


def offer_downloads(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Beside the .ipynb offer the .py, and ask for the reader's own JupyterHub."""
    groups = {button.get("label"): button for button in context.get("header_buttons", [])}
    chapters = {page_of(chapter): chapter for chapter in chapters_in_book(app)}
    if pagename not in chapters or "download-buttons" not in groups:
        return
    source = context["pathto"](f"_sources/{pagename}.py", 1)
    downloads = groups["download-buttons"]["buttons"]
    downloads.insert(
        1,
        {
            "type": "link",
            "url": source,
            "text": ".py",
            "tooltip": "Download the notebook as a Python script",
            "icon": "fas fa-file-code",
            "label": "download-script-button",
        },
    )
    launch = groups.get("launch-buttons")
    if launch:
        launch["buttons"].insert(
            2,
            {
                "type": "javascript",
                "text": "JupyterHub",
                "tooltip": "Open on a JupyterHub that you name",
                "javascript": f"launchOnHub('{pagename}.ipynb')",
                "icon": "_static/images/logo_jupyterhub.svg",
                "label": "launch-hub",
            },
        )


def mend_theme(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Put right what the theme and its extensions leave amiss.

    sphinx-thebe declares its constants twice, which is an error in JavaScript, and on pages that have no cells. The
    sidebar's folds have no name for who cannot see their arrow. Signatures hold a list without terms, and references
    are given roles that contradict each other.
    """
    chapter = pagename in {page_of(found) for found in chapters_in_book(app)}
    kept = {}
    for script in context.get("script_files", []):
        key = (
            str(getattr(script, "filename", script) or ""),
            getattr(script, "attributes", {}).get("body", ""),
        )
        if chapter or not any("thebe" in word.lower() for word in key):
            kept.setdefault(key, script)
    context["script_files"] = list(kept.values())

    make_toctree = context["generate_toctree_html"]

    def named(*arguments: Any, **options: Any) -> str:
        html = str(make_toctree(*arguments, **options))
        return html.replace("<summary>", '<summary aria-label="Pages of this section">')

    context["generate_toctree_html"] = named
    if "body" in context:
        body = _SIGNATURE.sub(lambda found: plain_signature(found[0]), context["body"])
        context["body"] = body.replace(
            ' role="list" class="citation-list"', ' class="citation-list"'
        ).replace(' role="doc-biblioentry"', "")


_SIGNATURE = re.compile(r'<dt class="sig .*?</dt>', re.DOTALL)


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


def describe(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Let the preview of a link to a chapter show its first figure."""
    chapters = {page_of(chapter): chapter for chapter in chapters_in_book(app)}
    if pagename in chapters and (found := first_figure(chapters[pagename])):
        context["meta"] = {
            **(context["meta"] or {}),
            "og:image": thumbnail_path(chapters[pagename], "jpg"),
            "og:image:alt": found[1],
        }


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Write what stands beside the pages: scripts to download, thumbnails, the way in."""
    if exception is not None or app.builder.format != "html":
        return
    write_thumbnails(app)
    for chapter in chapters_in_book(app):
        folder = Path(app.outdir, "_sources", "notebooks", chapter.part)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(chapter.source, folder / chapter.source.name)
    first = app.builder.get_target_uri(app.config.root_doc)
    base, title = app.config.html_baseurl, escape(app.config.html_title)
    image, words = f"{base}{app.config.ogp_image}", escape(app.config.ogp_image_alt, quote=True)
    Path(app.outdir, "index.html").write_text(
        f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<meta http-equiv="refresh" content="0; url={first}">
<link rel="canonical" href="{base}{first}">
<meta name="description" content="{words}">
<meta property="og:title" content="{title}">
<meta property="og:type" content="website">
<meta property="og:url" content="{base}{first}">
<meta property="og:image" content="{image}">
<meta property="og:image:alt" content="{words}">
</head>
<body><main><h1>{title}</h1><p><a href="{first}">Open the book</a></p></main></body>
</html>
""",
        encoding="utf-8",
    )
