"""`python -m tests.bench`: measure, show, write, and end what was started."""

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from tests.bench import measures, report
from tests.bench.measures import Bench, idle
from tests.bench.report import Row

_RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Return 0, or 1 where a measure failed or, with `--check`, where a bar is missed."""
    # Asked to end, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    known = measures.every()
    options = _parser(list(known)).parse_args()
    bench = Bench(quick=options.quick, full=options.full)
    begin, load = time.perf_counter(), os.getloadavg()[0]
    rows: list[Row] = []
    failed = False
    try:
        for name in known:
            if not options.only or name in options.only:
                failed |= not _measure(name, known[name](bench), rows)
        if bench.was_used and not options.only:
            rows.extend(idle.after(bench))
    finally:
        bench.close()
        # Also where it was interrupted: what has been measured is not thrown away.
        _tell(rows, options.json, seconds=time.perf_counter() - begin, load=load)
    missed = [row for row in rows if row.reaches_bar is False]
    return int(failed or (options.check and bool(missed)))


def _tell(rows: list[Row], path: Path, *, seconds: float, load: float) -> None:
    """Print the table and write the JSON."""
    after = os.getloadavg()[0]
    print(report.table(rows))
    print(f"\n{seconds:.0f} s on {os.cpu_count()} cores, load {load:.1f} → {after:.1f}", flush=True)
    report.write(path, report.document(rows, seconds=seconds, load=(load, after)))
    print(path, file=sys.stderr)


def _measure(name: str, found: Iterator[Row], rows: list[Row]) -> bool:
    """Add a measure's rows; one that fails is told of, and the others go on."""
    print(f"measuring {name} …", file=sys.stderr, flush=True)
    try:
        rows.extend(found)
    except Exception:  # noqa: BLE001 - one measure that fails must not cost the others
        traceback.print_exc()
        return False
    return True


def _parser(names: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    stamp = time.strftime("%Y-%m-%dT%H%M%S")
    add = parser.add_argument
    add("--json", type=Path, default=_RESULTS / f"{stamp}.json", help="where to write the JSON")
    add("--only", nargs="+", choices=names, metavar="NAME", help=f"of: {', '.join(names)}")
    add("--quick", action="store_true", help="fewer samples, for a first look")
    add("--full", action="store_true", help="also what takes minutes: a million executions")
    add("--check", action="store_true", help="exit 1 where a bar is missed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
