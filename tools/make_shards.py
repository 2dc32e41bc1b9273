"""WebDataset shards from a folder of images (FOLDER/CLASS/FILE) or from a table, without a run file.

    python tools/make_shards.py pictures --size 64 --out shards/pictures
    python tools/make_shards.py people.csv --target income --groups sex --out shards/people

A fifth of the samples is set aside where there is no folder `validation`. What a run file can say more,
`python -m framework shards conf=FILE` does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from framework.config.schema import DataConfig
from framework.data.build import read_splits
from framework.data.fingerprint import fingerprint
from framework.data.shards.writer import write_shards
from framework.errors import UserError


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("path", type=Path, help="folder of images, or table (.csv, .tsv, .parquet, .arff)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--size", type=int, default=224, help="height and width of the images")
    parser.add_argument("--target", help="column of a table to predict")
    parser.add_argument("--groups", nargs="*", default=[], help="columns of a table that form groups")
    parser.add_argument("--images", choices=["raw", "png", "float"], default="raw")
    parser.add_argument("--max-size", type=int, default=256 * 10**6, help="bytes that no shard exceeds")
    parser.add_argument("--workers", type=int, default=0, help="background processes")
    given = parser.parse_args(words)
    if given.path.is_dir():
        source: dict[str, Any] = {"name": "image_folder", "path": str(given.path), "size": given.size}
    elif given.target is None:
        parser.error("a table needs --target COLUMN")
    else:
        source = {
            "name": "table", "path": str(given.path), "target": given.target, "groups": given.groups
        }  # fmt: skip
    own_split = given.path.is_dir() and any((given.path / n).is_dir() for n in ("validation", "val", "valid"))
    splits_section = {"validation": 0 if own_split else 0.2, "test": 0}
    try:
        splits = read_splits(DataConfig.model_validate({"source": source, "splits": splits_section}), seed=0)
        manifest = write_shards(
            splits, given.out, group_columns=["label", *given.groups], made_from=fingerprint(splits),
            max_size=given.max_size, images=given.images, workers=given.workers,
        )  # fmt: skip
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for name, split in manifest.splits.items():
        print(f"{name}: {split.samples:,} samples in {len(split.shards):,} shards")
    return 0


if __name__ == "__main__":
    sys.exit(main())
