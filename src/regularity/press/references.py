"""The book's references: one style for the site and for plain copies of chapters."""

from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path

from pybtex.backends.markdown import Backend
from pybtex.database import BibliographyData, Entry, parse_string
from pybtex.richtext import Text
from pybtex.style.formatting.unsrt import Style
from pybtex.style.template import field, first_of, href, join, optional, sentence

from regularity.press.errors import BookError, nearest


class BookReferences(Style):
    """References that end in one link: the DOI, else arXiv, else an address."""

    default_sorting_style = "author_year_title"
    default_label_style = "alpha"

    def format_web_refs(self, entry: object) -> Text:
        """Make the link of an entry."""
        doi, eprint, url = (field(name, raw=True) for name in ("doi", "eprint", "url"))
        return sentence[
            first_of[
                optional[href(join["https://doi.org/", doi])[join["doi:", doi]]],
                optional[href(join["https://arxiv.org/abs/", eprint])[join["arXiv:", eprint]]],
                optional[href(url)[url]],
            ]
        ]


class _Markdown(Backend):
    """pybtex's Markdown, without a backslash before each full stop, and each work on one line."""

    def __init__(self) -> None:
        super().__init__()
        self.symbols = {**self.symbols, "newblock": " "}

    def format_str(self, text: str) -> str:
        return escape_markdown(text)


class References:
    """The works of a BibTeX file, as Markdown cites them.

    Attributes
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def cite(self, key: str, *, in_text: bool = False) -> str:
        """Cite a work by authors and year, linked to where it can be read.

        Parameters
        ----------
        key
            Of the work in the file.
        in_text
            Whether the authors are part of the sentence: "Kim and Ye (2021)", not "Kim and Ye, 2021".

        Returns
        -------
        Markdown.

        Raises
        ------
        BookError
            If the file has no such key.
        """
        entry = self._entry(key)
        authors, year = _names(entry), entry.fields.get("year", "n.d.")
        words = escape_markdown(f"{authors} ({year})" if in_text else f"{authors}, {year}")
        address = _address(entry)
        return f"[{words}]({address})" if address else words

    def list_works(self, keys: Iterable[str]) -> str:
        """List works in full, sorted by author, year and title.

        Parameters
        ----------
        keys
            Of the works; repeated ones count once.

        Returns
        -------
        A Markdown list.

        Raises
        ------
        BookError
            If the file has no such key.
        """
        works = BibliographyData({key: self._entry(key) for key in keys})
        formatted = _style().format_bibliography(works)
        return "\n".join(f"- {entry.text.render(_Markdown())}" for entry in formatted)

    def _entry(self, key: str) -> Entry:
        works = _parsed(self.path.read_text(encoding="utf-8")).entries
        if key not in works:
            raise BookError(f"no work {key!r} in {self.path.name}; {nearest(key, works)}")
        return works[key]


@cache  # pybtex looks for plugins in all that is installed, each time
def _style() -> BookReferences:
    return BookReferences()


@lru_cache(maxsize=1)  # by the text itself: a file that is changed is read anew
def _parsed(text: str) -> BibliographyData:
    return parse_string(text, "bibtex")


def _names(entry: Entry) -> str:
    """Two authors by their names, more by the first one's."""
    people = entry.persons.get("author") or entry.persons.get("editor") or []
    names = [str(Text(" ").join([*person.rich_prelast_names, *person.rich_last_names])) for person in people]
    if len(names) > 2:
        return f"{names[0]} et al."
    return " and ".join(names) or str(Text.from_latex(entry.fields["title"]))


def _address(entry: Entry) -> str:
    fields = entry.fields
    if "doi" in fields:
        return f"https://doi.org/{fields['doi']}"
    return f"https://arxiv.org/abs/{fields['eprint']}" if "eprint" in fields else fields.get("url", "")


def escape_markdown(text: str) -> str:
    r"""Let Markdown show a text as it is.

    Parameters
    ----------
    text
        Plain text.

    Returns
    -------
    The text with a backslash before each sign that would mean something.

    Examples
    --------
    >>> from regularity.press.references import escape_markdown
    >>> escape_markdown("x_1 * $y$")
    'x\\_1 \\* \\$y\\$'
    """
    for sign in "\\`*_[]<>$|~":
        text = text.replace(sign, f"\\{sign}")
    return text
