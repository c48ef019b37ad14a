# Every target stands alone: it makes .venv, installs from the lock what it needs, and goes.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := PYTHON=$(PYTHON) deployments/install.sh
MANIFEST := pyproject.toml requirements.lock deployments/install.sh

.PHONY: demo up up-ecs down test prove soak check bench format lock
.DEFAULT_GOAL := test

.venv/.lab: $(MANIFEST)
	@$(INSTALL) lab && touch $@
.venv/.ecs: $(MANIFEST)
	@$(INSTALL) lab,aws,postgres && touch $@ .venv/.lab
.venv/.dev: $(MANIFEST)
	@$(INSTALL) lab,aws,postgres,dev && touch $@ .venv/.ecs .venv/.lab
.venv/.bench: $(MANIFEST)
	@$(INSTALL) lab,aws,postgres,dev,bench && touch $@ .venv/.dev .venv/.ecs .venv/.lab

demo: .venv/.lab         ## measure, judge, price, decide, move traffic, prove it; then stop what was started
	@$(BIN)/pointsman demo
up: .venv/.lab           ## Prefect server, worker and lab, left running for a person to browse
	@$(BIN)/pointsman up
up-ecs: .venv/.ecs       ## the same with PostgreSQL, S3 and an ECS whose tasks run flows; needs PostgreSQL's server
	@$(BIN)/pointsman up --ecs
down: .venv/.lab         ## end what `up` started, and only that
	@$(BIN)/pointsman down

check: .venv/.dev        ## style, types, arrows between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
# What Python keeps compiled spares each worker the rewriting of 400 modules, and each process of a test as much.
test: check              ## the quick tier: every push
	$(BIN)/coverage erase
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist loadgroup --cov --cov-report=term
prove: .venv/.dev        ## the exhaustive and statistical tier
	$(BIN)/python -m pytest -m prove --timeout 3600
soak: .venv/.dev         ## half an hour of everything with faults
	$(BIN)/python -m pytest -m soak --timeout 7200
bench: .venv/.bench      ## measurements against peers and limits; each prints a table
	@for file in perf/*.py; do $(BIN)/python $$file || failed=1; done; exit $${failed:-0}
format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
lock:                    ## needs uv; for Python 3.11 to 3.13, without addresses
	uv pip compile --universal --python-version 3.11 --all-extras --strip-extras --no-emit-index-url \
	  --no-emit-find-links --no-annotate --no-header --quiet pyproject.toml -o requirements.lock
