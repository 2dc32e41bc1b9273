"""Broken run files, group files, plugins and command lines, with what their messages must say."""

from __future__ import annotations

from dataclasses import dataclass, field

DEFAULTS = """\
defaults:
  - base
  - data: digits
  - model: mlp
  - task: classification
  - policy: rgd
  - optimizer: adamw
  - schedule: cosine
  - engine: auto
  - _self_
"""


@dataclass(frozen=True)
class Case:
    """A fault and the fragments of its message.

    Attributes:
        name: what is wrong.
        says: fragments that must all be in the message.
        text: appended to a good run file, from line 11 on; or the whole file if `whole`.
        overrides: words after `conf=`.
        files: other files, by path below the working directory.
    """

    name: str
    says: tuple[str, ...]
    text: str = ""
    overrides: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    whole: bytes | None = None


CLI = "(command line)"
CASES = [
    # keys
    Case("unknown key", ("1 problem", "sede", "unknown key; did you mean seed?", "run.yaml:11"), "sede: 1"),
    Case("unknown key far from any", ("colour", "unknown key (one of: name, seed,"), "colour: 1"),
    Case(
        "unknown key in a section",
        ("train.epoch ", "did you mean epochs?", "run.yaml:12"),
        "train:\n  epoch: 3",
    ),
    Case(
        "unknown key on the command line",
        ("train.epoch ", "did you mean epochs?", CLI),
        "",
        ("train.epoch=3",),
    ),
    Case("unknown key with ++", ("batch.sise", "did you mean size?", CLI), "", ("++batch.sise=3",)),
    Case(
        "unknown key two sections deep",
        ("data.splits.tset", "did you mean test?"),
        "data: {splits: {tset: 0.1}}",
    ),
    Case(
        "unknown option of a component", ("policy.clipp ", "did you mean clip?", CLI), "", ("policy.clipp=1",)
    ),
    Case(
        "unknown option in a group file",
        ("policy.clipp ", "did you mean clip?", "conf/policy/mine.yaml:2"),
        "",
        ("policy=mine",),
        {"conf/policy/mine.yaml": "name: rgd\nclipp: 2\n"},
    ),
    Case(
        "unknown option in a list item",
        ("data.transforms.1.facter", "did you mean factor?", "run.yaml:13"),
        "data:\n  transforms: [{name: long_tail},\n    {name: long_tail, facter: 3}]",
    ),
    Case("hydra's own section", ("hydra", "unknown key"), "hydra: {run: {dir: /nowhere}}"),
    # names
    Case(
        "unknown component",
        ("policy.name", "there is no 'rdg'; did you mean rgd?", "erm", "run.yaml:11"),
        "policy: {name: rdg}",
    ),
    Case("unknown dataset", ("data.source.name", "'digit'", "digits", CLI), "", ("data.source.name=digit",)),
    Case(
        "unknown transform",
        ("data.transforms.0.name", "did you mean long_tail?", "run.yaml:11"),
        "data: {transforms: [{name: longtail}]}",
    ),
    Case("unknown engine", ("engine.name", "'sinle'", "did you mean single?"), "", ("engine.name=sinle",)),
    Case("component without a name", ("policy", "needs a `name`"), "", ("~policy.name",)),
    Case(
        "component replaced by text", ("policy", "must be a section", '"rgd"', "run.yaml:11"), "policy: rgd"
    ),
    Case("list item without a name", ("callbacks.0", "needs a `name`"), "", ("callbacks=[{}]",)),
    # types and ranges
    Case("text for a number", ("policy.clip", "must be a number", '"abc"', CLI), "", ("policy.clip=abc",)),
    Case("text for a whole number", ("train.epochs", "must be a whole number", '"x"'), "train: {epochs: x}"),
    Case("fraction for a whole number", ("train.epochs", "whole number; got 1.5"), "", ("train.epochs=1.5",)),
    Case("bool for a whole number", ("seed", "must be a whole number; got true"), "seed: true"),
    Case("bool for a number", ("optimizer.lr", "must be a number; got false"), "", ("optimizer.lr=false",)),
    Case("number for text", ("name", "must be text; got 3"), "name: 3"),
    Case("number for a bool", ("run.overwrite", "must be true or false; got 1"), "", ("run.overwrite=1",)),
    Case("quoted number", ("optimizer.lr", 'must be a number; got "0.1"'), "optimizer: {lr: '0.1'}"),
    Case("below the range", ("train.epochs", "must be at least 1; got 0", CLI), "", ("train.epochs=0",)),
    Case("seed too large", ("seed", "must be at most 4294967295"), "", ("seed=4294967296",)),
    Case("negative seed", ("seed", "must be at least 0; got -1"), "seed: -1"),
    Case("above the range", ("data.splits.test", "must be at most 1; got 2"), "", ("data.splits.test=2",)),
    Case("not greater", ("train.clip_norm", "must be greater than 0; got 0"), "", ("train.clip_norm=0",)),
    Case("open range", ("train.ema.decay", "must be less than 1; got 1"), "train: {ema: {decay: 1.0}}"),
    Case("infinite", ("policy.clip", "must be a finite number; got inf"), "", ("policy.clip=inf",)),
    Case("not a number", ("optimizer.lr", "nan"), "optimizer: {lr: .nan}"),
    Case("choice", ("select.mode", "'auto', 'max' or 'min'", "did you mean max?"), "", ("select.mode=maxi",)),
    Case("choice of a component", ("policy.divergence", "did you mean kl?"), "", ("policy.divergence=kll",)),
    Case("pattern", ("name", "must match"), "name: a/b"),
    Case(
        "alternatives",
        ("data.policy_groups", "must be a list, or 'sample'; got 3"),
        "",
        ("data.policy_groups=3",),
    ),
    Case("list item", ("data.groups.1", "must be text; got 7", "run.yaml:11"), "data: {groups: [label, 7]}"),
    Case("groups twice", ("data.groups.1", "'label' is named twice"), "data: {groups: [label, label]}"),
    Case("too few in a list", ("optimizer.betas.1", "needs a value", CLI), "", ("optimizer.betas=[0.9]",)),
    Case("too many in a list", ("optimizer.betas", "at most 2"), "", ("optimizer.betas=[0.9, 0.99, 0.999]",)),
    Case("text for a list", ("data.groups", "must be a list", '"label"'), "data: {groups: label}"),
    Case("scalar for a section", ("train", "must be a section", "got 3", "run.yaml:11"), "train: 3"),
    Case("list for a section", ("batch", "must be a section", "got a list"), "batch: [64]"),
    Case("null for a section", ("train", "must be a section", "got null"), "train:"),
    Case("null for a number", ("seed", "must be a whole number; got null"), "seed: null"),
    # keys together
    Case("no length", ("train", "give train.epochs or train.steps"), "train: {epochs: null}"),
    Case("two lengths", ("train.steps", "not both", CLI), "train: {epochs: 2}", ("train.steps=3",)),
    Case(
        "batch does not divide",
        ("batch", "size 64 is not micro 24", "batch.micro=16"),
        "",
        ("batch.micro=24",),
    ),
    Case("selection on the test", ("select.split", "test split must not"), "select: {split: test}"),
    Case(
        "selection not measured",
        ("select.split", "not measured", "evaluate.splits"),
        "evaluate: {splits: [train]}",
    ),
    Case(
        "unknown split",
        ("evaluate.splits.0", "did you mean validation?"),
        "",
        ("evaluate.splits=[validaton]",),
    ),
    Case("unknown final split", ("evaluate.final.1", "no split 'dev'"), "evaluate: {final: [test, dev]}"),
    Case(
        "nothing left to train",
        ("data.splits", "none are left"),
        "data: {splits: {validation: 0.5, test: 0.5}}",
    ),
    # missing values and interpolation
    Case("mandatory value", ("train.epochs", "???", "run.yaml:11"), "train: {epochs: '???'}"),
    Case("missing section", ("model", "needs a value", "run.yaml"), "", ("~model",)),
    Case("interpolation of a missing key", ("name", "'nme' not found", "run.yaml:11"), "name: ${nme}"),
    Case("interpolation cycle", ("name", "resume", "refers to itself"), "name: ${resume}\nresume: ${name}"),
    Case("interpolation of its section", ("batch.size", "refers to itself"), "batch: {size: '${batch}'}"),
    Case(
        "interpolation of an unset variable", ("name", "NO_SUCH_VARIABLE"), "name: ${oc.env:NO_SUCH_VARIABLE}"
    ),
    Case("interpolation that is not closed", ("name", "run.yaml:11"), "name: ${seed"),
    Case("unknown resolver", ("name", "Unsupported interpolation type shell"), "name: ${shell:ls}"),
    # defaults lists
    Case(
        "defaults entry that does not exist",
        ("there is no policy 'rdg'; did you mean rgd?", "run.yaml:4"),
        whole=b"defaults:\n  - base\n  - data: digits\n  - policy: rdg\n",
    ),
    Case(
        "several entries that do not exist",
        ("2 problems", "no model 'mpl'; did you mean mlp?", "run.yaml:2", "no group 'polcy'", "run.yaml:3"),
        whole=b"defaults:\n  - model: mpl\n  - polcy: rgd\n",
    ),
    Case("missing base", ("no file 'bas'; did you mean base?", "run.yaml:2"), whole=b"defaults:\n  - bas\n"),
    Case(
        "missing entry in a group file",
        ("no policy 'rgdd'", "conf/policy/mine.yaml:1"),
        overrides=("policy=mine",),
        files={"conf/policy/mine.yaml": "defaults: [rgdd]\nclip: 2\n"},
    ),
    Case("defaults is not a list", ("defaults", "must be a list", "run.yaml:1"), whole=b"defaults: base\n"),
    Case("entry is not a name", ("defaults", "each entry is", "run.yaml:2"), whole=b"defaults:\n  - 3\n"),
    Case("files in a circle", ("circle",), whole=b"defaults: [run]\n"),
    Case(
        "misspelt word",
        ("did you mean override?", "run.yaml:2"),
        whole=b"defaults:\n  - overide policy: rgd\n",
    ),
    Case("a group twice", ("defaults", "policy"), whole=b"defaults:\n  - policy: rgd\n  - policy: erm\n"),
    Case(
        "group option that does not exist",
        ("there is no policy 'rdg'; did you mean rgd?", CLI),
        "",
        ("policy=rdg",),
    ),
    # files
    Case("empty file", ("the file is empty", "run.yaml"), whole=b""),
    Case("only a comment", ("the file is empty",), whole=b"# nothing\n"),
    Case("a list", ("it is a list", "run.yaml:1"), whole=b"- a\n- b\n"),
    Case("a single value", ("it is a single value",), whole=b"hello\n"),
    Case("YAML syntax", ("is not YAML", "starts in line 11", "run.yaml:12:"), "train: {epochs: 3"),
    Case("tab", ("is not YAML", "run.yaml:12:1"), "train:\n\tepochs: 3"),
    Case("two documents", ("is not YAML", "single document"), "---\nseed: 1"),
    Case("Python object", ("is not YAML", "run.yaml:11:7"), "name: !!python/object:os.system x"),
    Case(
        "key twice",
        ("train.epochs", "given twice; first in line 12", "run.yaml:13"),
        "train:\n  epochs: 1\n  epochs: 2",
    ),
    Case("anchor in itself", ("contains itself", "run.yaml:11"), "train: &a\n  ema: *a"),
    Case("not UTF-8", ("is not UTF-8", "run.yaml:2"), whole=b"seed: 1\nname: caf\xe9\n"),
    Case("NUL bytes", ("is not YAML", "run.yaml"), whole=b"\x00\x01\x02"),
    Case(
        "syntax in a group file and a key in the run file twice",
        ("2 problems", "conf/policy/mine.yaml:2:", "run.yaml:12"),
        "seed: 1\nseed: 2",
        ("policy=mine",),
        {"conf/policy/mine.yaml": "name: [rgd\n"},
    ),
    Case("a value that its tag does not fit", ("is not YAML", "run.yaml"), "seed: !!int 'x'"),
    Case("too deep", ("nested too deeply", "run.yaml"), "x: " + "[" * 400 + "]" * 400),
    Case("half a surrogate pair", ("not Unicode",), 'name: "\\ud800"'),
    # overrides
    Case(
        "override of an item of no list",
        ("data.transforms", "must be a list", CLI),
        "",
        ("data.transforms.0.factor=1",),
    ),
    Case("override without a value", ("override 'a=[1'", "key=value", CLI), "", ("a=[1",)),
    Case("override without a key", ("override '=3'", "no key", CLI), "", ("=3",)),
    Case("override with an open quote", ("cannot be read", CLI), "", ("name='a",)),
    Case("override with a name longer than any file's", ("unknown key",), "", ("x" * 300 + "=1",)),
    Case("sweep", ("seed=1,2", "a list is written [a,b]"), "", ("seed=1,2",)),
    Case(
        "override of a list item that is not there",
        ("data.transforms.3", "cannot be set"),
        "",
        ("data=digits_longtail", "data.transforms.3.factor=1"),
    ),
    Case("deletes what is not there", ("train.nope", "cannot be deleted"), "", ("~train.nope",)),
    Case("adds what is there", ("seed", "without the +"), "", ("+seed=1",)),
    Case("override with a package", ("@package",), "", ("policy@other=rgd",)),
    Case("interpolation that is not closed in an override", ("name",), "", ("name=${seed",)),
    # plugins
    Case("plugin not found", ("plugins.0", "'nope'", "run.yaml:11"), "plugins: [nope]"),
    Case(
        "plugin near",
        ("plugins.0", "did you mean my_policy?", CLI),
        "",
        ("plugins=[my_polcy]",),
        {"plugins/my_policy.py": "x = 1\n"},
    ),
    Case(
        "plugin fails to import",
        ("plugins.0", "plugins/broken_import.py:2", "No module named 'not_there'"),
        "",
        ("plugins=[broken_import]",),
        {"plugins/broken_import.py": "x = 1\nimport not_there\n"},
    ),
    Case(
        "plugin with a syntax error",
        ("plugins/broken_syntax.py:1", "SyntaxError"),
        "",
        ("plugins=[broken_syntax]",),
        {"plugins/broken_syntax.py": "def f(:\n"},
    ),
    Case(
        "plugin takes a name",
        ("plugins/taken.py:4", "policy 'rgd'", "already registered by framework.policies.rgd"),
        "",
        ("plugins=[taken]",),
        {
            "plugins/taken.py": "from framework.policies.base import Policy\n"
            "from framework.registry import register\n\n"
            "@register.policy('rgd')\nclass Mine(Policy):\n    '''Mine.'''\n"
        },
    ),
    Case("plugins is not a list", ("plugins", "must be a list"), "plugins: tail"),
    Case("plugin name is not text", ("plugins.0", "must be text; got 3"), "plugins: [3]"),
    # several at once
    Case(
        "all reported together",
        ("4 problems", "policy.clipp", "train.epochs", "optimizer.name", "select.split"),
        "train: {epochs: 0}\nselect: {split: test}",
        ("policy.clipp=1", "optimizer.name=adm"),
    ),
]
