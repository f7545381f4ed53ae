"""`koco`, and `python -m koco`: the way in, which loads as little as it can."""

import gc
import sys


def main() -> int:
    """Run the command line; return its exit code."""
    # Scripts and prompts ask for it all the time: it is answered before typer costs 40 ms.
    if sys.argv[1:] in (["--version"], ["-V"], ["version"]):
        from koco import __version__

        try:
            print(f"koco {__version__}", flush=True)
            return 0
        except OSError:
            pass  # the same happens again below, where it is told
    try:
        from koco.cli.main import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:  # before `run` could take care of it
        return 130
    finally:
        # Else the interpreter, before it ends, looks through all that was imported for
        # cycles: 15 ms of every command, to free what ends with the process anyway.
        gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
