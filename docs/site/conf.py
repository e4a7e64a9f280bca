"""Sphinx settings of the course's site. Copied beside the generated pages by `utils.site`."""

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

project = "A course for mechanists"
author = "the authors of the course"
copyright = "the authors of the course. Text and figures: CC BY 4.0, code: MIT"
language = "en"
highlight_language = "none"  # a block without a language is text, not Python

extensions = ["myst_nb"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
nb_execution_mode = "off"  # the outputs are those of the tested notebooks
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 4
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header"]

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
templates_path = ["_templates"]
html_favicon = "_static/favicon.svg"
html_css_files = ["site.css"]
html_js_files = [("figures.js", {"defer": "defer"}), ("instruments.js", {"defer": "defer"})]
html_copy_source = False
html_use_index = False  # it would be empty: the reference is written as Markdown
html_show_sphinx = False
html_last_updated_fmt = None
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": [], "map": []},  # room for pictures
    "navbar_start": [],
    "navbar_center": [],
    "navbar_end": [],
    "navbar_persistent": [],  # the search stands in the sidebar
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"**": ["navbar-logo.html", "search-button-field.html", "sbt-sidebar-nav.html"]}
html_context = {"default_mode": "auto"}  # as the reader's system, until they choose
html_math_renderer = "mathml"


def _mathml(text, block):
    made = str(tex2mathml(text, as_block=block))
    # browsers leave no space before the name of a function: "m log d" would read "mlog d"
    thin = '<mspace width="0.17em"/>'
    return re.sub(r"<msub>\s*<mi>(?:log|ln)</mi>.*?</msub>", rf"{thin}\g<0>", made, flags=re.S)


def visit_math(self, node):
    self.body.append(_mathml(node.astext(), block=False))
    raise nodes.SkipNode


def visit_displaymath(self, node):
    self.body.append(f'<div class="formula">{_mathml(node.astext(), block=True)}</div>')
    raise nodes.SkipNode


def name_arrows(app, pagename, templatename, context, doctree):
    """The arrows that unfold parts of the sidebar get a name, for screen readers."""
    made = context.get("generate_toctree_html")
    if made is None:
        return

    def named(*arguments, **options):
        tree = made(*arguments, **options)
        for part in tree.select("li.has-children"):
            if part.summary and part.a:
                part.summary["aria-label"] = f"Pages below: {part.a.get_text(strip=True)}"
        return tree

    context["generate_toctree_html"] = named


def setup(app):
    """Formulas as MathML, which browsers draw by themselves: nothing is fetched for them."""
    app.connect("html-page-context", name_arrows, priority=900)  # after the theme's own
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
