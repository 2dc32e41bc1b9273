import re
from pathlib import Path

import pytest
from PIL import Image

from framework.__main__ import main

EVIL = "</script><img src=x onerror=alert(1)>"


@pytest.fixture
def hostile(tmp_path: Path) -> str:
    """A run file whose data has names that steer browsers and terminals."""
    sites = [EVIL, "[bold]north[/bold]", "\x1b[31mred\x1b[0m"]
    rows = "".join(f'{n % 30},"{sites[n % 3]}",7,{n % 2}\n' for n in range(90))
    (tmp_path / "data.csv").write_text(f"x,site,same,y\n{rows}")
    path = tmp_path / "evil.yaml"
    path.write_text(
        "defaults: [digits_spurious, _self_]\nname: evil\ndata:\n"
        f"  source: {{name: table, path: {tmp_path}/data.csv, target: y, groups: [site]}}\n"
        "  transforms: []\n  groups: [site]\n"
    )
    return f"conf={path}"


def test_names_of_the_data_stay_text(
    hostile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "page.html"
    assert main(["data", hostile, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "group [bold]north[/bold]" in shown
    assert shown.splitlines()[-1] == f"page: {out}"
    page = out.read_text()
    assert EVIL not in page
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in page


def test_the_page_is_one_file_with_the_warnings_first(hostile: str, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert main(["data", hostile, "--out", str(out)]) == 0
    page = out.read_text()
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    titles = re.findall(r'<h2 id="([a-z]+)-title">', page)
    assert titles == ["doubts", "counts", "samples", "values", "duplicates"]
    doubts = page[page.index('id="doubts-title"') : page.index('id="counts-title"')]
    assert "Column same has the same value in all training samples (7)." in doubts
    assert "exactly the inputs" in doubts


def test_images_are_shown_by_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.html"
    assert main(["data", "conf=digits_spurious", f"--out={out}", "--samples", "100"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"group label=small, colour=green +31 +68 +68", shown)
    assert "Only a part of the samples was read (100 of 1,257 in train" in shown
    page = out.read_text()
    assert page.count('<img src="data:image/png;base64,') == 4 * 5
    assert "Group label=small, colour=green: 31 training samples" in page


def test_what_cannot_be_read_is_named_and_the_rest_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(30):
        file = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), number * 8).save(file)
    (tmp_path / "images" / "a" / "0.png").write_bytes(b"no image")
    words = [
        "conf=digits_spurious",
        f"data.source={{name: image_folder, path: {tmp_path}/images, size: 4}}",
        "data.transforms=[]",
        "data.groups=[label]",
        "data.splits={validation: 0, test: 0}",
        f"--out={tmp_path}/page.html",
    ]
    assert main(["data", *words]) == 0
    shown = capsys.readouterr().out
    assert re.search(
        r"\* train: 1 sample cannot be read; the first: .*a/0.png: .* Training stops there\.", shown
    )
    # of the five of group a, the first is the broken one
    assert (tmp_path / "page.html").read_text().count('<img src="data:image/png;base64,') == 9
    assert main(["data", *words, "data.on_error=quarantine"]) == 0
    assert "They are left out of training." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.grups=[label]"], "data.grups  unknown key; did you mean groups?"),
        (["data.groups=[colr]"], "data.groups  split 'train' has no column 'colr'; did you mean colour?"),
        (["--samples", "many"], "--samples must be a number of samples of at least 1, or all, not 'many'"),
        (["--samples", "0"], "--samples must be a number"),
        (["--out", "/proc/page.html"], "/proc/page.html cannot be written"),
    ],
)
def test_mistakes_are_one_message(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", "conf=digits_spurious", *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split(" "))
    assert not list(tmp_path.iterdir())
