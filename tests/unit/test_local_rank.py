"""The option that deepspeed's launcher puts before a user's words."""

from __future__ import annotations

import pytest

from framework.__main__ import main


@pytest.mark.parametrize("option", ["--local_rank=1", "--local-rank=0"])
def test_a_launchers_option_is_passed_over(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert main([option, "--version"]) == 0
    assert capsys.readouterr().out.startswith("framework")


def test_a_users_option_is_unknown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert main(["--local_rank=1", "conf=vit_rgd.yaml"]) == 2
    assert "--local_rank" in capsys.readouterr().err
