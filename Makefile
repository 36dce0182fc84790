# The same few commands for people and CI. Each makes the virtual environment it needs on first use.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed-dev

# the demo has one of its own, so that it shows what a user gets, and scikit-learn stays out of the other
DEMO_VENV  ?= .venv-demo
DEMO_STAMP := $(DEMO_VENV)/.installed-demo

PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --editable

.PHONY: help demo test soak soak-tests bench bench-peers bench-shipping bench-view bench-profile bench-report fuzz screenshots check check-page venv clean
help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: $(DEMO_STAMP)  ## train, log, ship, lose the receiver on the way, compare
	@$(DEMO_VENV)/bin/python demo/run.py
$(DEMO_STAMP): setup.py
	@echo "installing into $(DEMO_VENV)/ (once, about a minute)"
	@$(PYTHON) -m venv $(DEMO_VENV)
	@$(DEMO_VENV)/bin/python $(PIP_INSTALL) '.[demo]'
	@touch $@

test: venv  ## all tests
	$(BIN)/python -m pytest -n 2

# SEED= repeats a plan of faults; what a failed soak leaves is in build/soak/
MINUTES ?= 10
soak: venv  ## 20 trainers, 4 agents, a receiver and a fault every few seconds, for MINUTES=10; numbers in build/bench/
	$(BIN)/python -m soak $(MINUTES) $(if $(SEED),--seed $(SEED))

soak-tests: venv  ## the tests that `make test` leaves out: about an hour, 5 GB of disk and of memory
	$(BIN)/python -m pytest -m soak -v

bench: venv  ## what client, reader, receiver, shipping, an idle agent and the page's server cost; numbers in build/bench/
	$(BIN)/python -m bench.client
	$(BIN)/python -m bench.reader
	$(BIN)/python -m bench.receiver
	$(BIN)/python -m bench.receiver_http
	$(BIN)/python -m bench.shipping
	$(BIN)/python -m bench.idle
	$(BIN)/python -m bench.view

bench-peers: venv  ## a logged call beside W&B, TensorBoardX, MLflow, Aim, trackio and DVCLive, installed under build/: about 7 minutes, 2 GB of disk
	$(BIN)/python -m bench.tracking

bench-shipping: venv  ## shipping beside rsync, rclone and curl, as far as they are installed
	$(BIN)/python -m bench.shipping --peers

screenshots: venv  ## each view of the page as a picture in build/screenshots/; needs chromium
	$(BIN)/python demo/screenshots.py

bench-view: venv  ## the page beside TensorBoard, which is installed under build/: about 15 minutes, 1 GB of disk
	$(BIN)/python -m bench.view_page

bench-profile: venv  ## where the time goes in log(), in what is shipped and what is applied; numbers in build/bench/
	@$(BIN)/python -c 'import importlib.metadata as m; m.version("py-spy")' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'py-spy>=0.4'
	$(BIN)/python -m bench.profiles

bench-report: venv  ## write docs/BENCHMARKS.md and its plots anew, from docs/benchmarks/ and what is newer in build/bench/
	$(BIN)/python -m bench.report

# for so many seconds; what it finds is kept in build/fuzz/
FUZZ_SECONDS ?= 300
fuzz: venv  ## fuzz what decodes requests, for FUZZ_SECONDS=300
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'atheris>=2.3'
	$(BIN)/python -m fuzz.wire $(FUZZ_SECONDS)

check: venv  ## ruff, mypy strict on the packages, and the page's modules by TypeScript
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/typed && $(BIN)/python setup.py --quiet build_py --build-lib build/typed
	cd build/typed && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../.mypy_cache -p ml_logger
	@$(MAKE) --no-print-directory check-page

# the compiler only reads the page's modules: what the browser gets is their source
TSC := build/typescript/node_modules/.bin/tsc
check-page:  ## the types of the page's modules; without npm it says so, with CI set it fails
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(TSC) && $(TSC) -p ml_logger/view/jsconfig.json; \
	else echo "npm is not installed: the page's modules are not checked" >&2; test -z "$$CI"; fi
$(TSC):
	@npm install --silent --no-fund --no-audit --prefix build/typescript typescript@5.9.3

venv: $(STAMP)  ## make the virtual environment for developing
$(STAMP): setup.py
	@echo "installing into $(VENV)/ (once, about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP_INSTALL) '.[dev]'
	@touch $@

clean:  ## remove what these commands made
	rm -rf $(VENV) $(DEMO_VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
