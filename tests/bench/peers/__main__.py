"""`python -m tests.bench.peers`: the same work through each peer, and one table."""

import argparse
import datetime as dt
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.peers import measures, products, table, venvs
from tests.bench.peers.figures import Figures
from tests.bench.peers.peer import Peer
from tests.bench.report import write


def main() -> int:
    """Return 0, or 1 if a figure that a peer should have could not be measured."""
    # Asked to end, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    known = products.every()
    options = _parser(known).parse_args()
    begin, load = time.perf_counter(), os.getloadavg()[0]
    found: list[Figures] = []
    try:
        for name in options.only or known:
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            _one(known[name], options, found)
    finally:
        # Also if it was interrupted: what has been measured is not thrown away.
        if found:
            _tell(found, options, took_s=time.perf_counter() - begin, load=load)
    return int(any(figures.failed for figures in found))


def _one(kind: type[Peer], options: argparse.Namespace, found: list[Figures]) -> None:
    """Measure one peer in a temporary folder; its figures are added at once."""
    figures = Figures(
        name=kind.name, title=kind.title, setup=kind.setup, notes=kind.notes, lacks=kind.lacks
    )
    found.append(figures)
    begin = time.perf_counter()
    root = Path(tempfile.mkdtemp(prefix="kp-"))  # a short path: Ray's sockets stand in it
    try:
        if reason := kind.missing():
            figures.failed["peer"] = reason
            return
        python = venvs.python_of(options.venvs, kind.venv, kind.requirements)
        figures.versions = venvs.versions(python, kind.packages)
        begin = time.perf_counter()
        peer = kind(root, python)
        try:
            measures.measure(peer, figures, measures.QUICK if options.quick else measures.Times())
        finally:
            peer.stop()
    finally:
        figures.took_s = round(time.perf_counter() - begin, 1)
        if options.keep:
            print(f"{kind.name}: {root}", file=sys.stderr)
        else:
            shutil.rmtree(root, ignore_errors=True)


def _tell(found: list[Figures], options: argparse.Namespace, *, took_s: float, load: float) -> None:
    """Print the table; write the JSON if asked."""
    machine = _machine(load)
    print(table.markdown(found) if options.markdown else table.plain(found))
    versions = {name: v for figures in found for name, v in figures.versions.items()}
    told = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    print(
        f"\n{machine['when'][:10]}, {machine['cores']} cores, Python {machine['python']}, "
        f"load average {machine['load_before']:.1f} before and {machine['load_after']:.1f} after, "
        f"{took_s:.0f} s. {told}.",
        flush=True,
    )
    if options.json:
        peers = [figures.as_json() for figures in found]
        write(options.json, {**machine, "took_s": round(took_s, 1), "peers": peers})
        print(options.json, file=sys.stderr)


def _machine(load: float) -> dict[str, Any]:
    return {
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": load,
        "load_after": os.getloadavg()[0],
    }


def _parser(known: dict[str, type[Peer]]) -> argparse.ArgumentParser:
    def names(text: str) -> list[str]:
        chosen = [name for name in text.split(",") if name]
        if unknown := [name for name in chosen if name not in known]:
            raise argparse.ArgumentTypeError(
                f"there is no peer {unknown[0]!r}; there are {', '.join(known)}"
            )
        return chosen

    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    add = parser.add_argument
    add("--only", type=names, metavar="NAME,…", help=f"of: {', '.join(known)}")
    add("--venvs", type=Path, default=venvs.default_folder(), help="where the venvs are kept")
    add("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    add("--markdown", action="store_true", help="print the table as Markdown")
    add("--quick", action="store_true", help="fewer samples, for a first look")
    add("--keep", action="store_true", help="keep the temporary folders, with every log")
    return parser


if __name__ == "__main__":
    sys.exit(main())
