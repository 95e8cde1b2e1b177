# `make test` proves that it works, `make demo` shows it, `make repro` computes the committed results again.
# The plain commands behind each target stand in the README.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: test soak test-services setup unlock demo demo-ui repro ui result table compare experiments promote rollback history verify lock
.DEFAULT_GOAL := test

# Three processes suit two cores: some tests wait for servers and queues.
test: setup
	ruff check
	ruff format --check
	mypy
	python -m pytest --numprocesses 3 --dist loadscope

setup: .venv/installed

.venv/installed: requirements.lock requirements-cuda.lock
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("naevi needs Python 3.11 or newer; this is " + sys.version.split()[0] + ", so name another: make PYTHON=python3.12")'
	@echo "Installing into .venv: 6 to 7 GB with CUDA's libraries; the README says how to take the small CPU-only torch."
	$(PYTHON) -m venv .venv
	python -m pip install --quiet --require-hashes --requirement requirements.lock --requirement requirements-cuda.lock
	@touch $@

# The long forms of what stands in docs/reliability.md: hours.
soak: setup
	python -m pytest -m soak tests/faults
	python -m pytest --hypothesis-profile=soak -rP tests/faults/test_fuzz.py

# What docs/team.md says, with an MLflow server on PostgreSQL and an S3 server, on this machine alone.
test-services: .venv/services
	python -m pytest -rs tests/services

# Without dependencies, since all of them are in the two locks: so nothing that the results were made with is replaced,
# though botocore asks for an older python-dateutil than the lock's (it works with that one; these tests show it).
.venv/services: .venv/installed requirements-services.lock
	python -m pip install --quiet --no-deps --require-hashes --requirement requirements-services.lock
	@touch $@

# Of several workers MLflow kills those that are slow on a busy machine, with the page that they make; and its jobs are for
# language models. Both cost 2 of 2.5 GB.
UI := MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --workers 1 --backend-store-uri

demo: setup
	python -m naevi demo

demo-ui: setup
	@echo "Results, once it serves: http://127.0.0.1:5000/#/experiments/1/runs?searchFilter=tags.kind%3D%27result%27"
	cd .demo && $(UI) sqlite:///mlflow.db

# See `unlock` in naevi/commands.py.
unlock: setup
	python -m naevi unlock

repro: unlock
	@echo "From the archive to the report takes 20 to 30 minutes on 2 cores; what is up to date is skipped."
	dvc repro
	dvc repro --single-item --force track

ui: unlock
	dvc repro --single-item --force track
	@echo "Results, once it serves: http://127.0.0.1:5000/#/experiments/1/runs?searchFilter=tags.kind%3D%27result%27"
	$(UI) $${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}

# make result NAME=lesson-12-unet SET="-S model.architecture=unet-plain -S train.epochs=30"
result: setup
	python -m naevi result $(NAME) $(SET)

table: setup
	python -m naevi table

# make compare A=lesson-12-segnet B=default OUT=.cache/compare.html; A and B are workspace, default, a published result, a
# DVC experiment or a git revision.
compare: setup
	python -m naevi compare $(A) $(B) $(if $(OUT),--out $(OUT))

# make promote NAME=default; FORCE=1 promotes what is no better than the champion, and records that.
promote: setup
	python -m naevi promote $(NAME) $(if $(FORCE),--force)

rollback: setup
	python -m naevi rollback

# Of a hundred columns those that one compares: parameters that differ, Dice and IoU.
experiments: setup
	dvc exp show --only-changed --no-pager --precision 4 --drop \
	  '^(?!Experiment$$|(dice|iou)\.(mean|low|high)$$|val\.dice$$|(data|preprocess|split|model|train|evaluate|runtime|cv)\.)'

# make history COMMITS=50
history: setup
	python -m naevi history $(if $(COMMITS),--commits $(COMMITS))

# make verify COMMITS=50
verify: setup
	python -m naevi verify $(if $(COMMITS),--commits $(COMMITS))

# Needs uv; versions stay where they may, unless UPGRADE=--upgrade. CUDA's libraries have a lock of their own, so that a
# CPU-only torch needs none of them.
CUDA := ^(nvidia-|cuda-|triton=)
COMPILE = uv pip compile pyproject.toml --universal --python-version 3.11 --no-header --no-annotate --generate-hashes --quiet
lock:
	cat requirements.lock requirements-cuda.lock > all.lock
	$(COMPILE) --extra dev $(UPGRADE) --output-file all.lock
	{ echo "# The versions that the committed results were made with. Written by \`make lock\` from pyproject.toml."; \
	  awk '/^[^ ]/ {out = /$(CUDA)/} !out' all.lock; } > requirements.lock
	{ echo "# What torch needs on Linux for a GPU. Written by \`make lock\`."; \
	  awk '/^[^ ]/ {out = /$(CUDA)/} out' all.lock; } > requirements-cuda.lock
	cp requirements-services.lock services.lock
	$(COMPILE) --extra services $(UPGRADE) --override requirements.lock --output-file services.lock
	{ echo "# What \`make test-services\` needs beyond requirements.lock. Written by \`make lock\` from pyproject.toml."; \
	  awk 'NR == FNR {known[$$1]; next} /^[^ ]/ {out = !(/^#/ || $$1 in known || /$(CUDA)/)} out' \
	    requirements.lock services.lock; } > requirements-services.lock
	rm all.lock services.lock
