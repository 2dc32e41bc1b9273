"""What stands against handing artifacts from one phase of a recipe to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework.artifacts.base import Artifact
from framework.config.load import LoadedConfig
from framework.errors import ConfigError, Problem
from framework.registry import registry
from framework.study.recipe.file import Recipe


def kind_of(artifact: str) -> type[Artifact]:
    """The class of an artifact."""
    target = registry.get("artifact", artifact).target
    assert isinstance(target, type)
    assert issubclass(target, Artifact)
    return target


def objections(recipe: Recipe, name: str, loaded: Mapping[str, LoadedConfig]) -> list[Problem]:
    """Artifacts that the phase cannot give, and those that it cannot read."""
    config, origins = recipe.config.phases[name], recipe.origins
    problems = []
    for number, section in enumerate(config.makes):
        key = f"phases.{name}.makes.{number}"
        try:
            message = registry.build("artifact", section).objection(loaded[name].config)
        except ConfigError as error:
            message = error.problems[0].message
        if message:
            problems.append(Problem(key, message, origins.place(key)))
    for key, source in config.takes.items():
        giver, _, artifact = source.partition(".")
        if giver in loaded and kind_of(artifact).per_sample:
            differing = _other_samples(loaded[giver].data, loaded[name].data)
            if differing:
                message = (
                    f"{source} has a row per training sample of phase {giver}, and this phase has others:"
                    f" {', '.join(differing)} must be the same in both"
                )
                place = f"phases.{name}.takes.{key}"
                problems.append(Problem(place, message, origins.place(place)))
    return problems


def _other_samples(giver: Mapping[str, Any], taker: Mapping[str, Any]) -> list[str]:
    """The keys by which two configurations have other training samples, or in another order."""
    differing = [f"data.{key}" for key in ("source", "splits") if giver["data"][key] != taker["data"][key]]
    transforms = [
        [section for section in side["data"]["transforms"] if section["name"] != "extra_column"]
        for side in (giver, taker)
    ]
    if transforms[0] != transforms[1]:
        differing.append("data.transforms")
    if giver["data"]["splits"]["seed"] is None and giver["seed"] != taker["seed"]:
        differing.append("seed or data.splits.seed")
    return differing
