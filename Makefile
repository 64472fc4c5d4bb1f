# AdaVid's commands. `make` alone prints them.
#   METHOD=arnet|uniform,arnet|all|package.module:Class  VARIANT=  DATA=sprites|folder:/path|csv:/path/file.csv  PROFILE=tiny|lite|paper
#   bench, curve: VARIANT, DATA and PROFILE may be lists, as METHOD and SEEDS are: VARIANT=,soft is none and soft
#   SEEDS=0,1,2  SPLIT=test|val  WANDB=off|offline|online  ARGS="section.key=value ..."
#   JOBS=1 (so many processes at a time)  RETRY=1 (what failed too)  PRINT=1 (the plan as command lines)  POINTS=1 (of a curve, each apart)
#   LAUNCHER=slurm  SLURM="timeout_min=600 gpus_per_node=1 ..."  TRIALS=8  DRY_RUN=1  SOURCE=file|url|device|-  FPS=1  K=0  RECORD=folder  BEFORE=commit
#   ROOT=folder (of the data set)  CACHE=folder (into which it was prepared)  SHORT=256  QUALITY=95  VIDEOS=8
#   FORMAT=latex (leaderboard: its tables for papers)
#   CHECKPOINT=file (weights that METHOD's authors have released: import, curve, latency, predict, online)

PYTHON ?= python3
VENV ?= .venv
METHOD ?= arnet
DATA ?= sprites
PROFILE ?= tiny
SEEDS ?= 0
JOBS ?= 1
SPLIT ?= test
WANDB ?= off
K ?= 0
RECORD ?= results/reference
TRIALS ?= 8
A ?= arnet

# glibc gives what a large tensor took back to the system at once, and gets it anew page by page: half of the time at 160 px.
export MALLOC_MMAP_MAX_ ?= 0
export MALLOC_TRIM_THRESHOLD_ ?= 17179869184

PY = $(VENV)/bin/python
ADAVID = $(VENV)/bin/adavid
# Where the data set lies, and where it was prepared: of the command line alone, as shells have variables of these names.
GIVEN_AS = $(if $(filter command,$(firstword $(origin $(1)))),'$(2)=$($(1))')
SETTINGS = $(call GIVEN_AS,ROOT,data.path) $(call GIVEN_AS,CACHE,data.prepared) $(ARGS)
OF = --method '$(METHOD)' --variant '$(VARIANT)' --data '$(DATA)' --profile '$(PROFILE)'
RUN = $(OF) --seeds '$(SEEDS)' $(SETTINGS)
MANY = --jobs '$(JOBS)' $(if $(RETRY),--retry) $(if $(LAUNCHER),--launcher '$(LAUNCHER)') $(if $(SLURM),--slurm '$(SLURM)')
IMPORTED = $(if $(CHECKPOINT),--checkpoint '$(CHECKPOINT)')
CODE = src methods datamodules benchmarks tests

# A variable that a command does not take is refused, not ignored: $(call takes,NAMES) stands first in its recipe.
OF_RUN = METHOD VARIANT DATA PROFILE SEEDS ROOT CACHE ARGS
OF_MANY = JOBS RETRY LAUNCHER SLURM
GIVEN = $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
REFUSED = $(filter-out $(1) PYTHON VENV,$(filter-out MAKE% -*,$(GIVEN)))
takes = $(if $(call REFUSED,$(1)),$(error make $@ does not take $(firstword $(call REFUSED,$(1)))$(if $(1),; it takes $(1))))

.PHONY: help env check-data prepare data-bench bench import tune curve latency predict export online room config flops compare papers leaderboard readme verify reference retrained both-codes contact-sheet pretrain docs list lint check format test clean
.DEFAULT_GOAL := help

help: ## print this
	@sed -n '1,/^$$/s/^# \{0,1\}//p' $(MAKEFILE_LIST)
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

env: $(VENV)/.done ## create the environment (.venv); every other command does it when needed

$(VENV)/.done: setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'AdaVid needs Python 3.11 or newer: make PYTHON=/path/to/python3.11'; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --progress-bar on --constraint constraints.txt --editable '.[dev,lite]'
	@touch $@

check-data: env ## whether the copy of DATA in ROOT=/path is whole: counts, and all that is missing, unreadable, doubled or in two splits
	$(call takes,DATA PROFILE ROOT ARGS)@$(ADAVID) check-data --data '$(DATA)' --profile '$(PROFILE)' $(call GIVEN_AS,ROOT,data.path) $(ARGS)

prepare: env ## decode DATA in ROOT once, into CACHE: JPEGs of QUALITY with a short side of SHORT pixels, FPS a second (every frame)
	$(call takes,DATA PROFILE ROOT CACHE SHORT QUALITY FPS JOBS ARGS)@$(ADAVID) prepare --data '$(DATA)' --profile '$(PROFILE)' --into '$(CACHE)' $(if $(SHORT),--short '$(SHORT)') $(if $(QUALITY),--quality '$(QUALITY)') $(if $(FPS),--fps '$(FPS)') $(if $(filter command,$(firstword $(origin JOBS))),--jobs '$(JOBS)') $(call GIVEN_AS,ROOT,data.path) $(ARGS)

data-bench: env ## time reading VIDEOS of DATA in ROOT, from files and prepared, beside a plain PyAV loop, torchcodec and OpenCV
	$(call takes,DATA PROFILE ROOT VIDEOS ARGS)@$(ADAVID) data-bench --data '$(DATA)' --profile '$(PROFILE)' $(if $(VIDEOS),--videos '$(VIDEOS)') $(call GIVEN_AS,ROOT,data.path) $(ARGS)

bench: env ## train METHOD, measure its mAP and its true GFLOPs, print the leaderboard so far (SPLIT=val: to choose by)
	$(call takes,$(OF_RUN) $(OF_MANY) PRINT SPLIT WANDB)@$(ADAVID) bench $(RUN) $(MANY) $(if $(PRINT),--print) --split '$(SPLIT)' --wandb '$(WANDB)'

import: env ## evaluate what METHOD's authors have released, CHECKPOINT=file, and record it as a run that was not trained here
	$(call takes,$(OF_RUN) CHECKPOINT WANDB)@$(ADAVID) import $(RUN) --checkpoint '$(CHECKPOINT)' --wandb '$(WANDB)'

tune: env ## try TRIALS settings of METHOD on the validation split, JOBS at once, and print the best; METHOD=all: of each
	$(call takes,$(filter-out SEEDS,$(OF_RUN)) $(OF_MANY) TRIALS)@$(ADAVID) tune $(OF) --trials '$(TRIALS)' $(MANY) $(SETTINGS)

curve: env ## evaluate METHOD at several operating points (AR-Net's Figure 3)
	$(call takes,$(OF_RUN) $(OF_MANY) PRINT POINTS WANDB CHECKPOINT)@$(ADAVID) curve $(RUN) $(IMPORTED) $(MANY) $(if $(PRINT),--print) $(if $(POINTS),--points-apart) --wandb '$(WANDB)'

latency: env ## time METHOD's evaluation end to end against baselines, on this machine (USAGE=name forces decisions)
	$(call takes,$(OF_RUN) USAGE CHECKPOINT)@$(ADAVID) latency $(RUN) $(IMPORTED) --usage '$(USAGE)'

predict: env ## watch SOURCE (- is a pipe) frame by frame, FPS a second, until K frames are seen closely; or classify it whole
	$(call takes,$(OF_RUN) SOURCE FPS K CHECKPOINT)@$(ADAVID) predict $(RUN) $(IMPORTED) --source '$(SOURCE)' $(if $(FPS),--fps '$(FPS)') --max-close '$(K)'

export: env ## METHOD as it was trained, in one file with a model card that adavid.load takes, in the folder INTO (results/exported)
	$(call takes,$(OF_RUN) CHECKPOINT INTO)@$(ADAVID) export $(RUN) $(IMPORTED) $(if $(INTO),--into '$(INTO)')

online: env ## METHOD's accuracy and cost along the videos, stopping early, beside uniform's (LiteEval's Figures 2 and 3)
	$(call takes,$(OF_RUN) CHECKPOINT)@$(ADAVID) online $(RUN) $(IMPORTED)

room: env ## the room that adaptivity has: oracles of frames and of resolution; METHOD=name: its regret (SPLIT=val: no record)
	$(call takes,$(OF_RUN) SPLIT)@$(ADAVID) room --data '$(DATA)' --profile '$(PROFILE)' --seeds '$(SEEDS)' --split '$(SPLIT)' --variant '$(VARIANT)' $(if $(filter command,$(firstword $(origin METHOD))),--method '$(METHOD)') $(SETTINGS)

config: env ## every setting of METHOD, and which file or word set it
	$(call takes,$(OF_RUN))@$(ADAVID) config $(RUN)

flops: env ## the cost table of the papers' networks beside the published one
	$(call takes)@$(ADAVID) flops

compare: env ## paired differences of A from B, or from all that a claim about A has to beat; SEEDS=0,1,2 chooses those of both
	$(call takes,A B DATA PROFILE SEEDS)@$(ADAVID) compare '$(A)' $(if $(B),'$(B)') --data '$(DATA)' --profile '$(PROFILE)' $(if $(filter command,$(firstword $(origin SEEDS))),--seeds '$(SEEDS)')

papers: env ## every table and figure of the papers beside what is measured here: prints and writes results/papers.md
	$(call takes)@$(ADAVID) papers

leaderboard: env ## regenerate results/leaderboard.{csv,md,html,png,svg} from the result files; FORMAT=latex: leaderboard.tex too
	$(call takes,FORMAT)@$(ADAVID) leaderboard $(if $(FORMAT),--format '$(FORMAT)')

readme: env ## regenerate the tables of README.md and docs/ from the committed records
	$(call takes)@$(ADAVID) readme

verify: env ## score the records in RECORD=folder anew from their predictions, recompute their hashes
	$(call takes,RECORD)@$(ADAVID) verify '$(RECORD)'

reference: env ## make the committed records that are not there yet (METHOD=a,b: of these; DRY_RUN=1: print the plan; all: about ten hours on two cores)
	$(call takes,METHOD DATA PROFILE ROOT CACHE ARGS $(OF_MANY) PRINT DRY_RUN)@$(ADAVID) reference --data '$(DATA)' --profile '$(PROFILE)' $(MANY) $(if $(PRINT),--print) $(if $(filter command,$(firstword $(origin METHOD))),--method '$(METHOD)') $(if $(DRY_RUN),--dry-run) $(SETTINGS)

retrained: env ## compare the committed records that were made anew with those at BEFORE=commit (HEAD) or folder, and keep what differs
	$(call takes,BEFORE)@$(ADAVID) retrained $(if $(BEFORE),'$(BEFORE)')

both-codes: env ## train briefly with the code of the committed records and with today's (METHOD=a,b: of these), and keep how they compare
	$(call takes,METHOD DATA PROFILE ROOT CACHE ARGS)@$(ADAVID) both-codes --data '$(DATA)' --profile '$(PROFILE)' $(if $(filter command,$(firstword $(origin METHOD))),--method '$(METHOD)') $(SETTINGS)

contact-sheet: env ## draw docs/sprites.png: what makes a video of the embedded data set easy or hard
	$(call takes)@$(PY) -c "from pathlib import Path; from datamodules.sprites_drawing import contact_sheet; contact_sheet(Path('docs/sprites.png'))"

pretrain: env ## make the weights that profile tiny starts from anew (docs/sprites.md; about an hour)
	$(call takes)@$(PY) -m benchmarks.pretrain

docs: env ## regenerate the tables of docs/configuration.md
	$(call takes)@$(PY) -c "from benchmarks.keys import write_keys; write_keys()"

list: env ## methods, variants and data sets
	$(call takes)@$(ADAVID) list

lint: env ## format, lint and types, without tests
	$(VENV)/bin/ruff format --check $(CODE)
	$(VENV)/bin/ruff check $(CODE)
	$(VENV)/bin/mypy

check: lint ## lint, then the fast tests
	$(PY) -m pytest -m 'not slow' --dist loadfile

format: env ## format the code
	$(VENV)/bin/ruff format $(CODE)
	$(VENV)/bin/ruff check --fix $(CODE)

test: env ## all tests
	$(PY) -m pytest --dist worksteal

clean: ## remove caches; results and the environment stay
	rm -rf cache .mypy_cache .pytest_cache .ruff_cache
