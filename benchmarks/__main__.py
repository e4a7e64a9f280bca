"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import importlib
import json
import sys

from benchmarks import NAMES, machine


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark, or list the names. Returns the exit code: 2 for an unknown name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", help="which benchmark; none: list them")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="fewer runs; done within 50 s")
    options = parser.parse_args(arguments)
    if options.name is None:
        for name in NAMES:
            about = importlib.import_module(f"benchmarks.{name}").__doc__ or ""
            print(f"{name}  {about.splitlines()[0]}")
        return 0
    if options.name not in NAMES:
        print(f"No benchmark {options.name!r}; there is {', '.join(NAMES)}.", file=sys.stderr)
        return 2
    module = importlib.import_module(f"benchmarks.{options.name}")
    rows = module.rows(quick=options.quick)
    where = machine()
    if options.json:
        print(json.dumps({"machine": where, "rows": rows}))
        return 0
    if hasattr(module, "table"):
        print(module.table(rows))
        print("; ".join(f"{key} {value}" for key, value in where.items()))
        return 0
    width = max(len(row["what"]) for row in rows)
    print(f"{'what':<{width}}  {'ours':>9}  {'peer':>9}  {'ratio':>6}  max |difference|")
    for row in rows:
        ours, peer = (f"{row[side]:.4f} {row['unit']}" for side in ("ours", "peer"))
        ratio = f"{row['ratio']:.1f}x"
        print(
            f"{row['what']:<{width}}  {ours:>9}  {peer:>9}  {ratio:>6}  {row['max_abs_diff']:.1e}"
        )
    print("; ".join(f"{key} {value}" for key, value in where.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
