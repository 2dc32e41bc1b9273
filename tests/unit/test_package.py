from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import framework
from framework.registry import registry
from tests import tiny
from tests.registrations import rolled_back


def test_every_promised_name_is_there():
    assert set(framework.__all__) == set(framework._HOMES)
    for name in framework.__all__:
        assert getattr(framework, name).__module__ == framework._HOMES[name] or name in (
            "register",
            "Record",
            "Splits",
        )
    assert set(framework.__all__) <= set(dir(framework))


def test_a_name_that_is_not_promised():
    with pytest.raises(AttributeError, match="module 'framework' has no attribute 'polices'"):
        framework.polices  # noqa: B018


def test_importing_the_package_imports_no_torch():
    code = "import framework, sys; framework.UserError; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(framework.__path__[0]).parent)


def test_a_notebook_registers_a_policy_and_trains_with_it(tmp_path):
    with rolled_back():

        @framework.register.policy("twice")
        class Twice(framework.Policy):
            """Twice the mean."""

            needs_batch = False

            def weights(self, samples: framework.SampleLosses):
                return samples.loss.new_full(samples.loss.shape, 2 / samples.num_samples)

        assert "twice" in registry.names("policy")
        path = tiny.write(tmp_path)
        loaded = framework.load(str(path), ["policy={name: twice}", f"run.dir={tmp_path / 'run'}"])
        assert framework.train(loaded) == 0
    records = tiny.comparable(tmp_path / "run" / "metrics.jsonl")
    first = next(record for record in records if record["event"] == "train")
    assert first["objective"] == pytest.approx(2 * first["loss"], rel=0.2)
