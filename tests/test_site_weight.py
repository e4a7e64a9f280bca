"""What a page makes a browser fetch: no more icons and no more of Plotly than it shows."""

from __future__ import annotations

import json
import re
from importlib import metadata, util
from pathlib import Path

from utils.site import icons

ROOT = Path(__file__).resolve().parents[1]
PLOTLY = ROOT / "docs" / "site" / "static" / "plotly.min.js"
DRAWN = {"scatter", "heatmap"}  # of what Plotly's cartesian bundle can do


def test_plotlys_script_is_of_the_version_that_makes_the_figures():
    """Else: npm pack plotly.js-cartesian-dist-min@VERSION, and put its file there."""
    (place,) = util.find_spec("plotly").submodule_search_locations
    whole = Path(place, "package_data", "plotly.min.js").read_text(encoding="utf-8")
    said = re.compile(r"plotly\.js (?:\(cartesian - minified\) )?v([\d.]+)")
    ours = PLOTLY.read_text(encoding="utf-8")
    assert said.search(ours).group(1) == said.search(whole[:2000]).group(1), metadata.version(
        "plotly"
    )
    assert "MIT license" in ours[:300] and len(ours) < len(whole) / 3


def test_the_lessons_draw_only_what_that_script_can():
    kinds = set()
    for path in sorted((ROOT / "solutions").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                figure = output.get("data", {}).get("application/vnd.plotly.v1+json", {})
                kinds |= {trace.get("type", "scatter") for trace in figure.get("data", [])}
    assert kinds == DRAWN


def test_only_icons_that_a_page_names_are_kept(tmp_path):
    script = tmp_path / icons.SCRIPT
    script.parent.mkdir(parents=True)
    script.write_text(
        'var a={sun:[512,512,[9728],"f185","M1"],"magnifying-glass":[512,512,[128269,"search"],'
        '"f002","M2"],bars:[448,512,["navicon"],"f0c9",["M3","M4"]],moon:[1,2,[],"f1","M5"]};go(a)'
    )
    (tmp_path / "index.html").write_text('<i class="fa-solid fa-sun"></i><i class="fa-search">')
    (script.parent / "theme.js").write_text('icon("fa-bars")')
    icons.keep_used(tmp_path)
    left = script.read_text()
    assert left.startswith("var a={sun:") and left.endswith("};go(a)")
    assert "M2" in left and "M4" in left and "M5" not in left


def test_a_script_of_another_form_is_left_whole(tmp_path):
    icons.keep_used(tmp_path)  # none at all
    script = tmp_path / icons.SCRIPT
    script.parent.mkdir(parents=True)
    script.write_text("const icons = new Map([['sun', 'M1']])")
    icons.keep_used(tmp_path)
    assert script.read_text() == "const icons = new Map([['sun', 'M1']])"


def test_the_built_site_is_light_and_has_its_icons(built_site):
    script = built_site.folder / icons.SCRIPT
    assert script.stat().st_size < 200_000
    text = script.read_text(encoding="utf-8")
    for name in ("magnifying-glass", "sun", "moon", "circle-half-stroke", "bars", "list", "xmark"):
        assert re.search(rf'[{{,]"?{name}"?:\[\d', text), name
