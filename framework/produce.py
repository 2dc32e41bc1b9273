"""From a finished run to an artifact of it."""

from __future__ import annotations

from pathlib import Path

from framework.artifacts.base import Artifact, artifact_path
from framework.checkpoint.checkpoint import open_checkpoint
from framework.checkpoint.export import find_checkpoint
from framework.config.load import LoadedConfig
from framework.errors import UserError
from framework.parallel.collectives import on_main
from framework.parallel.process_group import process_group
from framework.parallel.world import World
from framework.registry import ComponentConfig, registry
from framework.run_folder import require_complete
from framework.training.assemble import assemble


def produce(run_dir: Path, loaded: LoadedConfig, section: ComponentConfig, out: Path | None) -> str:
    """Make the artifact that `section` names; every process of the run calls it.

    Args:
        run_dir: the run folder.
        loaded: its configuration.
        section: the artifact and its options.
        out: where to write it; None takes `artifacts/NAME` in the run folder.

    Returns:
        Where it is and what it holds, for a reader.

    Raises:
        UserError: the run is not complete or cannot give it, or the file cannot be written.
    """
    require_complete(run_dir, f"{section.name} is made of a complete run")
    world = World.detect()
    with process_group(world, loaded.config.launch.timeout_seconds):
        artifact: Artifact = registry.build("artifact", section)
        objection = artifact.objection(loaded.config)
        if objection:
            raise UserError(f"{run_dir} cannot give {section.name}: {objection}")
        found = on_main(lambda: find_checkpoint(run_dir, artifact.checkpoint).path, world)
        checkpoint = open_checkpoint(found, verify=False)
        run = assemble(loaded.config, world=world)
        run.meta = {"config": loaded.data, "data": run.data.fingerprint()}
        run.load(checkpoint)
        path = out if out is not None else artifact_path(run_dir, section.name, artifact.suffix)
        return f"{path}: {artifact.write(run, checkpoint, path)}"
