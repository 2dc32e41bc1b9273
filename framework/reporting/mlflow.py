"""Numbers to MLflow: a server, a database, or a folder."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from framework.errors import UserError
from framework.registry import register
from framework.reporting.outbox import Outbox
from framework.reporting.scalars import scalars
from framework.reporting.tracker_identity import Identity
from framework.run_folder.same_run import CONFIG
from framework.training.hooks import Record, Reporter, RunHeader

logger = logging.getLogger("framework.reporting")

#: metrics and parameters that MLflow takes in one call
_METRICS_PER_CALL, _PARAMETERS_PER_CALL = 1000, 100
#: characters of a parameter's value that MLflow keeps
_LONGEST_VALUE = 6000
_OUTCOMES = {"finished": "FINISHED", "stopped": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
#: how long the end of a run waits for a server that does not answer, in seconds
PATIENCE = 30.0


@register.reporter("mlflow")
class MlflowReporter(Reporter):
    """Curves, parameters and the resolved configuration in MLflow; a resume goes on with the same MLflow run.

    It sends from a thread of its own: a server that is slow or down delays nothing, and gets what it missed
    when it is back. Of a resumed run only what MLflow does not hold yet is sent.

    Args:
        tracking_uri: `http://...` of a server, `sqlite:///FILE`, or `file:///FOLDER`; null takes the
            environment variable MLFLOW_TRACKING_URI, or else MLflow's own default.
        experiment: name of the experiment; null takes the run's name.
        groups: also send every measure of every group.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        tracking_uri: str | None = None,
        experiment: str | None = None,
        groups: bool = True,
    ) -> None:
        if importlib.util.find_spec("mlflow") is None:
            raise UserError("reporter mlflow needs a package: pip install framework[mlflow]")
        self._dir = run_dir
        self._uri = tracking_uri
        self._experiment = experiment or ""
        self._groups = groups
        self._identity = Identity(run_dir, "mlflow")
        self._client: Any = None
        self._run_id = ""
        self._sent: dict[str, int] = {}
        self._outbox: Outbox | None = None

    def start(self, header: RunHeader) -> None:
        """Begin to send; the first contact with MLflow is made by the sending thread."""
        # MLflow would try for minutes in one call; the outbox tries again itself, and can be stopped.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        if (self._uri or os.environ.get("MLFLOW_TRACKING_URI", "")).startswith("file:"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        self._experiment = self._experiment or header.name
        self._outbox = Outbox("mlflow", self._deliver)

    def record(self, record: Record) -> None:
        """Queue the numbers of a record with a step."""
        if self._outbox is not None and "step" in record:
            self._outbox.put({"record": record, "time": int(time.time() * 1000)})

    def close(self, outcome: str) -> None:
        """Send the rest, and how the run ended."""
        if self._outbox is None:
            return
        outbox, self._outbox = self._outbox, None
        outbox.put({"outcome": _OUTCOMES[outcome]})
        unsent = outbox.close(PATIENCE)
        if unsent:
            logger.warning("mlflow did not answer: %d records are in metrics.jsonl alone", unsent)

    def _deliver(self, messages: Sequence[Mapping[str, Any]]) -> None:
        from mlflow.entities import Metric

        if self._client is None:
            self._client = self._connect()
        fresh = [
            Metric(allowed(tag), value, message["time"], message["record"]["step"])
            for message in messages
            if "record" in message
            for tag, value in scalars(message["record"], groups=self._groups)
        ]
        # A resumed run repeats, bit for bit, what came after its checkpoint.
        fresh = [metric for metric in fresh if metric.step > self._sent.get(metric.key, -1)]
        for start in range(0, len(fresh), _METRICS_PER_CALL):
            part = fresh[start : start + _METRICS_PER_CALL]
            self._client.log_batch(self._run_id, metrics=part)
            self._sent |= {metric.key: metric.step for metric in part}
        if fresh:
            self._remember()
        for message in messages:
            if "outcome" in message:
                self._client.set_terminated(self._run_id, message["outcome"])

    def _connect(self) -> Any:
        """Find the run of an earlier start, or create one with its parameters."""
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self._uri)
        kept = self._identity.read()
        if kept.get("run_id"):
            self._run_id, self._sent = kept["run_id"], dict(kept.get("sent", {}))
            client.update_run(self._run_id, status="RUNNING")
            return client
        found = client.get_experiment_by_name(self._experiment)
        experiment = found.experiment_id if found else client.create_experiment(self._experiment)
        self._run_id = client.create_run(experiment, run_name=self._dir.name).info.run_id
        self._describe(client)
        self._remember()
        return client

    def _describe(self, client: Any) -> None:
        from mlflow.entities import Param

        path = self._dir / CONFIG
        options = flat(yaml.safe_load(path.read_text(encoding="utf-8")))
        parameters = [Param(allowed(key), text[:_LONGEST_VALUE]) for key, text in options]
        for start in range(0, len(parameters), _PARAMETERS_PER_CALL):
            client.log_batch(self._run_id, params=parameters[start : start + _PARAMETERS_PER_CALL])
        client.set_tag(self._run_id, "run.dir", str(self._dir))

    def _remember(self) -> None:
        self._identity.write({"run_id": self._run_id, "sent": self._sent})


def allowed(name: str) -> str:
    """`name` with what MLflow's names may not hold replaced: `a=b, c` becomes `a:b c`."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("=", ":").replace(",", ""))


def flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Key path and text of every leaf of a configuration."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(tree, list) and any(isinstance(item, Mapping) for item in tree):
        for number, item in enumerate(tree):
            yield from flat(item, f"{prefix}.{number}")
    else:
        yield prefix, str(tree)
