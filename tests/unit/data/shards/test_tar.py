from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from framework.data.shards import tar
from framework.data.shards.tar import TarError


def archive(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """What the standard library writes."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as made:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        made.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mtime = 1.5
            made.addfile(info, io.BytesIO(content))
    return file.getvalue()


FILES = {
    "a/b.c/x1.seg.PNG": b"1" * 700,
    "a/b.c/x1.json": b"",
    "ü" * 30 + ".txt": b"22",
    "deep/" * 30 + "name.cls": b"3" * 512,
    "long" * 60 + ".npy": b"4",
    "__meta__": b"5",
    "nodot": b"6",
}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_names_and_places_are_those_of_the_standard_library(form: int) -> None:
    files = dict(FILES)
    if form == tarfile.USTAR_FORMAT:
        del files["long" * 60 + ".npy"]
    content = archive(files, form)
    members = tar.scan(content)
    with tarfile.open(fileobj=io.BytesIO(content)) as made:
        expected = [m for m in made.getmembers() if m.isfile()]
    assert members.names == [m.name for m in expected] == list(files)
    assert members.offsets == [m.offset_data for m in expected]
    assert members.sizes == [m.size for m in expected]


def test_written_members_are_read_by_the_standard_library() -> None:
    written = tar.member("a.npy", b"x" * 513) + tar.member("a.json", b"")
    content = written + tar.ending(len(written))
    assert len(content) % tarfile.RECORDSIZE == 0
    assert len(tar.member("a.npy", b"x" * 513)) == tar.padded(513)
    with tarfile.open(fileobj=io.BytesIO(content)) as made:
        assert [(m.name, m.size, m.mtime) for m in made.getmembers()] == [("a.npy", 513, 0), ("a.json", 0, 0)]
    with pytest.raises(ValueError, match="name is too long"):
        tar.member("x" * 101, b"")


def test_samples_are_grouped_by_the_name_up_to_the_first_dot() -> None:
    names = ["d.x/k1.a.png", "d.x/k1.JSON", "k2.png", "d/.hidden", "__skip__/k3.png", "k2.cls", "k1.png"]
    members = tar.Members(names, [0] * 7, [0] * 7)
    assert list(tar.group(members)) == [
        ("d.x/k1", {"a.png": 0, "json": 1}),
        ("k2", {"png": 2, "cls": 5}),
        ("k1", {"png": 6}),
    ]
    with pytest.raises(TarError, match=r"two members k\.1\.png"):
        list(tar.group(tar.Members(["k.1.png", "k.1.png"], [0, 0], [0, 0])))


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_cut_anywhere_is_noticed(form: int) -> None:
    content = archive(FILES, form)
    marks = content.rstrip(b"\0")
    for length in range(0, len(marks) + 511, 512):
        with pytest.raises(TarError, match="cut off"):
            tar.scan(content[:length])


def test_a_damaged_header_is_noticed() -> None:
    content = bytearray(archive({"a.txt": b"1"}, tarfile.USTAR_FORMAT))
    content[512 + 110] ^= 1
    with pytest.raises(TarError, match="damaged header at byte 512"):
        tar.scan(bytes(content))
    with pytest.raises(TarError):
        tar.scan(b"no archive, but longer than a block" * 20)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.tar").touch()
    with pytest.raises(TarError, match="empty"):
        tar.mapped(tmp_path / "empty.tar")
