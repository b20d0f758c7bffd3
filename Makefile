# Two commands: `make run` sets everything up and runs the main job, `make test` sets everything up
# and passes the tests.
CONFIG ?= config/yeast.yaml
PROBLEM = $(shell sed -n "s/^problem: *[\"']*\([a-z0-9_]*\).*/\1/p" $(CONFIG))
RESULTS = results/$(PROBLEM)
SNAKEMAKE = .venv/bin/python -m snakemake

.PHONY: run setup test lint types dry-runs docs

run: .venv/.installed-cpu
	$(SNAKEMAKE) --configfile $(CONFIG)
	@test -e $(RESULTS)/report.html && \
		test -z "$$(find $(RESULTS)/report $(RESULTS)/leaderboard.parquet -newer $(RESULTS)/report.html)" || \
		$(SNAKEMAKE) --report $(RESULTS)/report.html --configfile $(CONFIG) --quiet all
	@$(SNAKEMAKE) show_leaderboard --configfile $(CONFIG) --quiet all

setup: .venv/.installed-cpu

test: .venv/.installed-test
	.venv/bin/python -m pytest

lint: .venv/.installed-test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/snakefmt --check Snakefile rules

types: .venv/.installed-test
	.venv/bin/mypy

# Every shipped config must give a plan.
dry-runs: .venv/.installed-test
	.venv/bin/python -m pytest tests/dag

# config/README.md and config/schema.json are generated from the config models.
docs: .venv/.installed-cpu
	cd scripts && ../.venv/bin/python -m blendmake.config_docs ../config

.venv/.installed-cpu: envs/cpu.txt envs/constraints.txt
	@envs/install.sh envs/cpu.txt
	@touch $@

.venv/.installed-test: envs/test.txt envs/cpu.txt envs/constraints.txt
	@envs/install.sh envs/test.txt
	@touch $@ .venv/.installed-cpu
