"""Packing: from what a plan lists to an archive."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blendmake.errors import BlendmakeError
from blendmake.packing.archive import write_archive
from blendmake.packing.choosing import Choice, Chosen, Scratch
from blendmake.packing.identity import identity
from blendmake.packing.records import Records
from blendmake.provenance import git_revision


def pack(plan: Mapping[str, Any], records: Records) -> Chosen:
    """Write an archive of what is built, and of what has been begun.

    Args:
        plan: `archive`, `problem`, `roots` (folders of results and of scratch), `own` (files and
            folders in them that each machine makes itself), `base` (identity.identity), `preset`,
            `files`, `beside` (choosing.Choice), `scratch` (fields of choosing.Scratch).

    Raises:
        BlendmakeError: no archive is named, or one that stands; there is nothing to pack.
    """
    if not plan["archive"]:
        raise BlendmakeError("Name the archive: snakemake pack --config pack=FILE.tar")
    archive = Path(plan["archive"])
    if archive.exists():
        raise BlendmakeError(f"{archive} exists. Delete it, or name another: pack=FILE.tar")
    here = identity(plan["base"])
    choice = Choice(records, plan["roots"][0], plan["own"], plan["beside"])
    choice.add(plan["files"])
    for one in plan["scratch"]:
        choice.add_scratch(Scratch(**one))
    chosen = choice.chosen
    chosen.units = [unit for unit in chosen.units if unit.members]
    if not chosen.units:
        raise BlendmakeError(
            "There is nothing to pack: nothing of what is asked for is finished or begun here. "
            "`snakemake status` shows what stands."
        )
    write_archive(archive, chosen.units, about(plan, records, here, chosen.base))
    return chosen


def about(
    plan: Mapping[str, Any], records: Records, here: Mapping[str, Any], base: Mapping[str, str]
) -> dict[str, Any]:
    """What an archive says of itself, beside its files.

    Args:
        plan: `problem` and `preset`.
        here: identity.identity of data and folds.
        base: digests of the base files that its files were made of (choosing.Chosen).
    """
    return {
        "problem": plan["problem"],
        "packed": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "git_revision": git_revision(),
        "records": records.format,
        "identity": here,
        "base": base,
        "preset": plan["preset"],
    }
