"""What each target of a source is fitted with: targets spelled out, overrides applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blendmake.errors import BlendmakeError


@dataclass(frozen=True)
class TargetSettings:
    """What one target is fitted with, overrides applied."""

    params: Mapping[str, Any]
    rounds: int | None
    early_stopping: Mapping[str, Any] | None
    class_weight: str | float
    bagging: Mapping[str, Any] | None


def resolve_targets(
    chosen: Sequence[str], groups: Mapping[str, Sequence[str]], every: Sequence[str]
) -> list[str]:
    """Spell out `all` and group names; in the order of the targets table.

    Raises:
        BlendmakeError: a name that is neither target nor group.
    """
    wanted: set[str] = set()
    for name in chosen:
        members = every if name == "all" else groups.get(name, [name])
        unknown = [member for member in members if member not in every]
        if unknown:
            raise BlendmakeError(
                f"'{unknown[0]}' is no target and no target group. Targets: {', '.join(every[:8])}"
                f"{' …' if len(every) > 8 else ''}."
            )
        wanted.update(members)
    return [target for target in every if target in wanted]


def settings_for(
    source: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    target: str,
    aliases: Mapping[str, str] | None = None,
    tuned: Mapping[str, Any] | None = None,
) -> TargetSettings:
    """A target's settings: the most specific wins, target over group over source; over all, `tuned`,
    which may also name params that are `without` effect.

    `aliases` are other names of params, so that one layer's `eta` replaces another's `learning_rate`.
    """
    aliases = aliases or {}
    layers = [source]
    overrides = source.get("overrides", {})
    for group, override in overrides.get("groups", {}).items():
        if target in groups[group]:
            layers.append(override)
    if target in overrides.get("targets", {}):
        layers.append(overrides["targets"][target])
    if tuned:
        layers.append(tuned)
    params: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for layer in layers:
        for name in layer.get("without", ()):
            params.pop(aliases.get(name, name), None)
        own = layer.get("params", {})
        params.update({aliases.get(name, name): value for name, value in own.items()})
        for key in ("rounds", "early_stopping", "class_weight", "bagging"):
            if layer.get(key) is not None:
                merged[key] = layer[key]
    return TargetSettings(
        params,
        merged.get("rounds"),
        merged.get("early_stopping") or None,
        merged["class_weight"],
        merged.get("bagging"),
    )
