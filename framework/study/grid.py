"""The words of `compare`: comma lists and a file make arms, `tune.` lists candidates, the rest is common."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from framework.config.document import first_line
from framework.config.provenance import COMMAND_LINE
from framework.config.schema import RunConfig
from framework.config.sources import GROUPS
from framework.errors import ConfigError, Problem
from framework.naming import nearest
from framework.study.named_arms import Axis, NamedArm
from framework.study.words import Written

TUNE = "tune."
#: keys that belong to the command: it decides where each run is and how it goes on
OWN = ("seed", "resume", "run", "run.dir", "run.overwrite")
#: keys that are common to all arms: without one rule and one place there is no comparison
COMMON = ("name", "select", "evaluate", "launch", "plugins")
_MAX_NAME = 80
#: before a key: the phase of a recipe that it is for
_PHASE = re.compile(r"^[A-Za-z][A-Za-z0-9_-]*:")


@dataclass(frozen=True)
class Choice:
    """One way to fill in the comma lists.

    Attributes:
        name: what differs, e.g. `rgd` or `rgd,lr=0.1`; empty where nothing does.
        overrides: the words of it, without those that all have in common.
    """

    name: str
    overrides: tuple[str, ...]

    @property
    def folder(self) -> str:
        """The name as that of a folder."""
        # Without characters that a shell or an override would want in quotes.
        readable = self.name.replace(",", "__").replace("=", "-")
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", readable).strip("._") or "run"
        if plain == (readable or "run") and len(plain) <= _MAX_NAME:
            return plain
        # Two names that a folder cannot tell apart are told apart by this.
        return f"{plain[:_MAX_NAME]}-{hashlib.sha256(self.name.encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class ArmChoice(Choice):
    """One side of a comparison.

    Attributes:
        candidates: what is tried for it; one without overrides where nothing is tuned.
        recipe: the file of a recipe, or its name; empty where the arm is one run.
        tune: what is tuned for it alone.
        places: where each of the overrides was written.
        place: where the arm is written; empty for one of comma lists.
    """

    candidates: tuple[Choice, ...] = (Choice("", ()),)
    recipe: str = ""
    tune: tuple[Axis, ...] = ()
    places: tuple[str, ...] = field(default=(), compare=False)
    place: str = field(default="", compare=False)

    def written(self, candidate: Choice) -> list[Written]:
        """The overrides with one of the candidates, and their places."""
        own = {axis.key: axis.place for axis in self.tune}
        tried = [(word, own.get(word.partition("=")[0], COMMAND_LINE)) for word in candidate.overrides]
        return [*zip(self.overrides, self.places, strict=True), *tried]


@dataclass(frozen=True)
class Grid:
    """What is to be run for each seed.

    Attributes:
        common: overrides of every run.
        arms: what is compared, the first one is what the others are compared with.
        candidates: what is tried for all arms; some have candidates of their own beside, all equally many.
    """

    common: tuple[str, ...]
    arms: tuple[ArmChoice, ...]
    candidates: tuple[Choice, ...]

    @property
    def num_candidates(self) -> int:
        """How many settings are tried for each arm."""
        return len(self.arms[0].candidates)

    @property
    def tuned(self) -> bool:
        """Whether each arm has candidates to choose from."""
        return self.num_candidates > 1


def expand(words: Sequence[str], commands: Sequence[str], named: Sequence[NamedArm] = ()) -> Grid:
    """Sort the overrides of a command line.

    Args:
        words: `key=value`, `key=a,b` and `tune.key=a,b`, in Hydra's grammar.
        commands: names of the command's own options, to offer for a misspelt key.
        named: arms of a file; comma lists multiply them.

    Raises:
        ConfigError: every word that cannot be read, is of no known key, or may not be varied.
    """
    problems: list[Problem] = []
    common: list[str] = []
    arms: list[list[tuple[str, str]]] = []
    candidates: list[list[tuple[str, str]]] = []
    for word in words:
        tuning = word.startswith(TUNE)
        override = read(word.removeprefix(TUNE) if tuning else word, problems)
        if override is None or not allowed(
            override, tuning or override.is_sweep_override(), commands, problems
        ):
            continue
        if not override.is_sweep_override():
            if tuning:
                problems.append(_problem(word, "a key to tune needs two values or more: tune.key=a,b"))
            common.append(word)
            continue
        if not override.is_discrete_sweep():
            problems.append(_problem(word, "only lists of values can be compared: key=a,b"))
            continue
        key = override.get_key_element()
        options = [(key, value) for value in override.sweep_string_iterator()]
        if len(set(options)) < len(options):
            problems.append(_problem(word, "the same value is given twice"))
        (candidates if tuning else arms).append(options)
    for arm in named:
        _check_named(arm, [axis[0][0] for axis in candidates], commands, problems)
    if problems:
        raise ConfigError(problems)
    tried = tuple(_product(candidates))
    sides = [
        ArmChoice(choice.name, choice.overrides, tried, places=(COMMAND_LINE,) * len(choice.overrides))
        for choice in _product(arms)
    ]
    if named:
        sides = [_joined(arm, side, candidates) for arm in named for side in sides]
    _check_budget(sides, len(tried))
    return Grid(tuple(common), tuple(sides), tried)


def _check_named(
    arm: NamedArm, tuned: Sequence[str], commands: Sequence[str], problems: list[Problem]
) -> None:
    """The words of an arm, by the rules of the command line; and that nothing is tuned twice."""
    firsts = [(f"{axis.key}={axis.values[0]}", axis.place) for axis in arm.tune]
    for text, place in (*arm.words, *firsts):
        found: list[Problem] = []
        # Whether the recipe has such a phase is found when it is read.
        word = _PHASE.sub("", text) if arm.recipe else text
        override = read(word, found)
        if override is not None and allowed(override, True, commands, found) and override.is_sweep_override():
            found.append(_problem(text, "an arm of a file has one value for each key"))
        problems += [replace(problem, where=place) for problem in found]
    problems += [
        Problem(axis.key, "is tuned for all arms: leave it out here or there", axis.place)
        for axis in arm.tune
        if axis.key in tuned
    ]


def _joined(arm: NamedArm, side: ArmChoice, tuned: Sequence[Sequence[tuple[str, str]]]) -> ArmChoice:
    own = [[(axis.key, value) for value in axis.values] for axis in arm.tune]
    return ArmChoice(
        ",".join(filter(None, (arm.name, side.name))),
        (*arm.overrides, *side.overrides),
        tuple(_product([*tuned, *own])),
        arm.recipe,
        arm.tune,
        (*(place for _, place in arm.words), *side.places),
        arm.place,
    )


def _check_budget(sides: Sequence[ArmChoice], common: int) -> None:
    """All arms have equally many candidates.

    Raises:
        ConfigError: how many each has.
    """
    by_number: dict[int, list[ArmChoice]] = {}
    for side in sides:
        by_number.setdefault(len(side.candidates) // common, []).append(side)
    if len(by_number) > 1:
        told = "; ".join(f"{number}: {', '.join(s.name for s in some)}" for number, some in by_number.items())
        fewest = by_number[min(by_number)][0]
        message = (
            f"all arms must have equally many candidates of their own ({told}): `tune` decides over how"
            " many settings an arm is chosen from, and more would favour it"
        )
        raise ConfigError([Problem("", message, fewest.place)])


def read(text: str, problems: list[Problem]) -> Override | None:
    """One word in Hydra's grammar; None, and a problem, where it cannot be read."""
    try:
        return OverridesParser.create().parse_override(text)
    except (HydraException, RecursionError) as error:
        problems.append(_problem(text, f"cannot be read: {first_line(error)}"))
        return None


def allowed(override: Override, varied: bool, commands: Sequence[str], problems: list[Problem]) -> bool:
    """Whether a study may set the key, to different values if `varied`; else a problem is added."""
    key = override.key_or_group
    section = key.replace("/", ".").partition(".")[0]
    owned = key in OWN or section in ("seed", "resume")
    known = (*RunConfig.model_fields, *GROUPS)
    if section not in known:
        offered = (*known, *commands)
        problems.append(Problem(key, f"unknown key{nearest(section, offered)}", COMMAND_LINE))
    elif owned:
        message = (
            "seeds=5 or seeds=[3,7] chooses the seeds" if section == "seed" else "belongs to the command"
        )
        problems.append(Problem(key, f"{message}; leave it out", COMMAND_LINE))
    elif section in COMMON and varied:
        problems.append(Problem(key, "must be the same for every run that is compared", COMMAND_LINE))
    else:
        return True
    return False


def _product(axes: Sequence[Sequence[tuple[str, str]]]) -> Iterator[Choice]:
    for chosen in itertools.product(*axes):
        name = ",".join(_part(key, value, [axis[0][0] for axis in axes]) for key, value in chosen)
        yield Choice(name, tuple(f"{key}={value}" for key, value in chosen))


def _part(key: str, value: str, keys: Sequence[str]) -> str:
    """`rgd` for a component, `lr=0.1` for a value; the whole key where its last word is not its own."""
    plain = value.strip("'\"")
    if key in GROUPS:
        return plain
    last = key.lstrip("+").rpartition(".")[2]
    clash = sum(other.lstrip("+").rpartition(".")[2] == last for other in keys) > 1
    return f"{key if clash else last}={plain}"


def _problem(word: str, message: str) -> Problem:
    return Problem("", f"'{word}': {message}", COMMAND_LINE)
