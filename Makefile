# AdaVid's commands. `make` alone prints them.
#   METHOD=arnet|all|package.module:Class  VARIANT=  DATA=sprites|folder:/path|csv:/path/file.csv  PROFILE=tiny|paper
#   SEEDS=0,1,2  SPLIT=test|val  WANDB=off|offline|online  ARGS="section.key=value ..."
#   SOURCE=file|url|device|-  FPS=1  K=0

PYTHON ?= python3
VENV ?= .venv
METHOD ?= arnet
DATA ?= sprites
PROFILE ?= tiny
SEEDS ?= 0
SPLIT ?= test
WANDB ?= off
FPS ?= 1
K ?= 0
A ?= arnet
B ?= uniform

PY = $(VENV)/bin/python
RUN = --method '$(METHOD)' --variant '$(VARIANT)' --data '$(DATA)' --profile '$(PROFILE)' --seeds '$(SEEDS)' --wandb '$(WANDB)' $(ARGS)
CODE = src methods datamodules benchmarks tests

.PHONY: help env bench curve latency predict online flops compare leaderboard reference contact-sheet list check format test clean
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

predict: env ## watch SOURCE (- is a pipe) frame by frame, FPS a second; end it after K frames seen closely
	@$(PY) -m benchmarks predict $(RUN) --source '$(SOURCE)' --fps '$(FPS)' --max-close '$(K)'

online: env ## METHOD's accuracy and cost along the videos, stopping early, beside uniform's (LiteEval's Figures 2 and 3)
	@$(PY) -m benchmarks online $(RUN)

flops: env ## the cost table of the papers' networks beside the published one
	@$(PY) -m benchmarks flops

compare: env ## paired difference of A and B on the same videos, with its 95 % interval
	@$(PY) -m benchmarks compare '$(A)' '$(B)' --data '$(DATA)' --profile '$(PROFILE)'

leaderboard: env ## regenerate results/leaderboard.{csv,md,html,png} from the result files
	@$(PY) -m benchmarks leaderboard

BENCH = ADAVID_RECORDS=reference $(PY) -m benchmarks bench
reference: env ## regenerate the committed records (about four hours on two cores)
	@$(BENCH) --method all --seeds 0,1,2
	@for method in uniform tsn arnet liteeval sofnet adafocus; do \
		ADAVID_RECORDS=reference $(PY) -m benchmarks curve --method $$method --seeds 0,1,2 || exit; done
	@ADAVID_RECORDS=reference $(PY) -m benchmarks online --method liteeval --seeds 0,1,2
	@for variant in no_sync scarce scarce_no_sync; do \
		$(BENCH) --method liteeval --variant $$variant --seeds 0,1,2 || exit; done
	@for variant in no_early_termination no_temporal no_guidance; do \
		$(BENCH) --method sofnet --variant $$variant --seeds 0,1,2 || exit; done
	@for variant in gru sru gamma_01 gamma_03 gamma_10 reinforce; do \
		$(BENCH) --method liteeval --variant $$variant || exit; done
	@$(BENCH) --method sofnet --variant policy_only
	@$(BENCH) --method lstm --variant last

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
