"""Font Awesome as the theme ships it holds some two thousand icons; the site shows a dozen."""

from __future__ import annotations

import re
from pathlib import Path

SCRIPT = Path("_static", "scripts", "fontawesome.js")
_ICON = re.compile(
    r'(?:"([a-z0-9-]+)"|\b([a-z0-9]+)):\[\d+,\d+,\[([^\]]*)\],"[0-9a-f]*",'
    r'(?:"[^"]*"|\["[^"]*","[^"]*"\])\],?'
)
_USED = re.compile(r"\bfa-([a-z0-9-]+)")


def keep_used(site: Path) -> None:
    """Take out of the built site's icon script what no page and no other script names.

    A script of another form than the one known is left whole.
    """
    path = site / SCRIPT
    if not path.is_file():
        return
    files = [*site.rglob("*.html"), *(site / "_static").rglob("*.js")]
    used = {
        name
        for file in files
        if file != path and not file.name.endswith(".min.js")
        for name in _USED.findall(file.read_text(encoding="utf-8"))
    }

    def kept(icon: re.Match[str]) -> str:
        quoted, plain, others = icon.groups()  # an icon has one name, and may have others
        named = {quoted or plain, *re.findall(r'"([a-z0-9-]+)"', others)}
        return icon.group(0) if named & used else ""

    path.write_text(_ICON.sub(kept, path.read_text(encoding="utf-8")), encoding="utf-8")
