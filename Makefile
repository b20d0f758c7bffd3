# Two commands: `make run` sets everything up and runs the main job, `make test` sets everything up
# and passes the tests.
CONFIG ?= config/yeast.yaml
PROBLEM = $(shell sed -n "s/^problem: *[\"']*\([a-z0-9_]*\).*/\1/p" "$(CONFIG)" 2>/dev/null)
RESULTS = results/$(PROBLEM)
SNAKEMAKE = .venv/bin/python -m snakemake
SIDE_BY_SIDE = -n logical --maxprocesses 8 --dist worksteal

# What the sources of CONFIG need beside the core.
NEEDS = $(if $(shell grep -sE "family: *(mlp|tabm)|^preset:" "$(CONFIG)"),.venv/.installed-neural) \
	$(if $(shell grep -sE "family: *lightautoml" "$(CONFIG)"),.venv-lightautoml/.installed)

.PHONY: run setup neural cluster lightautoml test test-services bench bench-quick lint types dry-runs docs

run: .venv/.installed-cpu $(NEEDS)
	$(SNAKEMAKE) --configfile "$(CONFIG)"
	@test -e $(RESULTS)/report.html && \
		test -z "$$(find $(RESULTS)/report $(RESULTS)/leaderboard.parquet -newer $(RESULTS)/report.html)" || \
		$(SNAKEMAKE) --report $(RESULTS)/report.html --configfile "$(CONFIG)" --quiet all
	@$(SNAKEMAKE) show_leaderboard --configfile "$(CONFIG)" --quiet all

setup: .venv/.installed-cpu

# For sources of the families mlp and tabm.
neural: .venv/.installed-neural

# For clusters and buckets: Snakemake's plugins.
cluster: .venv/.installed-cluster

# For sources of the family lightautoml, which wants an environment of its own.
lightautoml: .venv-lightautoml/.installed

test: .venv/.installed-test
	.venv/bin/python -m pytest $(SIDE_BY_SIDE)

# On a Slurm, a PostgreSQL and an object store of the tests' own, installed first where that can be done.
test-services: .venv/.installed-services
	@envs/services.sh
	.venv/bin/python -m pytest tests/services -n 3 --dist worksteal

# All benchmarks, into docs/benchmarks.md; and that they run at all, on little data.
bench: .venv/.installed-test .venv-autogluon/.installed .venv-lightautoml/.installed
	.venv/bin/python tests/bench/run.py

bench-quick: .venv/.installed-test
	.venv/bin/python tests/bench/run.py --quick

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

.venv/.installed-neural: envs/neural.txt .venv/.installed-cpu
	@envs/install.sh envs/neural.txt
	@touch $@

.venv-lightautoml/.installed: envs/lightautoml.sh envs/lightautoml.txt
	@envs/lightautoml.sh
	@touch $@

# What a preset is measured against.
.venv-autogluon/.installed: envs/autogluon.txt
	@$(or $(PYTHON),python3) -m venv --clear .venv-autogluon
	@.venv-autogluon/bin/python -m pip install --quiet --disable-pip-version-check -r envs/autogluon.txt
	@touch $@

.venv/.installed-test: envs/test.txt envs/cpu.txt envs/neural.txt envs/constraints.txt
	@envs/install.sh envs/test.txt
	@touch .venv/.installed-cpu .venv/.installed-neural $@

.venv/.installed-cluster: envs/cluster.txt .venv/.installed-cpu
	@envs/install.sh envs/cluster.txt
	@touch $@

.venv/.installed-services: envs/services.txt envs/cluster.txt .venv/.installed-test
	@envs/install.sh envs/services.txt
	@touch $@
