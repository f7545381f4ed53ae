"""A Ray job's entry point, `ray_entrypoint.py NUMBER SECONDS`: it does not connect to Ray."""

import sys

from trivial_work import work

if __name__ == "__main__":
    print(work(int(sys.argv[1]), float(sys.argv[2])))
