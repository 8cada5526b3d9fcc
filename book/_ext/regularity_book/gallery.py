"""The gallery: a card a chapter, with its first figure, its question and the tally of its claims."""

import base64
import re
from collections import Counter
from html import escape
from io import BytesIO
from itertools import groupby
from pathlib import Path

from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx

from regularity.lab.chapters import Chapter, all_chapters
from regularity.lab.claims import SIGNS, claims_of, count_reproduced

WIDTH = 640  # pixels; a card is at most half as wide


def chapters_in_book(app: Sphinx) -> list[Chapter]:
    """The chapters that have a page, in reading order."""
    return [chapter for chapter in all_chapters(Path(app.srcdir)) if page_of(chapter) in app.env.found_docs]


def page_of(chapter: Chapter) -> str:
    return f"notebooks/{chapter.part}/{chapter.name}"


def render(app: Sphinx, docname: str, part: str) -> str:
    """Cards of one part, or of all parts, each under its title."""
    parts = {
        name: "".join(_card(app, docname, chapter) for chapter in chapters)
        for name, chapters in groupby(chapters_in_book(app), key=lambda chapter: chapter.part)
    }
    if part:
        return f'<ul class="gallery">{parts.get(part, "")}</ul>'
    sections = []
    for name, cards in parts.items():
        opening = f"book/parts/{name}"
        target = app.builder.get_relative_uri(docname, opening)
        title = escape(app.env.titles[opening].astext())
        sections.append(
            f'<section class="gallery-part" aria-labelledby="part-{name}">'
            f'<h3 id="part-{name}"><a href="{target}">{title}</a></h3><ul class="gallery">{cards}</ul></section>'
        )
    return "".join(sections)


def _card(app: Sphinx, docname: str, chapter: Chapter) -> str:
    page = page_of(chapter)
    target = app.builder.get_relative_uri(docname, page)
    title, question = escape(app.env.titles[page].astext()), escape(app.env.metadata[page]["opening"])
    picture = '<span class="card-picture"></span>'
    if found := first_figure(chapter):
        alternative, height = found[1], round(found[0].height * WIDTH / found[0].width)
        source = "../" * docname.count("/") + thumbnail_path(chapter, "webp")
        picture = (
            f'<span class="card-picture"><img src="{source}" width="{WIDTH}" height="{height}" loading="lazy" '
            f'alt="{escape(alternative, quote=True)}"></span>'
        )
    return (
        f'<li class="card-chapter">{picture}<div class="card-words">'
        f'<p class="card-title"><a href="{target}">{title}</a></p><p>{question}</p>{tally(chapter)}</div></li>'
    )


def tally(chapter: Chapter) -> str:
    """Say how many of a chapter's claims were reproduced, and show the verdict of each."""
    claims = claims_of(chapter.executed())
    if not claims:
        return '<p class="tally">claims not judged yet</p>'
    counts = Counter(claim["verdict"] for claim in claims)
    signs = "".join(
        f'<span class="sign sign-{verdict.replace(" ", "-")}">{sign}&#8239;{counts[verdict]}</span>'
        for verdict, sign in SIGNS.items()
        if counts[verdict]
    )
    words = f"{count_reproduced(claims)} of {len(claims)} claims reproduced"
    return f'<p class="tally"><span aria-hidden="true">{signs}</span> {words}</p>'


def remember(app: Sphinx, doctree: nodes.document) -> None:
    """Keep what other pages say of a page, when it is read: to load it again for each of them takes long."""
    metadata = app.env.metadata[app.env.docname]
    metadata["opening"] = opening_sentence(doctree)
    metadata["claims"] = claims_section(doctree)


def opening_sentence(doctree: nodes.document) -> str:
    """What a chapter opens with: its first paragraph up to the question, or the first sentence if it asks none."""
    for paragraph in doctree.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split())
        end = r"(?<=\?)\s" if "?" in text else r"(?<=\.)\s"
        return re.split(end, text, maxsplit=1)[0]
    return ""


def claims_section(doctree: nodes.document) -> str:
    """The anchor of the section with the cell of claims; empty where there is none."""
    for cell in doctree.findall(nodes.container):
        if "tag_claims" in cell["classes"]:
            section = cell.parent
            while section is not None and not isinstance(section, nodes.section):
                section = section.parent
            return section["ids"][0] if section is not None else ""
    return ""


# --- Thumbnails --------------------------------------------------------------------------------------------------


def thumbnail_path(chapter: Chapter, suffix: str) -> str:
    return f"_images/thumbnail-{chapter.part}-{chapter.name}.{suffix}"


def first_figure(chapter: Chapter) -> tuple[Image.Image, str] | None:
    """The figure of the cell tagged `thumbnail`, and its alternative text."""
    for cell in chapter.executed()["cells"]:
        if "thumbnail" in cell["metadata"].get("tags", []):
            for output in cell.get("outputs", []):
                if "image/png" in output.get("data", {}):
                    image = Image.open(BytesIO(base64.b64decode("".join(output["data"]["image/png"]))))
                    return image, cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
    return None


def write_thumbnails(app: Sphinx) -> None:
    """Write each chapter's thumbnail, for its card and for link previews, where its notebook is newer."""
    Path(app.outdir, "_images").mkdir(exist_ok=True)
    for chapter in chapters_in_book(app):
        paths = [Path(app.outdir, thumbnail_path(chapter, suffix)) for suffix in ("webp", "jpg")]
        made = min(path.stat().st_mtime if path.is_file() else 0 for path in paths)
        if made < chapter.notebook.stat().st_mtime and (found := first_figure(chapter)):
            picture = Image.new("RGB", found[0].size, "white")
            picture.paste(found[0], mask=found[0].getchannel("A") if found[0].mode == "RGBA" else None)
            size = WIDTH, round(picture.height * WIDTH / picture.width)
            picture = picture.resize(size, Image.Resampling.LANCZOS)
            for path in paths:
                picture.save(path, quality=85)
