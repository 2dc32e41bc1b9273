"""Missing and broken data files end in a message that names the file and the place in it."""

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from framework.data.build import build_data
from framework.data.dataset import Dataset
from framework.data.unfitted import fit
from framework.errors import ConfigError, DataError
from tests.data_samples import component, data_config

CSV = "a,b,y\n1,2,u\n3,4,v\n"
ARFF = "@relation r\n@attribute a real\n@attribute y {u,v}\n@data\n1,u\n2,v\n"
IDX = struct.pack(">BBBBI", 0, 0, 8, 1, 4) + bytes([0, 1, 0, 1])


def gzipped(content: bytes) -> bytes:
    """Without the time of day: it would be in the names of tests, and differ between processes."""
    return gzip.compress(content, mtime=0)


def nested() -> bytes:
    """A Parquet file with a list in each row."""
    file = io.BytesIO()
    pd.DataFrame({"a": [[1, 2], [3, 4]], "y": ["u", "v"]}).to_parquet(file)
    return file.getvalue()


TABLE_FAULTS = {
    "t.csv": [
        (b"", "t.csv: the file is empty"),
        (b"a,b,y\n", "t.csv: no rows"),
        (b"a,b,y\n1,2,u\n3,v\n", "t.csv, line 3: 2 values, but there are 3 columns"),
        (b"a,b,y\n1,2,u\n3,4,5,v\n", "t.csv, line 3: 4 values, but there are 3 columns"),
        (b"a,a,y\n1,2,u\n", "t.csv: column a is there twice"),
        (b"a,b\n1,2\n", r"t.csv: no column 'y' \(columns: a, b\)"),
        (b"a,b,y\n1,\xff\xfe,u\n", "t.csv: not a readable table: 'utf-8' codec can't decode"),
        (b"a,b,y\ninf,2,u\n", "t.csv: column 'a' is infinite in row 1"),
        (b"a,b,y\n1,2,\n1,2,u\n", "t.csv: target 'y' is missing in 1 rows, the first is row 1"),
    ],
    "t.csv.gz": [
        (gzipped(CSV.encode())[:-9], "t.csv.gz: not a readable table: Compressed file ended"),
        (CSV.encode(), "t.csv.gz: not a readable table: Not a gzipped file"),
        (gzipped(CSV.encode())[:10] + b"\xff" * 9, "t.csv.gz: not a readable table: Error -3"),
    ],
    "t.parquet": [
        (b"PAR1 and nothing more", "t.parquet: not a readable Parquet file"),
        (b"", "t.parquet: not a readable Parquet file"),
        (nested(), "column 'a' holds lists or objects, not one value per row; drop it"),
    ],
    "t.arff": [
        (b"@relation r\n@attribute a real\n", "t.arff: not a whole ARFF file: no @attribute or no @data"),
        (ARFF.encode() + b"3\n", "t.arff, line 7: 1 values, but 2 attributes are declared"),
        (ARFF.encode() + b"3,w\n", r"t.arff, line 7: 'w' is not a declared value of 'y' \(u, v\)"),
        (ARFF.encode() + b"x,u\n", "t.arff: 'x' in row 3 is no number, as 'a' must be"),
        (ARFF.encode() + b"{0 3}\n", "t.arff, line 7: sparse ARFF rows are not read"),
        (b"@attribute when date\n", "t.arff, line 1: type 'date' is not read"),
        (b"a,b\n1,2\n", "t.arff, line 1: not an ARFF declaration: a,b"),
    ],
    "t.xlsx": [(b"x", "t.xlsx: unknown kind of table '.xlsx'")],
}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [(name, content, message) for name, faults in TABLE_FAULTS.items() for content, message in faults],
)
def test_broken_tables(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        fit(component("dataset", "table", path=str(tmp_path / name), target="y"))


def npz(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def damaged(content: bytes) -> bytes:
    """Flip a byte of the first array, which the archive's checksum must notice."""
    place = content.index(b"NUMPY") + 100
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


GOOD = npz(x=np.zeros((4, 2)), y=np.array([0, 1, 0, 1]))

ARRAY_FAULTS = [
    ("d.npz", GOOD[: len(GOOD) // 2], "d.npz: not a readable .npz file at key y: File is not a zip"),
    ("d.npz", b"", "d.npz: not a readable .npz file"),
    ("d.npz", b"PK but no archive", "d.npz: not a readable .npz file"),
    ("d.npz", damaged(GOOD), "d.npz: not a readable .npz file at key x: Bad CRC-32"),
    ("d.npz", npz(z=np.zeros(3), y=np.zeros(3, int)), r"d.npz: no key 'x' \(keys: z, y\)"),
    ("d.npz", npz(x=np.array([{}], dtype=object), y=[0]), "d.npz: .* allow_pickle=False"),
    ("d.npz", npz(x=np.zeros((3, 2)), y=[0, 1]), "d.npz:y has 2 samples, but d.npz:x has 3"),
    ("d.npz", npz(x=np.zeros((2, 2)), y=np.zeros((2, 3))), r"d.npz:y: needs one number per sample"),
    ("d.npz", npz(x=np.zeros(2), y=[0, 1]), r"d.npz:x: shape \(2,\) is neither"),
    ("d.npz", npz(x=np.zeros((2, 2), complex), y=[0, 1]), "d.npz:x: needs real numbers, not complex128"),
]


@pytest.mark.parametrize(("name", "content", "message"), ARRAY_FAULTS)
def test_broken_archives(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    refs = {"inputs": f"{name}:x", "targets": f"{name}:y"}
    with pytest.raises(DataError, match=message):
        component("dataset", "arrays", folder=str(tmp_path), train=refs)


def test_numbers_to_learn_must_be_finite(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((3, 2)), y=[0.5, np.nan, 1], w=[1, 1, np.inf])
    refs = {"inputs": "d.npz:x", "targets": "d.npz:y"}
    for more, message in (({}, "y: sample 1 has"), ({"targets": "d.npz:w"}, "w: sample 2 has no finite")):
        with pytest.raises(DataError, match=message):
            component("dataset", "arrays", folder=str(tmp_path), kind="regression", train=refs | more)


def test_an_archive_with_a_pickle_runs_nothing(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    pickle = f"cos\nsystem\n(S'touch {trap}'\ntR.".encode()
    header = (
        b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(127) + b"\n"
    )
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("x.npy", header + pickle)
    refs = {"inputs": "d.npz:x", "targets": "d.npz:x"}
    with pytest.raises(DataError, match=r"d\.npz: not a readable \.npz file at key x"):
        component("dataset", "arrays", folder=str(tmp_path), train=refs)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzipped(IDX)[:-5], "l.gz: broken or cut gzip file: Compressed file ended"),
        (IDX, "l.gz: broken or cut gzip file: Not a gzipped file"),
        (gzipped(IDX[:-1]), r"l.gz: shape \(4,\) needs 12 bytes, the file has 11"),
        (gzipped(IDX[:6]), "l.gz: cut inside the header: 6 bytes"),
        (
            gzipped(b"hello world"),
            r"l.gz: not an idx file \(nor .npz or .npy\): it starts with 68 65 6c 6c",
        ),
    ],
)
def test_broken_idx_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "l.gz").write_bytes(content)
    refs = {"inputs": "l.gz", "targets": "l.gz"}
    with pytest.raises(DataError, match=message):
        component("dataset", "arrays", folder=str(tmp_path), train=refs)


def test_a_wrong_checksum_and_one_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "l.gz").write_bytes(gzipped(IDX))
    options = {"folder": str(tmp_path), "train": {"inputs": "l.gz", "targets": "l.gz"}}
    with pytest.raises(
        DataError, match=r"l\.gz has md5 [0-9a-f]{32}, but the configuration says 00; .* fetch it again"
    ):
        component("dataset", "arrays", **options, checksums={"l.gz": "md5:00"})
    with pytest.raises(ConfigError, match="checksum '00' must be ALGORITHM:HEX"):
        component("dataset", "arrays", **options, checksums={"l.gz": "00"})


def test_a_class_that_only_the_test_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 1)), y=[0, 1], z=[1, 5])
    refs = {"inputs": "d.npz:x", "targets": "d.npz:y"}
    test = {"inputs": "d.npz:x", "targets": "d.npz:z"}
    with pytest.raises(DataError, match=r"d\.npz:z: class 5 is not one of the 2 known from training"):
        component("dataset", "arrays", folder=str(tmp_path), train=refs, test=test)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("table", {"path": "{}/deep/er/t.csv", "target": "y"}),
        ("arrays", {"folder": "{}/deep/er", "train": {"inputs": "a.npz:x", "targets": "a.npz:y"}}),
        ("image_folder", {"path": "{}/deep/er", "size": 4}),
    ],
)
def test_missing_files_say_how_far_the_path_exists(
    tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    options = {
        key: value.format(tmp_path) if isinstance(value, str) else value for key, value in options.items()
    }
    message = rf"deep/er.* does not exist \(the folder {tmp_path} does\); put the data there or correct"
    with pytest.raises(DataError, match=message):
        component("dataset", name, **options)


def test_a_folder_for_a_file_and_a_file_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a folder, not a file; name the file itself"):
        component("dataset", "table", path=str(tmp_path), target="y")
    with pytest.raises(DataError, match="file is a file, not a folder; name the folder"):
        component("dataset", "image_folder", path=str(tmp_path / "file"), size=4)


def pictures(root: Path) -> Path:
    for name in ("train/a/1.png", "train/b/1.png", "test/a/1.png"):
        (root / name).parent.mkdir(parents=True)
        Image.fromarray(np.full((9, 9, 3), 120, np.uint8)).save(root / name)
    return root


def cut(root: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(root / "train/b/1.png")
    path = root / "train/b/1.png"
    path.write_bytes(path.read_bytes()[:3000])


def text(root: Path) -> None:
    (root / "train/b/1.png").write_text("no image")


def vanished(root: Path) -> None:
    (root / "train/b/1.png").unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (cut, r"train/b/1\.png: cannot be decoded as an image: .*truncated"),
        (text, r"train/b/1\.png: cannot be decoded as an image: cannot identify"),
        (vanished, r"train/b/1\.png: cannot be decoded as an image: .*No such file"),
    ],
)
def test_broken_images_are_named_when_they_are_read(
    tmp_path: Path, harm: Callable[[Path], None], message: str
) -> None:
    train: Dataset = component("dataset", "image_folder", path=str(pictures(tmp_path)), size=4)["train"]
    harm(tmp_path)
    train.fetch(np.array([0]), None)
    with pytest.raises(DataError, match=message):
        train.fetch(np.array([0, 1]), None)


def test_image_folders_without_images_classes_or_with_unknown_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no folders; images are expected in CLASS/FILE"):
        component("dataset", "image_folder", path=str(tmp_path), size=4)
    (tmp_path / "cats").mkdir()
    with pytest.raises(DataError, match=r"holds no \.jpeg, \.jpg, \.png file in its class folders"):
        component("dataset", "image_folder", path=str(tmp_path), size=4)
    pictures(tmp_path / "split")
    (tmp_path / "split/test/bb").mkdir()
    with pytest.raises(DataError, match=r"test: class bb is not in the training folder; did you mean b\?"):
        component("dataset", "image_folder", path=str(tmp_path / "split"), size=4)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"transforms": [{"name": "random_flip"}], "source": {"name": "digits", "flat": True}},
            r"data\.transforms\.0: random_flip: needs images",
        ),
        ({"groups": ["lable"]}, r"data\.groups: split 'train' has no column 'lable'; did you mean label\?"),
        ({"transforms": [{"name": "subsample", "fraction": 0.0}]}, "split 'train' is empty"),
        (
            {"transforms": [{"name": "subsample", "fraction": 0.5, "count": 3}]},
            "give exactly one of fraction, count and classes",
        ),
        (
            {"source": {"name": "synthetic_groups"}},
            r"data\.splits\.validation: the source brings its own .*\n.*data\.splits\.test",
        ),
    ],
)
def test_sections_that_do_not_fit_together(sections: dict[str, object], message: str) -> None:
    config = data_config(**{"source": {"name": "digits"}, **sections})
    with pytest.raises((ConfigError, DataError), match=message):
        build_data(config, 0)
