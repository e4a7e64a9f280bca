"""Read built pages: does every link lead somewhere, and is everything served from here?"""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# what a browser fetches by itself; a link that a person follows may lead anywhere
LOADED = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "link": ("href",),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "use": ("href", "xlink:href"),
    "image": ("href", "xlink:href"),
}
STATIC_FOLDER = "_static"  # served as it is: no pages of ours
NAVIGATION = {"canonical", "next", "prev", "search", "index", "author", "license", "copyright"}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        for key in ("id", "name"):
            if key in values:
                self.ids.add(values[key])
        if tag in ("a", "area") and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and NAVIGATION & set(values.get("rel", "").split()):
            return
        self.loads += [values[key] for key in LOADED.get(tag, ()) if values.get(key)]


def read(page: str) -> _Reader:
    """The links, the loaded addresses and the ids of a page."""
    reader = _Reader()
    reader.feed(page)
    return reader


def faults(site: Path) -> list[str]:
    """Every link to a page or place that is not there, and everything loaded from elsewhere."""
    pages = {
        path.relative_to(site).as_posix(): read(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
        if STATIC_FOLDER not in path.relative_to(site).parts
    }
    found = []
    for name, page in pages.items():
        for address in page.loads:
            if _elsewhere(address):
                found.append(f"{name} loads {address[:80]}")
            elif not address.startswith("data:") and not _file(site, name, address).is_file():
                found.append(f"{name} loads {address}, which is not there")
        for address in page.links:
            if urlsplit(address).scheme or address.startswith("//"):
                continue
            target = _file(site, name, address)
            if not target.is_file() or not target.is_relative_to(site.resolve()):
                found.append(f"{name} links to {address}, which is not there")
                continue
            anchor = unquote(urlsplit(address).fragment)
            other = pages.get(target.relative_to(site.resolve()).as_posix())
            if anchor and other is not None and anchor not in other.ids:
                found.append(f"{name} links to {address}, but there is no such place")
    for style in sorted(site.rglob("*.css")):
        text = style.read_text(encoding="utf-8", errors="replace")
        for mark in ("url(http", "url('http", 'url("http', "url(//", "@import url(http"):
            if mark in text:
                found.append(f"{style.relative_to(site)} loads from elsewhere ({mark}...)")
    return found


def _elsewhere(address: str) -> bool:
    return urlsplit(address).scheme in ("http", "https", "ftp") or address.startswith("//")


def _file(site: Path, page: str, address: str) -> Path:
    path = unquote(urlsplit(address).path)
    if not path:
        return (site / page).resolve()
    base = site.resolve() if path.startswith("/") else (site / page).resolve().parent
    target = (base / path.lstrip("/")).resolve()
    return target / "index.html" if target.is_dir() else target
