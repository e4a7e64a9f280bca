"""How a reader comes from a lesson's page to the lesson: download, Binder, Colab.

The download is the site's own. Binder and Colab take notebooks from a public copy of the course on
GitHub, so that their links are shown only where somebody says which copy that is.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from urllib.parse import quote

from utils.errors import CourseError

VARIABLE = "COURSE_REPOSITORY"
BRANCH = "main"
COLAB_LIST = "docs/colab.txt"  # what Colab has to install
_WRITTEN = re.compile(r"(?P<name>[\w-]+/[\w.-]+)(?:@(?P<branch>[\w./-]+))?")


@dataclass(frozen=True)
class Repository:
    """A public copy of the course on GitHub: `owner/name`, and a branch or tag of it."""

    name: str
    branch: str = BRANCH

    @classmethod
    def of(cls, text: str) -> Repository:
        """From `owner/name` or `owner/name@branch`. Raises CourseError for anything else."""
        found = _WRITTEN.fullmatch(text.strip())
        if not found:
            raise CourseError(
                f"{text!r} names no repository: write owner/name of a public copy on GitHub, or"
                " owner/name@branch."
            )
        return cls(found["name"], found["branch"] or BRANCH)

    def binder(self, notebook: str) -> str:
        """The address that opens `notebook` (a path in the course) in JupyterLab on Binder."""
        at = f"https://mybinder.org/v2/gh/{self.name}/{quote(self.branch, safe='')}"
        return f"{at}?labpath={quote(notebook, safe='')}"

    def colab(self, notebook: str) -> str:
        """The address that opens `notebook` in Google Colab."""
        at = f"https://colab.research.google.com/github/{self.name}/blob/{quote(self.branch)}"
        return f"{at}/{quote(notebook)}"

    def colab_line(self) -> str:
        """The line that a Colab notebook must run first."""
        branch = "" if self.branch == BRANCH else f"--branch {self.branch} "
        return (
            f"!git clone --depth 1 {branch}https://github.com/{self.name} course"
            f" && pip install -q -r course/{COLAB_LIST} ./course"
        )


def ways(notebook: str, repository: Repository | None) -> str:
    """The ways to open `notebook` ("notebooks/06_....ipynb"), as an HTML list."""
    file = notebook.rpartition("/")[2]
    items = [
        f'<a class="download" href="../_static/notebooks/{file}" download>Download the notebook</a>'
        f" into <code>notebooks/</code> of the course. Set-up, once and in the course's folder:"
        f" {_line('python -m pip install -r requirements.txt')} Then open it:"
        f" {_line(f'python -m jupyter lab {notebook}')}"
    ]
    if repository is not None:
        items += [
            f'<a class="binder" href="{html.escape(repository.binder(notebook))}">Open in'
            " Binder</a>: nothing to set up, some minutes to wait. What you write there is gone"
            " when you leave, so download your notebook first.",
            f'<a class="colab" href="{html.escape(repository.colab(notebook))}">Open in Colab</a>.'
            " Put this line into a cell above the first one and run it; it takes a few minutes:"
            f" {_line(repository.colab_line())}",
        ]
    return '<ul class="ways">' + "".join(f"<li>{one}</li>" for one in items) + "</ul>"


def _line(text: str) -> str:
    return f'<code class="line">{html.escape(text, quote=False)}</code>'
