"""usage: python -m framework shards conf=FILE [key=value ...] --out DIR [--max-size 256MB]
                                  [--images raw|png|float] [--split train,test] [--workers N]
       python -m framework shards verify DIR [--workers N]
       python -m framework shards index [SPLIT=]PATTERN ... --out DIR [--input png] [--label cls]
                                  [--columns a,b] [--workers N]

Write the splits of a configuration, before its transforms, as WebDataset tar files with a manifest; check
such a folder and repair its index or manifest; or write the manifest for shards made elsewhere.
Started again, writing goes on where it was stopped.

  --out           folder of the shards, or of the manifest for `index`
  --max-size      bytes that no shard exceeds; kB, MB and GB are powers of ten
  --images        raw: 8-bit pixels as they are (fast to read); png: compressed; float: float32
  --split         only these splits
  --workers       background processes
  PATTERN         shards as in a shell: train-{000..127}.tar, test-*.tar, https://host/{0..9}.tar;
                  SPLIT is train unless given
  --input         extension of the members to train on; without it the first image, array, tensor or text
  --label         cls, txt, or a key of the .json members; without it cls, else the key `label`
  --columns       keys of the .json members to form groups of

exit codes: 0 fine, 2 something is wrong
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from framework.cli.arguments import Arguments, parse
from framework.cli.output import console
from framework.errors import EXIT_OK, EXIT_USER, ConfigError, UserError
from framework.naming import nearest

if TYPE_CHECKING:
    from framework.data.shards.manifest import Manifest

_FLAGS = ("out", "max-size", "images", "split", "workers", "input", "label", "columns")
_OF = {
    "": ("out", "max-size", "images", "split", "workers"),
    "verify": ("workers",),
    "index": ("out", "input", "label", "columns", "workers"),
}
_GROUPS_SHOWN = 20


def main(words: Sequence[str]) -> int:
    """Write, verify or index shards."""
    action = words[0] if words and words[0] in ("verify", "index") else ""
    arguments = parse(words[1:] if action else words, flags=_FLAGS)
    strange = [flag for flag in arguments.flags if flag not in _OF[action]]
    if strange:
        raise UserError(f"--{strange[0]} is not an option of `shards {action or 'conf=FILE'}`")
    return {"": _write, "verify": _verify, "index": _index}[action](arguments)


def _write(arguments: Arguments) -> int:
    arguments.expect_names(
        0, 0, "shards conf=FILE [key=value ...] --out DIR (or shards verify, shards index)"
    )
    out = _out(arguments)
    max_size = _size(arguments.flags.get("max-size", "256MB"))
    workers = _workers(arguments)
    loaded = arguments.load()
    # Imports torch, which a mistyped command need not wait for.
    from framework.data.build import read_splits
    from framework.data.fingerprint import fingerprint
    from framework.data.shards.encode import Images
    from framework.data.shards.writer import write_shards

    images = next((i for i in get_args(Images) if i == arguments.flags.get("images", "raw")), None)
    if images is None:
        raise UserError(
            f"--images must be one of {', '.join(get_args(Images))}, not '{arguments.flags['images']}'"
        )
    try:
        splits = read_splits(loaded.config.data, loaded.config.seed)
    except ConfigError as error:
        raise loaded.located(error) from error
    asked = arguments.flags.get("split", ",".join(splits)).split(",")
    for name in asked:
        if name not in splits:
            raise UserError(
                f"--split: no split '{name}'{nearest(name, splits)} (splits: {', '.join(splits)})"
            )
    splits = {name: splits[name] for name in splits if name in asked}
    groups = [name for name in loaded.config.data.groups if all(name in d.columns for d in splits.values())]
    with _progress("writing", sum(map(len, splits.values()))) as progress:
        manifest = write_shards(
            splits, out, group_columns=groups, made_from=fingerprint(splits), max_size=max_size,
            images=images, workers=workers, progress=progress,
        )  # fmt: skip
    _describe(manifest, out)
    return EXIT_OK


def _verify(arguments: Arguments) -> int:
    arguments.expect_names(1, 1, "shards verify DIR [--workers N]")
    _no_overrides(arguments)
    folder = Path(arguments.names[0])
    from framework.data.files.paths import existing_folder
    from framework.data.shards.verify import verify_shards

    with _progress("verifying", None) as progress:
        verdict = verify_shards(existing_folder(folder), _workers(arguments), progress)
    for text in verdict.repaired:
        print(f"repaired: {text}")
    if verdict.faults:
        count = len(verdict.faults)
        print(f"{folder}: {count} fault{'s' if count > 1 else ''}", file=sys.stderr)
        for fault in verdict.faults:
            print(f"  {fault}", file=sys.stderr)
        if verdict.manifest.made_from:
            print("  writing them again to this folder replaces only what is damaged", file=sys.stderr)
        return EXIT_USER
    _describe(verdict.manifest, folder)
    return EXIT_OK


def _index(arguments: Arguments) -> int:
    out = _out(arguments)
    if arguments.conf is not None:
        raise UserError("shards index takes patterns of shards and no configuration")
    from framework.data.shards.download import is_remote
    from framework.data.shards.foreign import index_shards
    from framework.data.shards.patterns import files

    found: dict[str, list[str]] = {}
    for word in [*arguments.names, *arguments.overrides]:
        # a URL may hold a `=` of its own
        named = "=" in word and not is_remote(word)
        split, pattern = word.split("=", 1) if named else ("train", word)
        if split not in ("train", "validation", "test"):
            raise UserError(f"'{split}' is no split{nearest(split, ['train', 'validation', 'test'])}")
        try:
            found.setdefault(split, []).extend(files(pattern))
        except ValueError as error:
            raise UserError(str(error)) from error
    if not found:
        raise UserError("usage: python -m framework shards index [SPLIT=]PATTERN ... --out DIR")
    columns = [name for name in arguments.flags.get("columns", "").split(",") if name]
    with _progress("indexing", sum(map(len, found.values()))) as progress:
        manifest = index_shards(
            found, out, member=arguments.flags.get("input"), label=arguments.flags.get("label"),
            columns=columns, workers=_workers(arguments), progress=progress,
        )  # fmt: skip
    _describe(manifest, out)
    return EXIT_OK


def _describe(manifest: Manifest, folder: Path) -> None:
    from rich.table import Table

    splits = manifest.splits
    table = Table("", box=None)
    for name in splits:
        table.add_column(name, justify="right")
    table.add_row("samples", *(f"{split.samples:,}" for split in splits.values()))
    table.add_row("shards", *(f"{len(split.shards):,}" for split in splits.values()))
    table.add_row("bytes", *(f"{sum(s.bytes for s in split.shards):,}" for split in splits.values()))
    groups = manifest.groups
    for number, group in enumerate(groups.names[:_GROUPS_SHOWN]):
        table.add_row(f"group {group}", *(f"{groups.counts[name][number]:,}" for name in splits))
    if len(groups.names) > _GROUPS_SHOWN:
        table.add_row(f"and {len(groups.names) - _GROUPS_SHOWN:,} more groups")
    console().print(table)
    print(folder)


@contextmanager
def _progress(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal, nothing in a pipe; yields what moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(label, total=total)
        yield lambda count: bar.advance(task, count)


def _out(arguments: Arguments) -> Path:
    if "out" not in arguments.flags:
        raise UserError("--out DIR is missing")
    return Path(arguments.flags["out"])


def _workers(arguments: Arguments) -> int:
    text = arguments.flags.get("workers", "0")
    if not text.isdecimal():
        raise UserError(f"--workers must be a number of processes, not '{text}'")
    return int(text)


def _size(text: str) -> int:
    from framework.data.shards.cache import byte_count

    try:
        return byte_count(text)
    except ValueError as error:
        raise UserError(f"--max-size must be like 256MB, not '{text}'") from error


def _no_overrides(arguments: Arguments) -> None:
    if arguments.overrides or arguments.conf:
        raise UserError("shards verify takes a folder and nothing else")
