# `make test` tests everything, `make demo` shows the pipeline on synthetic images, `make repro` computes the committed
# results again. docs/commands.md lists all targets, docs/install.md the same commands without make.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: test check lint unit soak soak-sequences test-services setup unlock demo demo-ui repro ui review publish \
  update-readme compare experiments promote rollback history verify lock
.DEFAULT_GOAL := test

# Three processes suit two cores because some tests wait for servers and queues.
PYTEST := python -m pytest --numprocesses 3 --dist loadscope

test: lint
	$(PYTEST)

# For every commit: less than a minute. Both parts run at the same time.
check: setup
	@$(MAKE) --no-print-directory --jobs 2 $(if $(filter output-sync,$(.FEATURES)),--output-sync) lint unit

lint: setup
	ruff check
	ruff format --check
	mypy
	lint-imports --no-logo

unit: setup
	$(PYTEST) -m "not slow and not every_encoder and not soak"

# The package is installed in editable mode, so the command `naevi` runs the code in this folder.
setup: .venv/package

.venv/package: .venv/installed pyproject.toml
	python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# TORCH=cpu installs the CPU build of torch, without CUDA's libraries. The file .venv/cpu records this choice.
TORCH ?= $(if $(wildcard .venv/cpu),cpu)
VERSIONS = $(shell sed -nE 's/^(torch|torchvision)==([^ ]+).*/\1==\2/p' requirements.lock)
ifeq ($(TORCH),cpu)
LOCKS := --requirement requirements.lock
else
LOCKS := --requirement requirements.lock --requirement requirements-cuda.lock
endif

.venv/installed: requirements.lock requirements-cuda.lock
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("naevi needs Python 3.11 or newer, but this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12")'
	@echo "Installing into .venv. With CUDA's libraries it takes 6 to 7 GB. For the smaller CPU build: make setup TORCH=cpu"
	$(PYTHON) -m venv .venv
ifeq ($(TORCH),cpu)
	python -m pip install --quiet $(VERSIONS) --index-url https://download.pytorch.org/whl/cpu
	@touch .venv/cpu
endif
	python -m pip install --quiet --require-hashes $(LOCKS)
	@touch $@

# The long versions of the tests in docs/reliability.md. make soak PART=3/8 runs an eighth of the kills, full disks and
# damaged inputs in less than 40 minutes and appends a row to docs/soak.csv. Without PART, it runs all other long tests.
soak: setup
	$(if $(PART),python -m tests.faults.soak $(PART),python -m pytest -m soak tests/faults)

# Random sequences of everyday steps, one for each seed. Without SEEDS there are 20. Five take less than 40 minutes:
# make soak-sequences SEEDS="0 1 2 3 4"
soak-sequences: setup
	SEEDS="$(SEEDS)" python -m pytest -m soak -rA tests/faults/test_sequences.py

# Tests docs/team.md with an MLflow server on PostgreSQL and an S3 server. Both run on this machine.
test-services: .venv/services
	python -m pytest -rs tests/services

# --no-deps, because the two locks list all dependencies. Otherwise pip would replace the python-dateutil behind the
# committed results: botocore asks for an older one, but works with this one, as these tests show.
.venv/services: .venv/package requirements-services.lock
	python -m pip install --quiet --no-deps --require-hashes --requirement requirements-services.lock
	@touch $@

# One worker and no job execution save 2 of 2.5 GB of memory. With several workers, MLflow also kills slow ones on a busy
# machine, and their pages fail. Jobs are only for language models.
# make ui PORT=5001; by default the first free port from 5000 on
UI := naevi ui

demo: setup
	naevi demo

demo-ui: setup
	cd .demo && $(UI) $(if $(PORT),--port $(PORT))

# A killed DVC process can leave corrupt lock files. This removes them.
unlock: setup
	naevi unlock

# make repro JOBS=2 trains two models at the same time.
repro: unlock
	@echo "From the archive to the report: 20 to 30 minutes on 2 cores. Stages that are up to date are skipped."
	$(if $(JOBS),naevi repro --jobs $(JOBS),dvc repro)
	dvc repro --single-item --force track

# Not through DVC, which would add error messages of its own. MLflow opens even if the result can't be recorded.
ui: unlock
	@python -m stages.track || echo "MLflow shows only what was recorded before."
	$(UI) $(if $(PORT),--port $(PORT))

# For a look at the masks before training, suspicious ones first. It runs the stages up to preprocess.
review: unlock
	dvc repro preprocess
	@echo "Open reports/review.html in a browser."
	@python -m webbrowser "file://$(CURDIR)/reports/review.html" > /dev/null || true

# make publish NAME=lesson-12-unet SET="-S model.architecture=unet-plain -S train.epochs=30"
publish: setup
	naevi publish $(NAME) $(SET)

update-readme: setup
	naevi update-readme

# make compare A=lesson-12-segnet B=default OUT=.cache/compare.html; FORCE=1 overwrites OUT
# A and B: workspace, default, the name of a published result or DVC experiment, or a git revision.
compare: setup
	naevi compare $(A) $(B) $(if $(OUT),--out $(OUT)) $(if $(FORCE),--force)

# make promote NAME=default
# FORCE=1 promotes a model that is not better than the champion. MLflow records that it was forced.
promote: setup
	naevi promote $(NAME) $(if $(FORCE),--force)

rollback: setup
	naevi rollback

# Shows Dice, IoU and the parameters that differ, because the full table has a hundred columns.
# make experiments SORT=val.dice COMMITS=5; by default only experiments of the last commit
experiments: setup
	COLUMNS=$${COLUMNS:-160} dvc exp show --only-changed --no-pager --precision 4 $(if $(COMMITS),--num $(COMMITS)) \
	  $(if $(SORT),--sort-by $(SORT) --sort-order desc) --drop \
	  '^(?!Experiment$$|(dice|iou)\.mean$$|val\.dice$$|failed$$|(data|preprocess|split|model|train|evaluate|runtime|cv)\.)'

# make history COMMITS=50
history: setup
	naevi history $(if $(COMMITS),--commits $(COMMITS))

# make verify COMMITS=50 DATA=1
# DATA=1 also hashes every file that dvc.lock names, here and in DVC's cache.
verify: setup
	naevi verify $(if $(COMMITS),--commits $(COMMITS)) $(if $(DATA),--data)

# Needs uv. Locked versions stay if pyproject.toml allows them. UPGRADE=--upgrade takes the newest ones.
# CUDA's libraries have their own lock, because a CPU-only torch needs none of them.
CUDA := ^(nvidia-|cuda-|triton=)
COMPILE = uv pip compile pyproject.toml --universal --python-version 3.11 --no-header --no-annotate --generate-hashes --quiet
lock:
	cat requirements.lock requirements-cuda.lock > all.lock
	$(COMPILE) --extra dev --extra gpu $(UPGRADE) --output-file all.lock
	{ echo "# The versions behind the committed results. Written by \`make lock\` from pyproject.toml."; \
	  awk '/^[^ ]/ {out = /$(CUDA)/} !out' all.lock; } > requirements.lock
	{ echo "# What torch needs on Linux for a GPU. Written by \`make lock\` from pyproject.toml."; \
	  awk '/^[^ ]/ {out = /$(CUDA)/} out' all.lock; } > requirements-cuda.lock
	cp requirements-services.lock services.lock
	$(COMPILE) --extra services $(UPGRADE) --override requirements.lock --output-file services.lock
	{ echo "# What \`make test-services\` needs beyond requirements.lock. Written by \`make lock\` from pyproject.toml."; \
	  awk 'NR == FNR {known[$$1]; next} /^[^ ]/ {out = !(/^#/ || $$1 in known || /$(CUDA)/)} out' \
	    requirements.lock services.lock; } > requirements-services.lock
	rm all.lock services.lock
