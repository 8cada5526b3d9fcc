"""The gallery: a card a chapter, with its first figure, its question, its paper and the tally of its claims."""

import base64
import os
from collections.abc import Iterator
from html import escape
from io import BytesIO
from itertools import groupby
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from PIL import Image
from sphinx.application import Sphinx

from regularity.press.chapters import Chapter, Pair

from .book import captions_of, chapters_in_book, claims_in, front_of, notebook_of, opening_of, pair_at
from .generated import Generated
from .verdicts import tally

WIDTH = 640  # pixels; a card is at most half as wide


class Gallery(Generated):
    """The directive {gallery}: cards of one part, or of all parts, each under its title."""

    def run(self) -> list[nodes.Node]:
        self.remember()
        app, wanted = self.env.app, " ".join(self.arguments)
        lines: list[str] = []
        for part, chapters in groupby(chapters_in_book(app), key=lambda chapter: chapter.part):
            if wanted in ("", part):
                if not wanted:
                    lines += ["```{raw} html", _part_heading(app, self.env.docname, part), "```", ""]
                lines += _grid(app, list(chapters))
        container = nodes.Element()
        self.state.nested_parse(StringList(lines, self.env.docname), self.content_offset, container)
        return container.children


def _part_heading(app: Sphinx, page: str, part: str) -> str:
    opening = pair_at(app, opening_of(part))
    if opening is None:
        return f"<h3>{escape(part)}</h3>"
    address = app.builder.get_relative_uri(page, opening.entry)
    return f'<h3 id="part-{part}"><a href="{address}">{escape(front_of(opening).title)}</a></h3>'


def _grid(app: Sphinx, chapters: list[Chapter]) -> Iterator[str]:
    yield from ("`````{grid} 1 2 2 2", ":gutter: 3", ":class-container: gallery", "")
    for chapter in chapters:
        yield from _card(app, chapter)
    yield from ("`````", "")


def _card(app: Sphinx, chapter: Chapter) -> Iterator[str]:
    """A card as sphinx-design writes it; its foot is the tally."""
    front = front_of(chapter)
    yield f"````{{grid-item-card}} {front.title}"
    yield from (":shadow: none", ":link-type: doc", f":link: /{chapter.entry}", f":link-alt: {front.title}")
    if found := write_thumbnail(app, chapter):
        path, words = found
        yield from (f":img-top: /{os.path.relpath(path, app.srcdir)}", f":img-alt: {words}")
    paper = escape(front.card.get("paper", ""))
    read = escape(front.card.get("read for this chapter", "not told"))
    yield from ("", "```{raw} html", f"<p>{escape(front.question)}</p>")
    yield f'<p class="card-paper"><cite>{paper}</cite>, {escape(front.year)}.<br>Read for this chapter: {read}.</p>'
    yield from (tally(claims_in(chapter)), "```", "````")


# --- Thumbnails --------------------------------------------------------------------------------------------------


def first_figure(pair: Pair) -> tuple[bytes, str] | None:
    """The figure of the cell tagged `thumbnail`, as PNG, and its alternative text."""
    for cell in notebook_of(pair)["cells"]:
        if "thumbnail" in cell["metadata"].get("tags", []):
            for output in cell.get("outputs", []):
                name = output.get("metadata", {}).get("scrapbook", {}).get("name")
                if "image/png" in output.get("data", {}):
                    picture = base64.b64decode("".join(output["data"]["image/png"]))
                    return picture, captions_of(pair).get(name, "")
    return None


def thumbnail_of(app: Sphinx, pair: Pair) -> Path:
    """Where the small picture lies; beside it, with the ending .jpg, the one for previews of links."""
    return Path(app.outdir).parent / "thumbnails" / f"thumbnail-{pair.label.replace('/', '-')}.webp"


def write_thumbnail(app: Sphinx, pair: Pair) -> tuple[Path, str] | None:
    """Write both pictures where the notebook is newer; return the path and the alternative text."""
    found = first_figure(pair)
    if found is None:
        return None
    path = thumbnail_of(app, pair)
    if not path.is_file() or path.stat().st_mtime < pair.notebook.stat().st_mtime:
        image = Image.open(BytesIO(found[0]))
        picture = Image.new("RGB", image.size, "white")
        picture.paste(image, mask=image.getchannel("A") if image.mode == "RGBA" else None)
        size = WIDTH, round(picture.height * WIDTH / picture.width)
        picture = picture.resize(size, Image.Resampling.LANCZOS)
        path.parent.mkdir(parents=True, exist_ok=True)
        for final in (path.with_suffix(".jpg"), path):
            written = final.with_name(f".{os.getpid()}-{final.name}")  # two pages may show the chapter
            picture.save(written, format="JPEG" if final.suffix == ".jpg" else "WEBP", quality=85)
            os.replace(written, final)
    return path, found[1]


def setup(app: Sphinx) -> None:
    app.add_directive("gallery", Gallery)
