"""The built site in a real browser: every page, in light and dark, on a desktop and on a phone.

The second half tries each check on a page that is broken on purpose.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.book import site

pytestmark = pytest.mark.site

HTML = Path(__file__).parents[2] / "_build" / "html"
PAGES = [page for page in site.pages(HTML) if page != "index.html"] or ["book/index.html"]
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = site.launch_browser(playwright)
        if started is None:
            reason = "no Chromium or Chrome: install one, or run `.venv/bin/playwright install chromium`"
            (pytest.fail if site.is_required() else pytest.skip)(reason)
        yield started
        started.close()


@pytest.fixture(scope="session")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """One profile for all pages: what they share is fetched once."""
    opened = site.open_context(browser)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def built() -> Iterator[site._Server]:
    assert (HTML / "index.html").is_file(), f"no site at {HTML}: `make book` builds it"
    with site.serve(HTML) as server:
        yield server


# --- The site ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_page_is_sound(context: BrowserContext, built: site._Server, path: str) -> None:
    with site.visit(context, built, path) as opened:
        problems = [*opened.maths(), *opened.pictures(), *opened.weight()]
        opened.set_mode("dark")
        problems += [f"on a phone: {found}" for found in opened.overflow()]
        problems += [f"dark, on a phone: {found}" for found in opened.accessibility(site.NARROW_RULES)]
        opened.set_mode("light")
        opened.page.set_viewport_size(site.DESKTOP)
        problems += [f"on a desktop: {found}" for found in opened.overflow()]
        problems += [f"light, on a desktop: {found}" for found in opened.accessibility()]
        problems += opened.traffic()
    assert not problems, "\n".join([path, *problems])


def test_front_door_opens_the_book(context: BrowserContext, built: site._Server) -> None:
    page = context.pages[0] if context.pages else context.new_page()
    page.goto(built.address, wait_until="commit")  # it leads on at once
    page.wait_for_url("**/book/index.html")


def test_links_and_anchors_lead_somewhere(built: site._Server) -> None:
    problems = site.broken_links(built.root)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("path", CHAPTERS[:1] + CHAPTERS[1:][-1:])
def test_search_finds_a_chapter(context: BrowserContext, built: site._Server, path: str) -> None:
    title = re.search(r"<title>(.*?) &#8212;|<title>(.*?) —", (HTML / path).read_text(encoding="utf-8"))
    words = next(group for group in title.groups() if group)
    with site.visit(context, built, "search.html") as opened:
        opened.page.locator("main form.bd-search input").fill(words)
        opened.page.keyboard.press("Enter")
        opened.page.locator(f'#search-results a[href*="{path}"]').first.wait_for()
        assert not opened.traffic()


def test_ledger_filters(context: BrowserContext, built: site._Server) -> None:
    with site.visit(context, built, "book/ledger.html") as opened:
        opened.page.set_viewport_size(site.DESKTOP)
        rows = opened.page.locator("#ledger-table tbody tr")
        total = rows.count()
        assert total
        for verdict in ("reproduced", "partly", "not reproduced"):
            expected = opened.page.locator(f'#ledger-table tr[data-verdict="{verdict}"]').count()
            opened.page.locator("#ledger-filter select[name=verdict]").select_option(verdict)
            shown = opened.page.locator("#ledger-table tbody tr:visible")
            assert shown.count() == expected
            assert (
                opened.page.locator("#ledger-filter output").inner_text() == f"{expected} of {total} claims"
            )
        opened.page.locator("#ledger-filter input").fill("no claim has these words")
        assert opened.page.locator("#ledger-table tbody tr:visible").count() == 0
        opened.page.locator("#ledger-filter button").click()
        opened.page.locator("#ledger-table tbody tr:visible").nth(total - 1).wait_for()
        rows.first.locator("th a").click()
        opened.page.wait_for_url(re.compile(r"/notebooks/.+#"))
        anchor = opened.page.url.partition("#")[2]
        opened.page.locator(f"[id='{anchor}']").wait_for()


def test_search_finds_what_a_word_means_first(context: BrowserContext, built: site._Server) -> None:
    with site.visit(context, built, "search.html?q=SURE") as opened:
        first = opened.page.locator("#search-results li").first
        first.locator('a[href*="book/notation.html"]').wait_for()
        first.get_by_text("unbiased risk estimate").wait_for()
        assert not opened.traffic()


def test_formulas_are_no_tab_stops_but_where_they_scroll(
    context: BrowserContext, built: site._Server
) -> None:
    with site.visit(context, built, "notebooks/stein/opening.html") as opened:
        stops = opened.page.locator('mjx-container[tabindex="0"]')
        opened.page.set_viewport_size(site.DESKTOP)
        assert opened.page.locator("mjx-container").count() > 20
        opened.page.wait_for_function("document.querySelectorAll('mjx-container[tabindex]').length === 0")
        opened.page.set_viewport_size({"width": 200, "height": 800})
        stops.first.wait_for()


def test_menu_opens_on_a_phone(context: BrowserContext, built: site._Server) -> None:
    with site.visit(context, built, "book/how_to_read.html") as opened:
        entry = opened.page.locator("nav.bd-links a", has_text="How to run a chapter").first
        assert not entry.is_visible()
        opened.page.locator(".primary-toggle:visible").click()
        entry.click()
        opened.page.wait_for_url("**/book/how_to_run.html")


@pytest.mark.parametrize("path", CHAPTERS[:1])
def test_buttons_of_a_chapter(context: BrowserContext, built: site._Server, path: str) -> None:
    """Downloads are there; Colab, Binder, a hub and live code are asked for on click, and not before."""
    stem = path.removesuffix(".html")
    with site.visit(context, built, path) as opened:
        opened.page.set_viewport_size(site.DESKTOP)
        for suffix in (".ipynb", ".py"):
            link = opened.page.locator(f'.dropdown-download-buttons a[href$="_sources/{stem}{suffix}"]')
            answer = context.request.get(link.evaluate("link => link.href"))
            assert answer.ok, f"no {suffix} to download"
        launch = opened.page.locator(".dropdown-launch-buttons")
        plain = f"plain/{stem.removeprefix('notebooks/')}.ipynb"
        for address in ("https://mybinder.org/v2/gh/", "https://colab.research.google.com/github/"):
            assert launch.locator(f'a[href^="{address}"][href$="{plain}"]').count() == 1
        assert not opened.traffic()

        launch.hover()
        launch.locator(".btn-launch-hub").click()
        assert opened.page.locator("dialog.hub-dialog input").is_visible()
        opened.page.keyboard.press("Escape")

        opened.page.route("https://**", lambda route: route.abort())
        launch.hover()
        with opened.page.expect_request(re.compile("thebe")):
            launch.locator(".btn-launch-thebe").click()


# --- The checks themselves, each on a page that is broken ---------------------------------------------------------

HEAD = (
    '<!DOCTYPE html><html lang="en" data-theme="light">'
    '<head><title>t</title><link rel="icon" href="data:,"></head>'
)


def page_of(folder: Path, body: str) -> None:
    (folder / "index.html").write_text(
        f"{HEAD}<body><main><h1>t</h1>{body}</main></body></html>", encoding="utf-8"
    )


GOOD = '<article><p>One and <a href="#here">two</a>.</p><p id="here">A price of $5.</p></article>'
BROKEN = {
    "traffic": {
        "console: bad": '<script>console.error("bad")</script>',
        "script: ": "<script>undefinedName()</script>",
        "404: ": '<img src="missing.png" alt="A picture.">',
        "asks another host: ": '<img src="http://127.0.0.2:9/pixel.png" alt="A picture.">',
    },
    "maths": {
        "raw maths: ": "<article><p>the score $x^2$ of it</p></article>",
        "not typeset: ": r'<article><span class="math">\(x\)</span></article>',
        "MathJax: ": '<article><mjx-merror data-mjx-error="Undefined control sequence"></mjx-merror></article>',
    },
    "pictures": {
        "no alternative text: a.png": '<article><img src="a.png"></article>',
        "no alternative text: b.png": '<article><img src="b.png" alt="../_images/b.png"></article>',
    },
    "overflow": {"wider than the screen: ": '<div style="width: 3000px">wide</div>'},
    "accessibility": {
        "color-contrast": '<p style="color: #bbb">pale</p>',
        "image-alt": '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">',
        "empty-heading": "<h2></h2>",
        "scrollable-region-focusable": '<pre style="width: 9em; overflow: auto">a line that is too long</pre>',
        "color-contrast (serious, 1)": (
            '<div class="highlight"><pre><span class="k">if</span> <span class="c" style="color: #bbb"># pale</span> '
            '<span class="c" style="color: #bbb"># pale</span></pre></div>'
        ),
        "link-in-text-block": '<p>See <a href="#x" style="color: #222; text-decoration: none">this</a> here.</p>',
    },
}
CASES = [(check, sign, body) for check, bodies in BROKEN.items() for sign, body in bodies.items()]


@pytest.mark.parametrize(("check", "sign", "body"), CASES, ids=[f"{case[0]}: {case[1]}" for case in CASES])
def test_check_sees_what_is_broken(
    context: BrowserContext, tmp_path: Path, check: str, sign: str, body: str
) -> None:
    page_of(tmp_path, body)
    with site.serve(tmp_path) as server, site.visit(context, server, "index.html") as opened:
        found = getattr(opened, check)()
        if sign.startswith("asks"):
            assert any(problem.startswith(sign) for problem in found)
        else:
            assert [problem for problem in found if problem.startswith(sign)], found


def test_checks_accept_what_is_sound(context: BrowserContext, tmp_path: Path) -> None:
    page_of(tmp_path, GOOD)
    with site.serve(tmp_path) as server, site.visit(context, server, "index.html") as opened:
        for check in BROKEN:
            assert getattr(opened, check)() == []
        assert opened.weight() == []
    assert site.broken_links(tmp_path) == []


def test_weight_counts_what_a_page_asks_for(context: BrowserContext, tmp_path: Path) -> None:
    (tmp_path / "noise.png").write_bytes(bytes(site.PAGE_BUDGET))
    page_of(tmp_path, '<img src="noise.png" alt="Noise.">')
    for _ in range(2):  # the second time out of the browser's cache
        with site.serve(tmp_path) as server, site.visit(context, server, "index.html") as opened:
            assert opened.weight()


def test_dark_mode_is_judged_in_its_own_colours(context: BrowserContext, tmp_path: Path) -> None:
    style = "<style>[data-theme=dark] p { color: #222; } [data-theme=dark] body { background: #000; }</style>"
    page_of(tmp_path, f"{style}<p>text</p>")
    with site.serve(tmp_path) as server, site.visit(context, server, "index.html") as opened:
        assert opened.accessibility(site.NARROW_RULES) == []
        opened.set_mode("dark")
        assert opened.accessibility(site.NARROW_RULES)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="gone.html">x</a>', "index.html: nothing at gone.html"),
        ('<a href="#gone">x</a>', "index.html: no anchor at #gone"),
        ('<a href="other.html#gone">x</a>', "index.html: no anchor at other.html#gone"),
        ('<img src="gone.png" alt="x">', "index.html: nothing at gone.png"),
        ('<p id="a"></p><p id="a"></p>', "index.html: the id 'a' comes twice"),
    ],
)
def test_broken_links_are_named(tmp_path: Path, body: str, problem: str) -> None:
    page_of(tmp_path, body)
    (tmp_path / "other.html").write_text(HEAD, encoding="utf-8")
    assert site.broken_links(tmp_path) == [problem]


def test_a_missing_browser_is_an_error_on_ci_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    assert not site.is_required()
    monkeypatch.setenv("CI", "true")
    assert site.is_required()
