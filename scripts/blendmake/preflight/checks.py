"""What can be told before a campaign: machine, inputs, room, and one smallest fit of each source."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from blendmake.fits.bagging import bag_count
from blendmake.preflight.findings import FAIL, PASS, WARN, Finding, guarded, size_text
from blendmake.preflight.inputs import Inputs
from blendmake.preflight.machine import (
    folder_findings,
    git_findings,
    gpu_findings,
    interpreter_findings,
    package_findings,
    service_findings,
)
from blendmake.preflight.process import ask
from blendmake.preflight.record import record_findings
from blendmake.preflight.sample import Miniature
from blendmake.preflight.sizes import Sizes, available_memory, disk_findings, memory_findings
from blendmake.preflight.units import unit_findings

FIT_SECONDS = 120
FEWEST = {"rows": 1000, "test_rows": 250}  # of a built-in data set that is written to be looked at


def preflight(plan: Mapping[str, Any], *, cores: int, gpus: int) -> Iterator[Finding]:
    """Check a problem and the machine, finding by finding; nothing of the problem is built.

    Args:
        plan: what is planned:
            `seed`; `record`, the file that remembers the inputs; `folders`: `results`, `scratch` and
            `logs` of the problem; `repository`: the checkout; `pins` and `more_pins`: files of
            requirements for all, and for families that need what they name;
            `slices`: of the config, `tables`, `targets`, `groups`, `folds`, `features` and
            `fold_features` (by set; only sets that sources and audits name) and `submission`;
            `files`: `targets`, `groups`, `folds`, `test_targets`, `sample`, None where not given;
            `lists`: paths of keep and drop lists; `manifests`; `external`: `oof` and `test` by source;
            `adapter`: None, or `module`, `options` and the `folder` that it writes into;
            `sources`: by name `family`, `module`, `features`, `source` (its slice), `groups` (members
            of those given), `built_groups` and `targets_per_job`;
            `blends` and `submissions`: how many; `threads` of a fit.
        cores: that jobs may use.
        gpus: that the profile has jobs share; 0 for none.
    """
    sources = plan["sources"]
    families = {one["family"]: one["module"] for one in sources.values()}
    pins = (plan["pins"], plan["more_pins"])
    yield from guarded("packages", partial(package_findings, families, *pins))
    yield from interpreter_findings(
        {name: {**one, "python": one["source"].get("python")} for name, one in sources.items()}
    )
    yield from gpu_findings(gpus, list(families))
    yield from folder_findings(plan["folders"])
    yield from service_findings(os.environ)
    yield from git_findings(Path(plan["repository"]))
    for manifest in plan["manifests"]:
        if not Path(manifest).is_file():
            yield Finding(FAIL, "manifests", f"{manifest} does not exist", "correct `manifests`")
    with tempfile.TemporaryDirectory(prefix="blendmake-preflight-") as folder:
        yield from guarded("inputs", partial(_problem_findings, plan, Path(folder), cores))


def _problem_findings(plan: Mapping[str, Any], folder: Path, cores: int) -> Iterator[Finding]:
    """What is found in the inputs, and what follows from it."""
    adapter, memory = plan["adapter"], available_memory()
    counts: dict[str, int] = {}
    if adapter and not Path(adapter["folder"]).exists():
        counts = _write_few(adapter, folder / "data")
        plan = _elsewhere(plan, adapter["folder"], str(folder / "data"))
        name = adapter["module"].rpartition(".")[2]
        yield Finding(
            PASS, "data", f"not written yet; {name} writes a part of it into {folder}/data"
        )
    inputs = Inputs(plan, folder)
    yield from inputs.findings(memory)
    if not adapter:
        yield from guarded("inputs", partial(_recorded, plan, inputs))
    small = Miniature(folder / "small", plan["seed"])
    readable = inputs.train_ids is not None
    if readable:
        yield from guarded("columns", partial(_cut, small, inputs, plan["slices"]["tables"]))
    made = []
    if small.columns:
        for name, settings in plan["slices"]["features"].items():
            own = partial(_make_set, small, name, settings, plan["slices"]["fold_features"])
            found = list(guarded(f"features {name}", own))
            made += [name] * all(finding.level == PASS for finding in found)
            yield from found
    if readable:
        yield from _room_findings(plan, _sizes(plan, inputs, small, counts), cores, memory)
    else:
        yield Finding(WARN, "room", "not told: the tables cannot be read")
    inputs.tables.clear()  # text that was read whole goes before the fits come
    for name, one in plan["sources"].items():
        if not small.labelled or one["features"] not in made:
            yield Finding(WARN, f"fit {name}", "not tried: what it reads has failed above")
        else:
            yield fit_finding(name, one, small, plan["seed"])


def _write_few(adapter: Mapping[str, Any], folder: Path) -> dict[str, int]:
    """Have a built-in data set write a few rows; the numbers of rows that it is asked for."""
    module: Any = importlib.import_module(adapter["module"])
    options = {**module.OPTIONS, **adapter["options"]}
    folder.mkdir(parents=True)
    fewer = {key: value for key, value in FEWEST.items() if key in module.OPTIONS}
    module.write(folder, **{**adapter["options"], **fewer})
    if "rows" not in options:
        return {}
    rows = int(options["rows"])
    return {"rows": rows, "test_rows": int(options.get("test_rows") or rows // 3)}


def _elsewhere(value: Any, folder: str, other: str) -> Any:
    """A nested value with the files of one folder in another."""
    if isinstance(value, str):
        return other + value[len(folder) :] if value.startswith(folder + "/") else value
    if isinstance(value, Mapping):
        return {key: _elsewhere(item, folder, other) for key, item in value.items()}
    return value


def _recorded(plan: Mapping[str, Any], inputs: Inputs) -> Iterator[Finding]:
    files = inputs.named()
    for name, external in plan["external"].items():
        files |= {f"external.{name}.{part}": path for part, path in external.items()}
    files |= {f"list {path}": path for path in plan["lists"]}
    return record_findings(Path(plan["record"]), files, inputs.tables, inputs.id_columns)


def _cut(small: Miniature, inputs: Inputs, settings: Mapping[str, Any]) -> Iterator[Finding]:
    warnings = small.cut(inputs, settings)
    in_both = "the same in train and test" if inputs.test else "there is no test"
    yield Finding(PASS, "columns", f"{small.columns:,} features, {in_both}")
    for warning in warnings:
        yield Finding(WARN, "columns", warning)
    for text in small.tellers():
        yield Finding(WARN, "columns", text)


def _make_set(
    small: Miniature,
    name: str,
    settings: Mapping[str, Any],
    with_labels: Mapping[str, Mapping[str, Any]],
) -> Iterator[Finding]:
    small.make(name, settings, with_labels.get(name, {}))
    made = small.made[name] + small.fold_made.get(name, 0)
    text = f"{small.width[name]:,} columns" + (f"; made: {made:,}" if made else "")
    yield Finding(PASS, f"features {name}", text)


def _sizes(
    plan: Mapping[str, Any], inputs: Inputs, small: Miniature, counts: Mapping[str, int]
) -> Sizes:
    """What is known of the sizes; where the columns failed their check, all count as features."""
    assert inputs.train_ids is not None
    tables = [inputs.tables[path] for path in inputs.train.values()]
    columns = small.columns or sum(len(table.schema.names) for table in tables)
    sources = plan["sources"]
    features = {name: one["features"] for name, one in sources.items()}
    test_rows = 0 if inputs.test_ids is None else inputs.test_ids.num_rows
    return Sizes(
        rows=counts.get("rows", inputs.train_ids.num_rows),
        test_rows=counts.get("test_rows", test_rows),
        columns=columns,
        targets=1 if inputs.targets is None else len(inputs.labels()[0]),
        folds=plan["slices"]["folds"]["n"],
        features=features,
        bags={n: bag_count(one["source"].get("bagging")) for n, one in sources.items()},
        made=small.made,
        fold_made=small.fold_made,
        width=small.width or dict.fromkeys(features.values(), columns),
        external=len(plan["external"]),
        written=bool(plan["adapter"]),
        blends=plan["blends"],
        submissions=plan["submissions"],
    )


def _room_findings(
    plan: Mapping[str, Any], sizes: Sizes, cores: int, memory: int | None
) -> Iterator[Finding]:
    folders = plan["folders"]
    yield from disk_findings(
        {folders["results"]: sizes.results(), folders["scratch"]: sizes.scratch()}
    )
    fits = len(plan["sources"]) * sizes.folds
    if fits:
        jobs = max(1, min(cores // plan["threads"], fits))
        yield from memory_findings(sizes, jobs, memory)
    shape = (sizes.rows, sizes.columns, sizes.targets, sizes.folds)
    yield from unit_findings(plan["sources"], *shape)


def fit_finding(name: str, one: Mapping[str, Any], small: Miniature, seed: int) -> Finding:
    """One smallest fit of a source, in a process of its own.

    Args:
        one: the source as the plan has it.
        small: with its feature set made.
    """
    check = f"fit {name}"
    with tempfile.TemporaryDirectory(prefix="blendmake-preflight-") as folder:
        arguments = {
            "name": name,
            "source": one["source"],
            "family": one["module"],
            "groups": one["groups"],
            "built_groups": one["built_groups"],
            "seed": seed,
            "inputs": small.inputs(one["features"]),
            "folder": folder,
        }
        reply = ask("smallest_fit", arguments, FIT_SECONDS)
    if reply.error:
        return Finding(FAIL, check, reply.error)
    done = reply.value
    text = (
        f"{done['targets']} target{'s' * (done['targets'] > 1)}, {done['rows']} rows × "
        f"{done['columns']:,} columns: "
        f"{done['seconds']:.1f} s, {size_text(done['memory'])}"
    )
    if not done["fitted"]:
        why = "no target of it has both classes among the rows tried, so that nothing was learnt"
        return Finding(WARN, check, f"{text}; {why}")
    return Finding(PASS, check, text)
