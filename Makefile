# Every target first makes the environment it needs; only Python 3.11+ and make must be there.
PYTHON ?= python3
VENV ?= .venv
VENV_TRAIN ?= .venv-train
BIN := $(VENV)/bin
# More arguments for pytest, e.g. PYTEST_ARGS="-n0 -k budget -x"
PYTEST_ARGS ?=
# Names of benchmarks to run, e.g. BENCH=startup; all of them when empty
BENCH ?=
# Arguments of the side-by-side with other routers, e.g. PEERS_ARGS="--only thinkroute"
PEERS_ARGS ?=
# Arguments of the advisor's trial, e.g. ADVISOR_ARGS=--json
ADVISOR_ARGS ?=
# Arguments of the benchmark of the server and of its soak
SERVE_ARGS ?=
SOAK_ARGS ?=
# What `make policies` asks, and whom
POLICIES_LIMIT ?= 1000
POLICIES_MODELS ?= pocket-xs-skills,pocket-s-skills
POLICIES_MORE ?= early-exit(every=8)/reasoning@max
# Where tests marked `train` lie; the others need libraries that `.venv-train` does not have
TRAIN_TESTS := tests/train tests/calibration/test_architecture.py
# The version that the CPU build of vLLM asks for too
TORCH_VERSION := 2.13.0
PACKAGES := policies calibration router advisor

READY := $(VENV)/.ready
READY_TRAIN := $(VENV_TRAIN)/.ready

# The wheel of pyright holds pyright itself; without this it would also ask whether a newer exists.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench bench-serve policies bench-router bench-lm-eval bench-peers bench-advisor study-page soak test-clients test-vllm test-train docs lock clean

help:  ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY)  ## Measure, fit, ask and recommend with a small model, on the CPU
	$(BIN)/advisor demo

test: $(READY)  ## Run the tests
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

check: $(READY)  ## Check format, lint, types, layers and the contents of the wheel
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -q -p no:randomly tests/packaging

format: $(READY)  ## Format the code and apply the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## Print the benchmarks (BENCH=name for one)
	$(BIN)/python -m benchmarks $(BENCH)

policies: $(READY)  ## Measure every policy on the pocket models, write docs/policies.md (about an hour)
	$(BIN)/advisor calibrate --policies "all,$(POLICIES_MORE)" --tasks pocket --limit $(POLICIES_LIMIT) \
		--model $(POLICIES_MODELS) --out runs/policies
	$(BIN)/python scripts/write_policies_page.py runs/policies

bench-router: $(READY)  ## Targets of the router beside simple and strong references (ROUTER_ARGS=set)
	$(BIN)/python -m benchmarks.router_targets $(ROUTER_ARGS)

bench-lm-eval: $(READY)  ## Beside lm-evaluation-harness on one vLLM server (4.5 GB)
	PYTHON="$(PYTHON)" bash scripts/make_venv_vllm.sh
	PYTHON="$(PYTHON)" bash scripts/make_venv_lm_eval.sh
	$(BIN)/python -m benchmarks lm_eval_side_by_side

bench-peers: $(READY)  ## Other routers on the same questions, each in its own environment (3 GB)
	PYTHON="$(PYTHON)" $(BIN)/python -m benchmarks.peers $(PEERS_ARGS)

bench-advisor: $(READY)  ## The advisor's advice where a study and a paper know the truth (ADVISOR_ARGS=--json)
	$(BIN)/python -m benchmarks.advisor_trial $(ADVISOR_ARGS)

bench-serve: $(READY)  ## The server beside litellm's proxy and a bare reverse proxy (SERVE_ARGS=--rounds 3)
	PYTHON="$(PYTHON)" bash scripts/make_venv_litellm_proxy.sh
	$(BIN)/python -m benchmarks.serving $(SERVE_ARGS)

soak: $(READY)  ## Ten minutes of 50 streams on a server whose upstream fails (SOAK_ARGS="--minutes 1")
	$(BIN)/python -m benchmarks.serving.soak $(SOAK_ARGS)

study-page: $(READY)  ## Write docs/study.md, its pictures and docs/trial.md from the shipped study
	$(BIN)/python scripts/write_study_page.py --trial

test-clients: $(READY)  ## Run the tests with clients that need environments of their own (1.5 GB)
	PYTHON="$(PYTHON)" bash scripts/make_venv_clients.sh
	$(BIN)/python -m pytest -m clients --timeout 600 $(PYTEST_ARGS)

test-vllm: $(READY)  ## Run the tests against a real vLLM server on the CPU (3.5 GB)
	PYTHON="$(PYTHON)" bash scripts/make_venv_vllm.sh
	$(BIN)/python -m pytest -m vllm --timeout 900 $(PYTEST_ARGS)

test-train: $(READY_TRAIN)  ## Run the tests that train models, ours and exported recipes (2 GB)
	$(VENV_TRAIN)/bin/python -m pytest -m train --timeout 1800 $(TRAIN_TESTS) $(PYTEST_ARGS)

docs: $(READY)  ## Write the documentation site to site/, check it, run what its pages show
	$(BIN)/python scripts/write_cli_reference.py
	$(BIN)/python scripts/write_policies_reference.py
	$(BIN)/python scripts/write_api_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	$(BIN)/python scripts/check_site.py site
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not network" tests/docs \
		--deselect tests/docs/test_study_page.py::test_the_committed_trial_is_what_the_script_writes $(PYTEST_ARGS)

lock: $(READY)  ## Resolve the newest versions into constraints.txt and constraints-train.txt
	$(BIN)/python scripts/write_constraints.py pocket,dev constraints.txt
	$(BIN)/python scripts/write_constraints.py train,recipes,test constraints-train.txt torch==$(TORCH_VERSION)

clean:  ## Remove environments, builds and caches
	rm -rf $(VENV) $(VENV_TRAIN) .venv-vllm .venv-lm-eval .venv-peers .venv-litellm .venv-clients* .venv-axolotl .venv-llamafactory build dist site htmlcov .coverage*
	rm -rf .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find $(wildcard $(PACKAGES) tests benchmarks scripts) -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp newer than the two files that decide what is inside.
$(READY): pyproject.toml constraints.txt
	$(call make_venv,$(VENV))
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[pocket,dev]"
	@touch $@

$(READY_TRAIN): pyproject.toml constraints-train.txt
	$(call make_venv,$(VENV_TRAIN))
	$(VENV_TRAIN)/bin/python -m pip install -q --disable-pip-version-check -c constraints-train.txt -e ".[train,recipes,test]"
	$(VENV_TRAIN)/bin/python scripts/fetch_recipe_wheels.py
	@touch $@

define make_venv
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "$(PYTHON) is not Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 2; }
@test -x $(1)/bin/python || { echo "making $(1) (a minute or two)" >&2; $(PYTHON) -m venv $(1); }
endef
