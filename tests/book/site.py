"""What the built site must satisfy, as functions that tell what is wrong: `test_site` tries each on a broken page."""

import gzip
import http.server
import mimetypes
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, BrowserContext, Page, Playwright
from playwright.sync_api import Error as PlaywrightError

PAGE_BUDGET = 2_500_000  # bytes over the wire, compressed as GitHub Pages does
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# axe-core's impact decides what fails; these fail whatever their impact.
ALWAYS_SERIOUS = {"empty-heading", "image-alt", "duplicate-id-aria", "scrollable-region-focusable"}
# Rules whose result depends on the colours and on the width: the others see the same page in light and in dark.
NARROW_RULES = ["color-contrast", "link-in-text-block", "scrollable-region-focusable"]


def launch_browser(playwright: Playwright) -> Browser | None:
    """Start the system's Chromium or Chrome, else Playwright's own; None where there is neither."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return playwright.chromium.launch(executable_path=path, args=FLAGS)
    try:
        return playwright.chromium.launch(args=FLAGS)
    except PlaywrightError:
        return None


# --- The server --------------------------------------------------------------------------------------------------


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves a folder as GitHub Pages does: text compressed, and kept by the browser for a while."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.server.root / unquote(urlsplit(self.path).path).lstrip("/")
        if path.is_dir():
            path /= "index.html"
        if not path.is_file():
            self.send_error(404)
            return
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        body, encoding = self.server.compressed(path, kind)
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind.startswith("text/") else kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=3600")
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.kept: dict[Path, tuple[bytes, str]] = {}
        self.address = f"http://127.0.0.1:{self.server_port}/"

    def compressed(self, path: Path, kind: str) -> tuple[bytes, str]:
        if path not in self.kept:
            body = path.read_bytes()
            text = kind.startswith("text/") or kind.endswith(("javascript", "json", "xml"))
            self.kept[path] = (gzip.compress(body, 6), "gzip") if text else (body, "")
        return self.kept[path]

    def wire_size(self, url: str) -> int:
        """Bytes of a resource as they travel."""
        path = self.root / unquote(urlsplit(url).path).lstrip("/")
        return len(self.kept[path][0]) if path in self.kept else 0

    def handle_error(self, *_: object) -> None:
        """A browser that closes a connection early is no error of the site."""


@contextmanager
def serve(root: Path) -> Iterator[_Server]:
    """Serve a folder on the loopback address, at a port of the system's choice."""
    server = _Server(root)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# --- Links, without a browser ------------------------------------------------------------------------------------


class _Outline(HTMLParser):
    """Collects the names that a page defines, and what it points to."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.repeated: set[str] = set()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attributes}
        if "id" in values:
            (self.repeated if values["id"] in self.names else self.names).add(values["id"])
        if tag == "a" and "name" in values:
            self.names.add(values["name"])
        self.targets += [values[key] for key in ("href", "src") if values.get(key)]


def pages(root: Path) -> list[str]:
    """The site's pages; themes leave templates among their static files."""
    paths = (path.relative_to(root) for path in root.rglob("*.html"))
    return sorted(path.as_posix() for path in paths if path.parts[0] not in {"_static", "_sources"})


def broken_links(root: Path) -> list[str]:
    """Links, pictures, scripts and anchors of a site that lead nowhere within it, and ids that come twice."""
    outlines = {}
    for name in pages(root):
        outline = outlines[root / name] = _Outline()
        outline.feed((root / name).read_text(encoding="utf-8"))
    problems = []
    for path, outline in outlines.items():
        page = path.relative_to(root).as_posix()
        problems += [f"{page}: the id {name!r} comes twice" for name in sorted(outline.repeated)]
        for target in dict.fromkeys(outline.targets):
            if urlsplit(target).scheme or target.startswith("//"):
                continue
            address, anchor = urldefrag(urljoin(page, target.split("?")[0] or page))
            anchor = unquote(urldefrag(target)[1])
            found = root / unquote(address)
            found = found / "index.html" if found.is_dir() else found
            if not found.is_file():
                problems.append(f"{page}: nothing at {target}")
            elif anchor and found in outlines and anchor not in outlines[found].names:
                problems.append(f"{page}: no anchor at {target}")
    return problems


# --- A page, in the browser --------------------------------------------------------------------------------------

_STILL = "*, *::before, *::after { transition: none !important; animation: none !important; }"

_MATHS = r"""() => {
  const problems = [];
  for (const error of document.querySelectorAll("mjx-merror, [data-mjx-error]"))
    problems.push("MathJax: " + (error.dataset.mjxError || error.textContent).slice(0, 80));
  for (const formula of document.querySelectorAll(".math"))
    if (!formula.querySelector("mjx-container")) problems.push("not typeset: " + formula.textContent.slice(0, 80));
  const article = document.querySelector("article") || document.body;
  const walker = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.parentElement.closest("pre, code, script, style, mjx-container, svg, textarea")) continue;
    const raw = node.textContent.match(/\$[^$\n]+\$|\$\$|\\\(|\\\[|\\(begin|frac|mathbb|sigma|nabla)\b/);
    if (raw) problems.push("raw maths: " + node.textContent.trim().slice(0, 80));
  }
  return problems;
}"""

_PICTURES = r"""() => [...document.querySelectorAll("article img")].flatMap((image) => {
  const text = (image.getAttribute("alt") || "").trim(), name = image.src.split("/").pop();
  if (image.closest("[aria-hidden=true]")) return [];
  const useless = !text || text.includes(name) || /\.(png|jpe?g|svg|webp)$/i.test(text);
  return useless ? ["no alternative text: " + name] : [];
})"""

_OVERFLOW = r"""() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const scrolls = (element) => {
    for (let e = element; e && e !== document.body; e = e.parentElement)
      if (["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(e).overflowX)) return true;
    return false;
  };
  const wide = [...document.body.querySelectorAll("*")].filter(
    (e) => e.getBoundingClientRect().right > width + 1 && !scrolls(e.parentElement));
  const names = wide.slice(0, 3).map((e) => e.tagName.toLowerCase() + "." + e.className).join(", ");
  return [`wider than the screen: ${document.documentElement.scrollWidth} px of ${width}: ${names}`];
}"""

# In a listing all tokens of a class look alike, and there are thousands: one of each is left for axe-core to judge,
# whose time grows with the square of their number.
_THIN_LISTINGS = r"""() => {
  const seen = new Set();
  for (const listing of document.querySelectorAll(".highlight pre")) {
    const ground = getComputedStyle(listing).backgroundColor;
    for (const token of listing.querySelectorAll("span")) {
      const look = token.className + ground;
      if (seen.has(look)) token.replaceWith(...token.childNodes);
      seen.add(look);
    }
    listing.normalize();
  }
}"""

# Long tables are judged whole once, and by a sample in the other colours: rows beyond it are hidden meanwhile.
_SAMPLE_ROWS = r"""(size) => {
  for (const body of document.querySelectorAll("tbody"))
    [...body.rows].forEach((row, number) => { row.hidden = number >= size; });
}"""
SAMPLE = 24  # rows

_AXE = r"""async (options) => {
  const results = await axe.run(document, {resultTypes: ["violations"], preload: false, ...options});
  return results.violations.map((v) => ({
    id: v.id, impact: v.impact, help: v.help,
    nodes: v.nodes.slice(0, 4).map((n) => n.target.join(" ") + " " + (n.any[0]?.message || "").slice(0, 160)),
    count: v.nodes.length,
  }));
}"""


@dataclass
class Visit:
    """An open page, what it asked for and what went wrong on the way."""

    page: Page
    server: _Server
    requests: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def traffic(self) -> list[str]:
        """Console errors, failed requests, requests to other hosts."""
        local = (self.server.address, "data:", "blob:")
        foreign = sorted(url for url in self.requests if not url.startswith(local))
        return [*self.problems, *(f"asks another host: {url}" for url in foreign)]

    def weight(self) -> list[str]:
        """Whether the page is too heavy."""
        size = sum(self.server.wire_size(url) for url in self.requests)
        return (
            [f"{size / 1e6:.2f} MB over the wire, more than {PAGE_BUDGET / 1e6}"]
            if size > PAGE_BUDGET
            else []
        )

    def maths(self) -> list[str]:
        """Formulas that are not typeset."""
        return self.page.evaluate(_MATHS)

    def pictures(self) -> list[str]:
        """Pictures of the text without words for who cannot see them."""
        return self.page.evaluate(_PICTURES)

    def overflow(self) -> list[str]:
        """What is wider than the window."""
        return self.page.evaluate(_OVERFLOW)

    def accessibility(self, rules: list[str] | None = None) -> list[str]:
        """Violations of WCAG 2 AA and of axe-core's best practices that are serious or critical."""
        if not self.page.evaluate("typeof axe === 'object'"):
            self.page.evaluate(AXE_SCRIPT)
            self.page.evaluate(_THIN_LISTINGS)
        options = {"runOnly": {"type": "rule", "values": rules}} if rules else {}
        if rules:
            self.page.evaluate(_SAMPLE_ROWS, SAMPLE)
        violations = self.page.evaluate(_AXE, options)
        if rules:
            self.page.evaluate(_SAMPLE_ROWS, 1_000_000)
        return [
            f"{found['id']} ({found['impact']}, {found['count']}): {found['help']}: {'; '.join(found['nodes'])}"
            for found in violations
            if found["impact"] in {"serious", "critical"} or found["id"] in ALWAYS_SERIOUS
        ]

    def set_mode(self, mode: str) -> None:
        """Light or dark, as the page's own switch sets it."""
        self.page.evaluate(
            "(mode) => { document.documentElement.dataset.mode = document.documentElement.dataset.theme = mode; }",
            mode,
        )


def open_context(browser: Browser) -> BrowserContext:
    """A browser's profile with nothing in it, on a phone: what scrolls on a desktop scrolls there as well."""
    context = browser.new_context(viewport=PHONE, reduced_motion="reduce", color_scheme="light")
    context.set_default_timeout(20_000)
    return context


@contextmanager
def visit(context: BrowserContext, server: _Server, path: str) -> Iterator[Visit]:
    """Open a page in the one tab, which saves a process each, and wait until it is quiet and its formulas are set."""
    page = context.pages[0] if context.pages else context.new_page()
    opened = Visit(page, server)

    def note(problem: str) -> None:
        opened.problems.append(problem)

    listeners = {
        "request": lambda request: opened.requests.add(request.url),
        "console": lambda line: line.type == "error" and note(f"console: {line.text}"),
        "pageerror": lambda error: note(f"script: {error}"),
        "requestfailed": lambda request: note(f"failed: {request.url} {request.failure}"),
        "response": lambda answer: answer.status >= 400 and note(f"{answer.status}: {answer.url}"),
    }
    page.set_viewport_size(PHONE)
    for event, listener in listeners.items():
        page.on(event, listener)
    try:
        page.goto(server.address + path, wait_until="load")
        page.add_style_tag(content=_STILL)
        page.evaluate("async () => { await window.MathJax?.startup?.promise; }")
        yield opened
    finally:
        for event, listener in listeners.items():
            page.remove_listener(event, listener)
        page.unroute_all(behavior="ignoreErrors")
        page.goto("about:blank")  # what the page still does is its own


def is_required() -> bool:
    """Whether a missing browser is an error: on CI it is."""
    return os.environ.get("CI", "").lower() in {"1", "true"}
