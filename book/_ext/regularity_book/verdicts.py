"""The strip of verdicts at the top of a chapter, and the tally on its card: out of the notebook's outputs alone."""

from collections.abc import Sequence
from html import escape

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from regularity.lab.claims import SIGNS, count_verdicts
from regularity.lab.verdicts import SOURCES, claim_anchor, summarise_verdicts

from .book import Claims, claims_in, pair_at

LOGGER = logging.getLogger(__name__)


class Verdicts(SphinxDirective):
    """The directive {verdicts}: a badge for each claim of the page, which leads to its row in the table."""

    def run(self) -> list[nodes.Node]:
        pair = pair_at(self.env.app, self.env.docname)
        claims = claims_in(pair) if pair else ()
        if not claims:
            LOGGER.warning("{verdicts} stands on a page without claims", location=self.get_location())
            return []
        return [nodes.raw("", strip(claims), format="html")]


def strip(claims: Claims) -> str:
    """The claims in their three groups, each claim a sign and its number."""
    numbered = list(enumerate(claims, 1))
    groups = []
    for source, owner in SOURCES.items():
        badges = [_badge(number, claim) for number, claim in numbered if claim["source"] == source]
        if badges:
            groups.append(
                f'<li><span class="verdict-owner">{escape(owner)}</span> <ul>{"".join(badges)}</ul></li>'
            )
    words = escape(summarise_verdicts(claims))
    return f'<div class="verdict-strip"><p>{words}</p><ul aria-label="Verdicts">{"".join(groups)}</ul></div>'


def _badge(number: int, claim: dict[str, str]) -> str:
    verdict = claim["verdict"]
    words = escape(f"{number}, {verdict}: {claim['claim']}", quote=True)
    return (
        f'<li><a class="verdict verdict-{verdict.replace(" ", "-")}" href="#{claim_anchor(number)}" '
        f'aria-label="{words}" title="{words}">{SIGNS[verdict]}&nbsp;{number}</a></li>'
    )


def tally(claims: Claims) -> str:
    """Count the verdicts on the paper's claims, in signs; and say them in words, with what stands beside them."""
    if not claims:
        return '<p class="tally">claims not judged yet</p>'
    words = escape(summarise_verdicts(claims))
    return f'<p class="tally"><span aria-hidden="true">{signs(claims)}</span> {words}</p>'


def signs(claims: Claims, sources: Sequence[str] = ("paper",)) -> str:
    counts = count_verdicts(claims, *sources)
    return "".join(
        f'<span class="sign sign-{verdict.replace(" ", "-")}">{SIGNS[verdict]}&#8239;{count}</span>'
        for verdict, count in counts.items()
        if count
    )


def setup(app: Sphinx) -> None:
    app.add_directive("verdicts", Verdicts)
