"""The reference of `utils`, read from its source: signatures and docstrings, nothing imported."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

# the command line and the site describe themselves with --help; the checks would spoil exercises
LEFT_OUT = ("utils.lessons.checks", "utils.site", "utils.__main__")
_NAME = r"[A-Za-z_]\w*(?: \[[^\]\n]*\])?"
# `name: ` or `name, other [shape]: ` where a line or a sentence begins
_ARGUMENT = re.compile(rf"(?:^|(?<=\. ))({_NAME}(?:, {_NAME})*):\s", re.MULTILINE)
_OUTCOME = re.compile(r"(?:^|(?<=\. ))(?=(?:Raises|Returns)\s)", re.MULTILINE)


@dataclass(frozen=True)
class Module:
    """A module's name, first words, and the Markdown of what it offers (may be empty)."""

    name: str
    summary: str
    text: str


def reference(root: Path) -> dict[str, list[Module]]:
    """Part of the package ("sites", "probing", ...) -> its modules that offer something."""
    parts: dict[str, list[Module]] = {}
    package = root / "utils"
    for path in sorted(package.rglob("*.py")):
        names = ["utils", *path.relative_to(package).with_suffix("").parts]
        if names[-1] == "__init__":
            names.pop()
        name = ".".join(names)
        private = any(one.startswith("_") or one == "cli" for one in names)
        if private or len(names) == 1 or any(_within(name, one) for one in LEFT_OUT):
            continue
        module = module_of(name, path.read_text(encoding="utf-8"))
        if module.text or module.summary:
            parts.setdefault(names[1], []).append(module)
    return parts


def pages(root: Path) -> dict[str, str]:
    """The pages of the reference by file name, `index.md` first."""
    parts = reference(root)
    made = {}
    rows = []
    for part, modules in parts.items():
        first = modules[0].summary.split("\n\n")[0].replace("\n", " ")
        rows.append(f"| [`utils.{part}`]({part}.md) | {first.replace('|', chr(92) + '|')} |")
        body = [f"# `utils.{part}`"]
        for module in modules:
            if module.name != f"utils.{part}":
                body.append(f"## `{module.name}`")
            body += [one for one in (module.summary, module.text) if one]
        made[f"{part}.md"] = "\n\n".join(body) + "\n"
    toc = "\n".join(parts)
    head = (
        "# The package\n\nEverything a lesson uses can be used without it. Shapes stand in square "
        "brackets, batch first; a mistake of yours raises a `CourseError` that says what to do.\n"
    )
    index = "\n".join([head, "| part | what it is |", "|---|---|", *rows])
    index += f"\n\n```{{toctree}}\n:hidden:\n:maxdepth: 1\n\n{toc}\n```\n"
    return {"index.md": index, **made}


def module_of(name: str, source: str) -> Module:
    """What the module `name` offers, from its source."""
    tree = ast.parse(source)
    level = 3
    parts = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and _offered(node):
            parts.append(_entry(node, level, node.name))
            if isinstance(node, ast.ClassDef):
                parts += [
                    _entry(one, level + 1, f"{node.name}.{one.name}")
                    for one in node.body
                    if isinstance(one, ast.FunctionDef) and _offered(one)
                ]
    return Module(name, prose(ast.get_docstring(tree) or ""), "\n\n".join(parts))


def prose(docstring: str, arguments: Collection[str] = ()) -> str:
    """A docstring as Markdown: paragraphs, `name: what it is` as a list, drawings as they are.

    arguments: names whose descriptions may begin in the middle of a line; others begin one.
    """
    blocks = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(docstring)):
        lines = block.split("\n")
        if all(line.startswith("    ") for line in lines) or ">>>" in block:
            blocks.append(f"```text\n{textwrap.dedent(block)}\n```")
        elif all(line.startswith(("- ", "  ")) for line in lines):
            items = re.split(r"\n- ", block.removeprefix("- "))
            blocks.append("\n".join(f"- {_plain(item)}" for item in items))
        elif block.strip():
            blocks += _described(block, arguments)
    return "\n\n".join(blocks)


def _described(block: str, arguments: Collection[str]) -> list[str]:
    """A paragraph, the arguments that it describes as a list, and what is raised or returned."""
    matches = list(_ARGUMENT.finditer(block))

    def known(match: re.Match[str]) -> bool:
        return {name for name, _ in _names(match)} <= set(arguments)

    def opens(match: re.Match[str]) -> bool:  # a field that a class inherits, say
        at_line = match.start() == 0 or block[match.start() - 1] == "\n"
        return at_line and match.group(1)[0].islower() and "[" not in match.group(1)

    listed = bool(matches) and matches[0].start() == 0 and (known(matches[0]) or opens(matches[0]))
    found = [match for match in matches if known(match) or (listed and opens(match))]
    if not found:
        return ["\n".join(_escaped(line.strip()) for line in block.split("\n"))]
    before, items, after = block[: found[0].start()], [], []
    ends = [match.start() for match in found[1:]] + [len(block)]
    for match, end in zip(found, ends, strict=True):
        told, *more = _OUTCOME.split(block[match.end() : end], maxsplit=1)
        names = ", ".join(f"`{name}`{_escaped(shape)}" for name, shape in _names(match))
        items.append(f"- {names}: {_plain(told)}")
        after += more
    return [one for one in (_plain(before), "\n".join(items), _plain(" ".join(after))) if one]


def _names(match: re.Match[str]) -> list[tuple[str, str]]:
    """The names before a colon, each with its shape, if it has one."""
    return re.findall(r"(\w+)((?: \[[^\]]*\])?)(?:, |$)", match.group(1))


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def _offered(node: ast.FunctionDef | ast.ClassDef) -> bool:
    return not node.name.startswith("_") and bool(ast.get_docstring(node))


def _entry(node: ast.FunctionDef | ast.ClassDef, level: int, name: str) -> str:
    return (
        f"{'#' * level} `{name}`\n\n```python\n{signature(node, name)}\n```\n\n"
        f"{prose(ast.get_docstring(node) or '', _arguments(node))}"
    )


def _arguments(node: ast.FunctionDef | ast.ClassDef) -> set[str]:
    """What a function takes; the fields of a class, or what its `__init__` takes."""
    if isinstance(node, ast.FunctionDef):
        return {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)}
    found = {one.target.id for one in node.body
             if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)}  # fmt: skip
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and one.name == "__init__":
            found |= _arguments(one)
    return found


def signature(node: ast.FunctionDef | ast.ClassDef, name: str) -> str:
    """How it is called; of a class its `__init__`, or its fields where it is a dataclass."""
    if isinstance(node, ast.FunctionDef):
        if any(ast.unparse(one).endswith("property") for one in node.decorator_list):
            returns = f": {ast.unparse(node.returns)}" if node.returns else ""
            return f"{name}{returns}"
        return _call(name, node.args, node.returns)
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and one.name == "__init__":
            return f"class {_call(name, one.args, None)}"
    fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
    bases = ", ".join(ast.unparse(one) for one in node.bases)
    head = f"class {name}" + (f"({bases})" if bases else "")
    inner = [f"    {ast.unparse(one)}" for one in fields if not ast.unparse(one).startswith("_")]
    return "\n".join([head + ":", *inner]) if inner else head


def _call(name: str, arguments: ast.arguments, returns: ast.expr | None) -> str:
    given = ast.unparse(arguments)
    given = re.sub(r"^(self|cls)(, )?", "", given)
    after = f" -> {ast.unparse(returns)}" if returns else ""
    line = f"{name}({given}){after}"
    if len(line) <= 88:
        return line
    parts = _split(given)
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){after}"


def _split(arguments: str) -> list[str]:
    """Split at the commas that stand outside brackets and quotes."""
    parts, depth, quoted, start = [], 0, "", 0
    for at, letter in enumerate(arguments):
        if quoted:
            quoted = "" if letter == quoted else quoted
        elif letter in "'\"":
            quoted = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(arguments[start:at].strip())
            start = at + 1
    return [*parts, arguments[start:].strip()]


def _plain(text: str) -> str:
    """Lines as one line of Markdown."""
    return _escaped(" ".join(text.split()))


def _escaped(text: str) -> str:
    """Text as Markdown that means just this text; code in backticks and *emphasis* stay."""
    plain = re.sub(
        r"(`[^`]+`|(?<![\w*])\*[A-Za-z][\w ',-]*\*(?![\w*]))|([\\*_<>\[\]$|{}~])",
        lambda match: match.group(1) or "\\" + match.group(2),
        text,
    )
    return re.sub(r"^(#|[-+]\s)", r"\\\1", plain)
