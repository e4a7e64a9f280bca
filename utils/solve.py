"""`python -m utils solve NAME`: the reference walks, one function each."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

from utils.console import Data, Json, make_folder, print_json, steps
from utils.errors import CourseError

KNOWN = (
    "cnn", "pairs", "brackets", "modular", "sequence", "facts", "manners", "trojan", "anomaly",
    "filter", "text",
)  # fmt: skip
WITH_PICTURES = {
    "facts": "utils.challenges.facts",
    "manners": "utils.challenges.manners",
    "trojan": "utils.trojans.walk",
    "anomaly": "utils.anomaly.walk",
    "filter": "utils.safety_filter.walk",
}


def solve(
    name: Annotated[str, typer.Argument(help=f"Which: {', '.join(KNOWN[:-1])} or {KNOWN[-1]}.")],
    original: Annotated[
        bool, typer.Option("--original", help="The published network (cnn, pairs); needs --data.")
    ] = False,
    data: Data = None,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for pictures (brackets, facts, manners, trojan, anomaly, filter)."
        ),
    ] = Path("solved"),
    model: Annotated[
        str | None, typer.Option(help="Folder or hub name of a pretrained model (text).")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of the hub cache (text).")] = None,
    layer: Annotated[int | None, typer.Option(min=0, help="Which layer to read (text).")] = None,
    as_json: Json = False,
) -> None:
    """The reference walk through a challenge, from the network to a verdict with its evidence."""
    if name not in KNOWN:
        raise CourseError(
            f"There is no challenge {name!r} to solve; there are: {', '.join(sorted(KNOWN))}."
        )
    if name not in ("cnn", "pairs") and (original or data is not None):
        raise CourseError(
            "--original and --data belong to `solve cnn` and `solve pairs`: leave them out."
        )
    if name != "text" and (model or cache or layer is not None):
        raise CourseError("--model, --cache and --layer belong to `solve text`: leave them out.")
    if data is not None and not original:
        raise CourseError("--data is only used together with --original: add that, or leave both.")
    if original:
        from utils.data import mnist

        mnist.data_folder(data)  # a missing folder is told at once, before anything is loaded
    if name == "cnn":
        _solve_cnn(data, original, as_json)
    elif name == "pairs":
        _solve_pairs(data, original, as_json)
    elif name == "brackets":
        _solve_brackets(out, as_json)
    elif name in WITH_PICTURES:
        _solve_with_pictures(name, out, as_json)
    elif name == "text":
        _solve_text(model, cache, layer, as_json)
    else:
        _solve_controlled(name, as_json)


def _solve_cnn(data: str | None, original: bool, as_json: bool) -> None:
    with steps(as_json) as step:
        step("loading PyTorch and TransformerLens")
        import torch

        from utils.challenges import cnn
        from utils.challenges import original as published

        torch.set_num_threads(1)
        case = published.original_case(data, step) if original else cnn.held_out_case(progress=step)
        solution = cnn.solve(case, step)
        rows = published.compare(case, solution.reports) if original else []
        literal, code = published.erratum(case) if original else (0.0, 0.0)
    if as_json:
        result = solution.as_dict()
        if original:
            result["published"] = [vars(row) for row in rows]
            result["erratum"] = {"formula_as_printed": literal, "formula_as_run": code}
        print_json(result)
        return
    for report in solution.reports.values():
        print(report, end="\n\n")
    if original:
        print("Published figures and ours")
        for row in rows:
            print(f"  {row.what:<58}  {row.published:>10.6g}  {row.ours:>10.6g}")
        print(
            f"  The formula as printed in the write-up agrees with the network for {literal:.2%} of"
            f" images;\n  the code behind it, with twice the template, for {code:.4%}.\n"
        )
    _print_verdict(solution)
    print("\nNow find it yourself: python -m jupyter lab notebooks/00_start_here.ipynb")


def _solve_text(model: str | None, cache: Path | None, layer: int | None, as_json: bool) -> None:
    if model is None:
        raise CourseError(
            "`solve text` reads a pretrained model that is on this machine: add --model with its"
            " folder, or its name in a hub cache."
        )
    with steps(as_json) as step:
        step("loading PyTorch and TransformerLens")
        import torch

        from utils.challenges import text

        torch.set_num_threads(1)
        case = text.case(model, cache, layer)
        found = text.reports(case, step)
    if as_json:
        print_json(text.as_dict(model, case, found))
        return
    for report in found.values():
        print(report, end="\n\n")
    print("No verdict: nobody planted the truth here. Read each result beside its nulls.")


def _solve_pairs(data: str | None, original: bool, as_json: bool) -> None:
    found, rows = {}, []
    with steps(as_json) as step:
        step("loading PyTorch and TransformerLens")
        import torch

        from utils.challenges import original_pairs as published
        from utils.challenges import pairs, pairs_inside

        torch.set_num_threads(1)
        case = published.original_case(data) if original else pairs.course_case()
        if original:
            step("looking for the split in the errors")
            found["split"], rows = published.split_report(case), published.compare(case)
            found["exact"] = published.exact_report(case)
            replica = published.replica_case(case, step)
            found["replica"] = published.replica_report(case, replica)
            found["replica's gaps"] = pairs.gap_report(replica)
            found["inside the replica"] = pairs_inside.inside_report(replica)
        solution = pairs.solve(case, progress=step)
    if as_json:
        result = solution.as_dict()
        if original:
            result["published"] = [vars(row) for row in rows]
            for key, report in found.items():
                result["rows"][key] = {row.name: row.estimate.as_dict() for row in report}
        print_json(result)
        return
    for report in (*found.values(), *solution.reports.values()):
        print(report, end="\n\n")
    if original:
        print("Published figures and ours")
        for row in rows:
            print(f"  {row.what:<66}  {row.published:>9.6g}  {row.ours:>9.6g}")
        print()
    _print_verdict(solution)
    print("\nNow find it yourself: python -m jupyter lab notebooks/03_challenge_transformer.ipynb")


def _solve_brackets(out: Path, as_json: bool) -> None:
    make_folder(out)
    with steps(as_json) as step:
        step("loading PyTorch and TransformerLens")
        import torch

        from utils.challenges import brackets
        from utils.models import zoo
        from utils.scrubbing import save_html, save_png, text_tree

        torch.set_num_threads(1)
        solution = brackets.solve(zoo.load("brackets"), step)
        best = solution.scrubbed["both ends, refined"]
        page, picture = out / "brackets.html", out / "brackets.png"
        step("drawing the hypothesis")
        save_html(best.hypothesis, str(page), best)
        save_png(best.hypothesis, str(picture), best)
    if as_json:
        print_json({**solution.as_dict(), "files": [str(page), str(picture)]})
        return
    print(solution.agreement, end="\n\n")
    print(text_tree(best.hypothesis), end="\n\n")
    for report in solution.scrubbed.values():
        print(report, end="\n\n")
    print(solution.necessity, end="\n\n")
    _print_verdict(solution)
    print(f"\nThe tree was written to {page} and {picture}.")


def _solve_controlled(name: str, as_json: bool) -> None:
    """A walk of a mechanism, its verdict and its controls: modular and sequence."""
    with steps(as_json) as step:
        step("loading PyTorch and TransformerLens")
        import torch

        torch.set_num_threads(1)
        solution = importlib.import_module(f"utils.challenges.{name}").solve(step)
    if as_json:
        print_json(solution.as_dict())
        return
    print(solution.mechanism, end="\n\n")
    print(solution.verdict)
    for what, control in solution.controls.items():
        _print_verdict(control, f"\nControl: {what}. ")


def _solve_with_pictures(name: str, out: Path, as_json: bool) -> None:
    """A walk whose module has `solve(step)`; what that gives has texts, pictures and JSON."""
    make_folder(out)
    with steps(as_json) as step:
        step("loading PyTorch and TransformerLens")
        import torch

        torch.set_num_threads(1)
        found = importlib.import_module(WITH_PICTURES[name]).solve(step)
        step("drawing")
        files = [str(path) for path in found.draw(out)]
    if as_json:
        print_json({**found.as_dict(), "files": files})
        return
    for text in found.texts():
        print(text, end="\n\n")
    if hasattr(found, "verdict"):
        _print_verdict(found)
    print(f"\nPictures: {', '.join(files)}.")


def _print_verdict(judged: Any, before: str = "") -> None:
    """The verdict and its reasons; `judged` has both."""
    print(f"{before}VERDICT: {judged.verdict}")
    for reason in judged.reasons:
        print(f"  - {reason}")
