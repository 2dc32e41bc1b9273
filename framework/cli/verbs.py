"""The verbs of the command line, and what the first help page says."""

from __future__ import annotations

from framework.errors import UserError
from framework.naming import listed, nearest

DEFAULT_VERB = "train"

#: verb -> one line of help; each verb is a module of this package, its docstring the rest of the help
VERBS = {
    "train": "train, evaluate and save a run (the default: the word may be left out)",
    "check": "everything that is wrong with a configuration, then one batch; trains nothing",
    "data": "what is in the data of a configuration, on the terminal and on a page with samples",
    "show": "the resolved configuration, each value with the file and line it came from",
    "diff": "what differs between two configurations or runs",
    "list": "the registered components; with a kind and a name, all options of one",
    "compare": "run policies or any settings over seeds, and say whether the difference is more than chance",
    "sweep": "search for the best setting on validation, on one machine or many",
    "evaluate": "measure a finished run on the test split, or another one",
    "report": "one HTML file with everything about a run: verdict, curves, groups, samples",
    "watch": "follow a run from another terminal: progress, curves, groups, policy state",
    "export": "the weights of a run's model as safetensors; with moments and step for DeepSpeed",
    "import": "a checkpoint of DeepSpeed as one that a run starts from, with its moments",
    "produce": "what a next run needs of a finished one: errors, losses, policy state, a new last layer",
    "recipe": "runs that build on each other, such as JTT, DFR and DoReMi, in one go",
    "shards": "the samples of a configuration as WebDataset shards; checks and indexes such shards",
    "schema": "JSON Schema of run files, for editors",
}

_OVERVIEW = """\
usage: python -m framework [VERB] conf=FILE [key=value ...]

Trains what a YAML file describes.

{verbs}

  conf=FILE       a path, a run folder, or a name under conf/
  key=value       change a value (train.epochs=3) or swap a group (policy=group_dro)

  --help          this page; after a verb, the help of that verb
  --version       the version

examples:
  python -m framework conf=vit_rgd.yaml
  python -m framework check conf=vit_rgd.yaml policy=group_dro train.epochs=3"""


def overview() -> str:
    """The first help page."""
    width = max(map(len, VERBS)) + 2
    return _OVERVIEW.format(verbs="\n".join(f"  {verb:<{width}}{text}" for verb, text in VERBS.items()))


def unknown_verb(word: str) -> UserError:
    """The error for a first word that is neither a verb nor `key=value`."""
    if word.startswith("-"):
        return UserError(f"unknown option {word}{nearest(word, ['--help', '--version'])}")
    if word.endswith((".yaml", ".yml")) or "/" in word:
        return UserError(f"unknown verb '{word}'; to train this file write conf={word}")
    return UserError(f"unknown verb '{word}'{nearest(word, VERBS)}{listed(VERBS)}")
