import csv
import json
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from framework.config.schema import SplitConfig
from framework.data.batch import NO_TOKEN
from framework.data.dataset import Dataset, Splits
from framework.data.splits import make_splits
from framework.data.text.blocks import TokenBlocks
from framework.data.unfitted import fit
from framework.errors import ConfigError, DataError
from tests.data_samples import component

END = 256


def blocks(**options: Any) -> TokenBlocks:
    packed = fit(component("dataset", "text", **options))["train"]
    assert isinstance(packed, TokenBlocks)
    return packed


def fetched(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    inputs, targets = dataset.fetch(np.arange(len(dataset)), None)
    assert isinstance(inputs, Tensor)
    return inputs.numpy(), targets.numpy()


def read_back(dataset: Dataset) -> dict[str, bytes]:
    """What the counted targets of each domain say, `|` for the end of a document."""
    _, targets = fetched(dataset)
    domain = dataset.columns["domain"]
    return {
        name: bytes(
            ord("|") if token == END else token
            for row in targets[domain.values == number]
            for token in row
            if token != NO_TOKEN
        )
        for number, name in enumerate(domain.names)
    }


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for name, content in {"prose/b": "hello", "prose/a": "so it was", "verse.txt": "Ästhetik"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


def test_every_token_and_end_is_the_target_once_in_a_block_of_its_domain(library: Path) -> None:
    data = blocks(path=str(library), length=4)
    assert read_back(data) == {"prose": b"so it was|hello|", "verse": "Ästhetik|".encode()}
    inputs, targets = fetched(data)
    assert inputs.shape == targets.shape == (7, 4)
    assert (inputs[0, 0], inputs[4, 0]) == (END, END)
    # each input is what the position before predicted
    assert (inputs[:4].ravel()[1:] == targets[:4].ravel()[:-1]).all()
    assert targets[6].tolist()[2:] == [NO_TOKEN, NO_TOKEN]
    assert data.tokens.dtype == np.uint16


def test_columns_count_tokens_and_bytes(library: Path) -> None:
    data = blocks(path=str(library), length=4)
    _, targets = fetched(data)
    assert data.extra["num_tokens"].tolist() == (targets != NO_TOKEN).sum(axis=1).tolist()
    assert data.extra["num_bytes"].tolist() == ((targets != NO_TOKEN) & (targets != END)).sum(axis=1).tolist()
    assert data.spec.num_tokens == 257
    assert data.spec.next_tokens


def test_selected_blocks_are_the_same_blocks(library: Path) -> None:
    data = blocks(path=str(library), length=4)
    picked = data.select(np.array([5, 0]))
    for whole, part in zip(fetched(data), fetched(picked), strict=True):
        assert (whole[[5, 0]] == part).all()
    assert picked.columns["domain"].values.tolist() == [1, 0]


def test_no_document_is_in_two_splits(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        (folder / f"{number}").write_text(f"<{number:02}>" * 5)
    raw: Splits = component("dataset", "text", path=str(tmp_path), length=8)
    config = SplitConfig(validation=0.2, test=0.2, stratify="domain")
    splits = fit(make_splits(raw, config, seed=0))
    found = {
        name: {part[1:3] for text in read_back(dataset).values() for part in text.split(b"|") if part}
        for name, dataset in splits.items()
    }
    assert {name: len(part) for name, part in found.items()} == {"train": 12, "validation": 4, "test": 4}
    assert len(set.union(*found.values())) == 20


def test_domains_by_name_from_archives_and_patterns(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for name in ("z/one.txt", "z/two.txt", "z/README"):
            archive.writestr(name, name)
    (tmp_path / "x.md").write_text("x")
    (tmp_path / "y.md").write_text("y")
    folder = str(tmp_path)
    domains = {"a": f"{folder}/z.zip:*.txt", "b": [f"{folder}/*.md", f"{folder}/z.zip:*README"]}
    assert read_back(blocks(domains=domains, length=5)) == {
        "a": b"z/one.txt|z/two.txt|",
        "b": b"x|y|z/README|",
    }


def test_rows_are_documents_with_a_column_for_the_domain(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text('source\tleft\tright\nweb\t"a\tb\nbook\tc\td"\nweb\te\tf\n')
    (tmp_path / "t.jsonl").write_text(json.dumps({"left": "g", "right": "h", "source": "book"}) + "\n\n")
    options: dict[str, Any] = {"text": ["left", "right"], "domain_column": "source", "length": 9}
    found = read_back(blocks(domains={"all": f"{tmp_path}/t.*"}, **options))
    assert found == {"book": b'g\nh|c\nd"|', "web": b'"a\nb|e\nf|'}


def test_a_row_may_be_longer_than_the_limit_of_python(tmp_path: Path) -> None:
    csv.field_size_limit(131_072)
    (tmp_path / "t.tsv").write_text(f"text\n{'a' * 150_000}\n")
    assert read_back(blocks(path=str(tmp_path), length=1000)) == {"t": b"a" * 150_000 + b"|"}


def test_long_documents_are_cut_at_line_ends(tmp_path: Path) -> None:
    (tmp_path / "book").write_text("one\ntwo\nthree\nfour is long\n")
    data = component("dataset", "text", path=str(tmp_path), length=9, cut_documents=8)
    assert read_back(fit(data)["train"]) == {"book": b"one\ntwo\n|three\n|four is long\n|"}
    limited = blocks(path=str(tmp_path), length=9, cut_documents=8, max_tokens=11)
    assert read_back(limited) == {"book": b"one\ntwo\n|thr|"}


def test_a_tokenizer_file(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {"<eos>": 0, "the": 1, "cat": 2, "sat": 3, "[UNK]": 4}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    (tmp_path / "t").mkdir()
    made.save(str(tmp_path / "t" / "tokenizer.json"))
    (tmp_path / "text.txt").write_text("the cat sat")
    data = blocks(path=str(tmp_path / "text.txt"), length=4, tokenizer=str(tmp_path / "t"))
    inputs, targets = fetched(data)
    assert (inputs.tolist(), targets.tolist()) == ([[0, 1, 2, 3]], [[1, 2, 3, 0]])
    assert data.extra["num_bytes"].tolist() == [11.0]
    assert data.spec.num_tokens == 5
    with pytest.raises(DataError, match="no token '</s>'"):
        blocks(path=str(tmp_path / "text.txt"), length=4, tokenizer=str(tmp_path / "t"), end_token="</s>")


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.txt", b"fine\nna\xefve\n", {}, r"a\.txt, line 2: not utf-8 \(byte 0xef\); set `encoding`"),
        ("a.txt", b" \n", {}, r"a\.txt: empty text; remove it, or set skip_empty=true"),
        ("a.txt", b" \n", {"skip_empty": True}, "there are no documents"),
        ("a.tsv", b"text\tb\nx\ty\nz\n", {}, r"a\.tsv, line 3: 1 values, but there are 2 columns"),
        ("a.tsv", b"txt\nx\n", {}, r"line 2: no column 'text'; did you mean txt\? \(columns: txt\)"),
        ("a.tsv", b"text\nx\n\t\n", {}, r"line 3: 2 values"),
        ("a.csv", b'text\nx\n" "\n', {}, r"a\.csv, line 3: empty text"),
        ("a.jsonl", b'{"text": "x"}\n{"text"\n', {}, r"a\.jsonl, line 2: not JSON"),
        ("a.jsonl", b'["x"]\n', {}, r"a\.jsonl, line 1: expected an object"),
        ("a.jsonl", b'{"text": null}\n', {}, r"a\.jsonl, line 1: empty text"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', {}, r"a\.jsonl, line 1: half of a surrogate pair"),
        ("a.csv", b"text\nx\n", {"domain_column": "of"}, r"a\.csv, line 2: no column 'of'"),
        ("a.zip", b"PK no", {}, r"a\.zip: not a readable zip archive"),
    ],
)
def test_broken_files_are_named_with_the_line(
    name: str, content: bytes, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        component("dataset", "text", path=str(tmp_path), length=4, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "no/such"}, "does not exist"),
        ({"path": "no/*.such"}, "no file is there"),
        ({}, "give either path"),
        ({"path": ".", "encoding": "utf8x"}, "unknown encoding 'utf8x'"),
        ({"path": ".", "encoding": "rot13"}, "unknown encoding 'rot13'"),
        ({"path": ".", "end_token": "x"}, "leave end_token out"),
        ({"path": ".", "tokenizer": "no/such"}, "does not exist"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        component("dataset", "text", length=4, **options)


def test_pythons_own_library() -> None:
    data = fit(component("dataset", "python_library", length=64, max_tokens=1000))["train"]
    start = (Path(sysconfig.get_paths()["stdlib"]) / "asyncio" / "__init__.py").read_bytes()[:200]
    assert read_back(data)["code"].startswith(start)
    assert data.columns["domain"].names == ("code", "documentation", "tables")
