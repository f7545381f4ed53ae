"""The entry point of `koco` and `python -m koco`; it loads as little as possible."""

import gc
import sys


def main() -> int:
    """Run the command line; return its exit code."""
    # Answered before typer costs 40 ms, because scripts and prompts ask for it all the time.
    if sys.argv[1:] in (["--version"], ["-V"], ["version"]):
        from koco import __version__

        try:
            print(f"koco {__version__}", flush=True)
            return 0
        except OSError:
            pass  # the code below fails in the same way, and reports it
    if sys.argv[1:2] == ["__complete"]:
        from koco.cli.tab import answer

        return answer.run(sys.argv[2:])
    try:
        from koco.cli.main import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:  # before `run` could handle it
        return 130
    finally:
        # Otherwise the interpreter would search all imported objects for cycles before it ends:
        # 15 ms of every command, to free memory that ends with the process anyway.
        gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
