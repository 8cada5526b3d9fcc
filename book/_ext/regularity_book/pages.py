"""What every page carries: downloads, alternative text, link previews, and a way in at the top of the site."""

import json
import shutil
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from regularity.press.chapters import Chapter, Pair
from regularity.press.errors import BookError
from regularity.press.plain import plain_notebook

from .book import front_of, pair_at, pairs_in_book
from .gallery import first_figure, thumbnail_of, write_thumbnail

LOGGER = logging.getLogger(__name__)

# Where the plain copies are: a branch that the workflow writes, and a folder that Binder makes of its own.
PLAIN_BRANCH = "plain"
PLAIN_FOLDER = "plain"


def demand_alternative_text(app: Sphinx, doctree: nodes.document) -> None:
    """Warn, which fails the build, of each figure that says nothing to who cannot see it."""
    for image in doctree.findall(nodes.image):
        text = image.get("alt", "").strip()
        if not text or text == image.get("uri"):
            LOGGER.warning("a figure has no alternative text: %s", image.get("uri"), location=image)


def put_first_things_first(app: Sphinx, doctree: nodes.document) -> None:
    """Open a chapter with question, answer, verdicts and figure; its card follows, and leaves a line at the top."""
    pair = pair_at(app, app.env.docname)
    first = next(iter(doctree.findall(nodes.section)), None)
    if not isinstance(pair, Chapter) or first is None:
        return
    card = next((child for child in first.children if isinstance(child, nodes.table)), None)
    figure = next((child for child in first.children if isinstance(child, nodes.figure)), None)
    if card is not None and figure is not None and first.index(card) < first.index(figure):
        first.remove(card)
        first.insert(first.index(figure) + 1, card)
    front = front_of(pair)
    words = [front.card.get("paper", ""), front.card.get("authors", ""), front.year]
    byline = nodes.paragraph("", " · ".join(word for word in words if word), classes=["byline"])
    first.insert(first.first_child_matching_class(nodes.title) + 1, byline)


def offer_downloads(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Beside the .ipynb offer the .py; let all that opens a notebook elsewhere open its plain copy."""
    groups = {button.get("label"): button for button in context.get("header_buttons", [])}
    pair = pair_at(app, pagename)
    if pair is None or "download-buttons" not in groups:
        return
    script = {
        "type": "link",
        "url": context["pathto"](f"_sources/{pagename}.py", 1),
        "text": ".py",
        "tooltip": "Download the notebook as a Python script",
        "icon": "fas fa-file-code",
        "label": "download-script-button",
    }
    groups["download-buttons"]["buttons"].insert(1, script)
    if launch := groups.get("launch-buttons"):
        hub = {
            "type": "javascript",
            "text": "JupyterHub",
            "tooltip": "Open on a JupyterHub that you name",
            "javascript": f"launchOnHub('{pair.label}.ipynb', '{PLAIN_BRANCH}')",
            "icon": "_static/images/logo_jupyterhub.svg",
            "label": "launch-hub",
        }
        launch["buttons"].insert(2, hub)
        for button in launch["buttons"]:
            if "url" in button:
                button["url"] = plain_address(button["url"], pair)


def plain_address(url: str, pair: Pair) -> str:
    """Lead from the address of a committed notebook, on Binder or Colab, to that of its plain copy."""
    url = url.replace(f"/blob/main/{pair.entry}.ipynb", f"/blob/{PLAIN_BRANCH}/{pair.label}.ipynb")
    return url.replace(f"/tree/{pair.entry}.ipynb", f"/tree/{PLAIN_FOLDER}/{pair.label}.ipynb")


def describe(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Let the preview of a link to a chapter show its first figure."""
    pair = pair_at(app, pagename)
    if pair is not None and (found := first_figure(pair)):
        image = f"_images/{thumbnail_of(app, pair).with_suffix('.jpg').name}"
        context["meta"] = {**(context["meta"] or {}), "og:image": image, "og:image:alt": found[1]}


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Write what stands beside the pages: plain copies and scripts to download, pictures, the way in."""
    if exception is not None or app.builder.format != "html":
        return
    images = Path(app.outdir, "_images")
    images.mkdir(exist_ok=True)
    for pair in pairs_in_book(app):
        write_downloads(pair, Path(app.outdir, "_sources"), app.config.html_baseurl)
        if found := write_thumbnail(app, pair):
            preview = found[0].with_suffix(".jpg")
            shutil.copyfile(preview, images / preview.name)
    Path(app.outdir, "index.html").write_text(_way_in(app), encoding="utf-8")


def write_downloads(pair: Pair, folder: Path, site: str) -> None:
    """Write the plain copy of a page, in place of the notebook that Sphinx put there, and its script."""
    path = folder / f"{pair.entry}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(pair.source, path.with_suffix(".py"))
    try:
        notebook = plain_notebook(pair, site)
    except BookError as error:
        LOGGER.warning("no plain copy: %s", error, location=pair.entry)
    else:
        path.write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _way_in(app: Sphinx) -> str:
    first = app.builder.get_target_uri(app.config.root_doc)
    base, title = app.config.html_baseurl, escape(app.config.html_title)
    image, words = f"{base}{app.config.ogp_image}", escape(app.config.ogp_image_alt, quote=True)
    return f"""<!DOCTYPE html>
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
"""


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", demand_alternative_text)
    app.connect("doctree-read", put_first_things_first)
    app.connect("html-page-context", offer_downloads, priority=900)  # after the theme's buttons
    app.connect("html-page-context", describe, priority=400)  # before sphinxext-opengraph
    app.connect("build-finished", finish)
