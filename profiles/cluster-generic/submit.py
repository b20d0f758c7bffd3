#!/usr/bin/env python3
"""Submit a job script of Snakemake to Slurm; print the job's number.

usage: submit.py <job script>
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

# Name and folder tell a later run which jobs are its own (blendmake/cluster.py).
PREFIX = "blendmake_"
LOGS = Path(".snakemake/cluster_logs")


def request(job: dict[str, Any]) -> list[str]:
    """What is asked of Slurm for a job, from its properties in the script."""
    asked: dict[str, Any] = job["resources"]
    title = "_".join([job["rule"], *map(str, job.get("wildcards", {}).values())])
    options = [
        "--parsable",
        "--requeue",  # Slurm starts it again if its node fails
        f"--job-name={PREFIX}{job['rule']}",
        f"--comment={title}",
        f"--output={LOGS}/{title.replace('/', '_')}-%j.log",
        "--ntasks=1",
        f"--cpus-per-task={job['threads']}",
    ]
    given = {
        "mem": "mem_mb",
        "time": "runtime",
        "account": "slurm_account",
        "partition": "slurm_partition",
    }
    options += [f"--{option}={asked[key]}" for option, key in given.items() if asked.get(key)]
    options += [f"--gpus={asked['gpu']}"] if asked.get("gpu") else []
    return options


def main(script: str) -> int:
    head = "# properties = "
    lines = Path(script).read_text(encoding="utf-8").splitlines()
    job = json.loads(next(line for line in lines if line.startswith(head))[len(head) :])
    LOGS.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["sbatch", *request(job), script], stdout=subprocess.PIPE, text=True)
    print(
        done.stdout.strip().split(";")[0]
    )  # behind it the cluster's name, where there are several
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
