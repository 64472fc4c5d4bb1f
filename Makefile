# AdaVid's commands. `make` alone prints them.
#   METHOD=arnet|all|package.module:Class  VARIANT=  DATA=sprites|folder:/path|csv:/path/file.csv  PROFILE=tiny|paper
#   SEEDS=0,1,2  SPLIT=test|val  WANDB=off|offline|online  ARGS="section.key=value ..."

PYTHON ?= python3
VENV ?= .venv
METHOD ?= arnet
DATA ?= sprites
PROFILE ?= tiny
SEEDS ?= 0
SPLIT ?= test
WANDB ?= off
A ?= arnet
B ?= uniform

PY = $(VENV)/bin/python
RUN = --method '$(METHOD)' --variant '$(VARIANT)' --data '$(DATA)' --profile '$(PROFILE)' --seeds '$(SEEDS)' --wandb '$(WANDB)' $(ARGS)
CODE = src methods datamodules benchmarks tests

.PHONY: help env bench curve latency flops compare leaderboard reference contact-sheet list check format test clean
.DEFAULT_GOAL := help

help: ## print this
	@sed -n '1,/^$$/s/^# \{0,1\}//p' $(MAKEFILE_LIST)
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

env: $(VENV)/.done ## create the environment (.venv); every other command does it when needed

$(VENV)/.done: setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'AdaVid needs Python 3.11 or newer: make PYTHON=/path/to/python3.11'; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --progress-bar on --constraint constraints.txt --editable '.[dev]'
	@touch $@

bench: env ## train METHOD, measure its mAP and its true GFLOPs, print the leaderboard so far (SPLIT=val: to choose by)
	@$(PY) -m benchmarks bench $(RUN) --split '$(SPLIT)'

curve: env ## evaluate METHOD at several operating points (AR-Net's Figure 3)
	@$(PY) -m benchmarks curve $(RUN)

latency: env ## time METHOD's evaluation end to end against uniform's, on this machine (USAGE=name forces decisions)
	@$(PY) -m benchmarks latency $(RUN) --usage '$(USAGE)'

flops: env ## the cost table of the papers' networks beside the published one
	@$(PY) -m benchmarks flops

compare: env ## paired difference of A and B on the same videos, with its 95 % interval
	@$(PY) -m benchmarks compare '$(A)' '$(B)' --data '$(DATA)' --profile '$(PROFILE)'

leaderboard: env ## regenerate results/leaderboard.{csv,md,html,png} from the result files
	@$(PY) -m benchmarks leaderboard

reference: env ## regenerate the committed records: every method and curve on sprites, three seeds (one to two hours on two cores)
	@ADAVID_RECORDS=reference $(PY) -m benchmarks bench --method all --seeds 0,1,2
	@ADAVID_RECORDS=reference $(PY) -m benchmarks curve --method arnet --seeds 0,1,2
	@ADAVID_RECORDS=reference $(PY) -m benchmarks curve --method uniform --seeds 0,1,2

contact-sheet: env ## draw docs/sprites.png: what makes a video of the embedded data set easy or hard
	@$(PY) -c "from pathlib import Path; from datamodules.sprites_drawing import contact_sheet; contact_sheet(Path('docs/sprites.png'))"

list: env ## methods, variants and data sets
	@$(PY) -m benchmarks list

check: env ## format, lint, types, fast tests
	$(VENV)/bin/ruff format --check $(CODE)
	$(VENV)/bin/ruff check $(CODE)
	$(VENV)/bin/mypy
	$(PY) -m pytest -m 'not slow'

format: env ## format the code
	$(VENV)/bin/ruff format $(CODE)
	$(VENV)/bin/ruff check --fix $(CODE)

test: env ## all tests
	$(PY) -m pytest

clean: ## remove caches; results and the environment stay
	rm -rf cache .mypy_cache .pytest_cache .ruff_cache
