# `make demo` shows koco at work, `make test` proves it. Both set up what they need.
PYTHON_IN_VENV := .venv/bin/python
PYTEST := $(PYTHON_IN_VENV) -m pytest
ON_RAY := tests/integration tests/e2e
# Where the database matters most: these run a second time, with the store in PostgreSQL.
ON_POSTGRES := $(addprefix tests/integration/test_,durable_storm.py kill.py approvals.py stream.py)

# Run tests: PATHS, OPTIONS. On a machine that others use as well, anything can take longer than a
# test may wait. So tests that failed run once more, with the machine to themselves; their first
# failure stays in the output. A test that fails then has failed.
define tests
	$(PYTEST) $(2) $(1) || { test $$? -eq 1 && echo "== what failed, once more and alone ==" && \
		$(PYTEST) --last-failed --last-failed-no-failures none $(1); }
endef

# Hundreds of tests start a Python: each would compile koco anew where nothing compiled is kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo check test bench clean

help:  ## Show this list.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup:  ## Make .venv with koco and its tools.
	@sh .ci/venv

demo: setup  ## A local cluster, a flow scaffolded, deployed, run and followed; then all of it down.
	@sh examples/demo.sh

# A process that runs unit tests uses 40 % of a core: six at a time suit two cores. Each
# worker takes whole files from a neighbour, so few set-ups of a file are repeated. One that hangs
# is given up early, because it may hold what the others of its process need.
check: setup  ## Lint, format, types, layers, unit tests: about four minutes.
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(call tests,tests/unit,-n 6 --dist worksteal --timeout 60)

# Two files at a time: each has a Ray of its own, and waits for processes most of the time.
test: check  ## Everything: the checks, then tests on a real Ray, then the command line itself.
	$(call tests,$(ON_RAY),-n 2 --dist loadfile --no-loadscope-reorder)
	export KOCO_STORE=postgresql KOCO_KILLS=30; $(call tests,$(ON_POSTGRES),-n 2 --dist loadfile)

bench: setup  ## Measure koco against its bars; results go to tests/bench/results/.
	$(PYTHON_IN_VENV) -m tests.bench

clean:  ## Remove what setup and the tools made.
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
