# make train | make test | make check : each sets up .venv by itself, from an empty folder.
# Needs Python 3.11 or newer and a package index, nothing else.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# RadEval's requirements are at odds with this project's.
RADEVAL := .venv-radeval

# A file of tests stays in one process: what its tests share is made once, and those of several processes (ddp, fsdp),
# which are one file, never run beside each other. Integration tests, the long ones, come first.
WORKERS ?= 2
PYTEST  := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# vLLM pins a torch of its own.
VLLM := .venv-vllm

# An environment of its own, with what stock processors ask for and ours do without.
FAMILIES := .venv-families

# uv reads its own variable for extra package folders, pip's is honoured too.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)

# Where bytecode is not kept (PYTHONDONTWRITEBYTECODE), every process compiles thousands of modules of torch, transformers
# and sympy anew. What runs here from .venv keeps it.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup train test test-fast check docs hooks families radeval vllm-test format arithmetic-base tiny-base bench constraints clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## create .venv with the pinned versions

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "orapo needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet 'uv>=0.9,<0.12' || echo "uv could not be installed: going on with pip, which is slower"
	@if [ -x $(BIN)/uv ]; then \
		$(BIN)/uv pip install --python $(BIN)/python -c constraints.txt -e '.[dev]'; \
	else \
		$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'; \
	fi
	@touch $@

train: $(STAMP)  ## train the embedded default on this machine (ARGS="+experiment=smoke" for less)
	$(BIN)/python train.py $(ARGS)

test: $(STAMP)  ## run every test, on two cores (WORKERS=n for n)
	$(PYTEST) $(ARGS)

test-fast: $(STAMP)  ## run the tests that take seconds
	$(PYTEST) -m "not slow" --hypothesis-profile=fast $(ARGS)

check: $(STAMP)  ## lint, types, layers, no clinical content
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/clinical_guard

docs: $(STAMP)  ## build docs/ as a site into site/, offline; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html; with search: $(BIN)/python -m http.server -d site"

hooks: $(STAMP)  ## make git refuse clinical text and images before every commit
	$(BIN)/python tools/clinical_guard --install

families: $(STAMP)  ## compare our processors with the stock ones, which need torchvision and num2words
	$(PYTHON) -m venv $(FAMILIES)
	$(BIN)/uv pip install --python $(FAMILIES)/bin/python -c constraints.txt -e . torchvision num2words pytest pytest-timeout hypothesis
	$(FAMILIES)/bin/python -m pytest -p tests.torchvision_operators tests/unit/policy/test_architectures.py -k stock_processor

format: $(STAMP)  ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

radeval: $(STAMP)  ## make .venv-radeval (1.6 GB) for tools/metric_server.py with RadEval, and for its tests
	$(PYTHON) -m venv --clear $(RADEVAL)
	$(BIN)/uv pip install --python $(RADEVAL)/bin/python 'radeval>=2.2,<3' $(shell grep '^torch==' constraints.txt)

arithmetic-base: $(STAMP)  ## rebuild the base policy of +experiment=arithmetic from nothing
	$(BIN)/python tiny_base/arithmetic.py $(ARGS)

$(VLLM)/.installed: tools/vllm_environment.py | $(STAMP)
	$(BIN)/python tools/vllm_environment.py $(VLLM) $(BIN)/uv
	@touch $@

vllm-test: $(STAMP) $(VLLM)/.installed  ## hold a real vLLM on this CPU (3.2 GB) to what rollout=vllm relies on
	$(BIN)/python -m pytest -p tests.real_vllm tests/unit/policy/vllm/test_contract.py --timeout 1800 $(ARGS)

tiny-base: $(STAMP)  ## rebuild the embedded base policy from nothing
	$(BIN)/python tiny_base/build.py $(ARGS)

constraints: $(STAMP)  ## resolve the newest versions that pyproject.toml admits into constraints.txt
	@printf '# Versions that were tested together; `make setup` installs exactly these. Remake with `make constraints`.\n' > constraints.new
	$(BIN)/uv pip compile pyproject.toml --extra dev --python-version 3.11 -q --no-annotate --no-header \
		| grep -vE '^(nvidia|cuda|triton|torch==|-e )' | sed -E 's/ *;.*//' | sort -u >> constraints.new
	@$(BIN)/python -c 'import torch; print("torch==" + torch.__version__.split("+")[0])' >> constraints.new
	@mv constraints.new constraints.txt

clean:  ## remove environments and caches, keep logs and sweeps
	rm -rf $(VENV) $(RADEVAL) $(VLLM) $(FAMILIES) .mypy_cache .pytest_cache .ruff_cache
