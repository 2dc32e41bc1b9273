"""The sections of a run file. Options of components live in the components' own signatures."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from framework.options import Count, Fraction, Natural, NonNegative, OpenFraction, Positive
from framework.registry import KINDS, ComponentConfig, Of, registry

#: what every random generator accepts
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


#: when a sample or a shard cannot be read: end the run, or leave it out
OnError = Literal["stop", "quarantine"]


class Section(BaseModel):
    """A fixed section: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, use_attribute_docstrings=True)


class SplitConfig(Section):
    """Shares of the source's training samples that are set aside, for splits the source does not bring."""

    validation: Fraction = 0.15
    """Share set aside for validation; 0 when the source brings its own."""
    test: Fraction = 0.15
    """Share set aside for the test; 0 when the source brings its own."""
    stratify: str | None = "label"
    """Column whose proportions every split keeps; null for a plain random split."""
    seed: Seed | None = None
    """Seed of the split; null takes the run's seed. Fix it to compare seeds on one split."""


class SamplingConfig(Section):
    """How training samples are drawn; available to every policy."""

    name: Literal["uniform", "blocks", "group_balanced", "repeated", "weighted"] = "uniform"
    """`uniform`: each sample once per epoch; `blocks`: the same, reading a few shards at a time;
    `group_balanced`: every group equally likely; `repeated`: each sample once, and more often those
    that `path` marks; `weighted`: every group as likely as its weight says."""
    replacement: bool = True
    """For `group_balanced`: draw with replacement (n draws), or each group cut to the smallest."""
    shards: Count = 16
    """For `blocks`: shards whose samples are mixed with each other."""
    path: str | None = None
    """For `repeated`: FILE.npy or FILE.npz:KEY with a whole number per training sample, as 0 or 1."""
    up_weight: Natural = 1
    """For `repeated`: how often a sample comes beside the one time, for each 1 in the file."""
    weights: dict[str, NonNegative] | str | None = None
    """For `weighted`: the weight of every group by name, or a JSON file of them, as
    `produce RUN policy_state` writes it; they are divided by their sum."""
    by: list[str] | None = None
    """For `weighted`: the columns whose combinations have the weights; null takes data.groups."""


class DataConfig(Section):
    """Where samples come from, what is done to them, and which groups they form."""

    source: Annotated[ComponentConfig, Of("dataset")]
    """The dataset and its options."""
    transforms: list[Annotated[ComponentConfig, Of("transform")]] = []
    """Applied in this order: to the splits once, or to each sample as it is read."""
    splits: SplitConfig = SplitConfig()
    groups: list[str] = ["label"]
    """Metadata columns whose combinations are the groups of policy and evaluation."""
    policy_groups: list[str] | Literal["sample"] | None = None
    """Other groups for the policy alone: columns, or `sample` for one group per sample."""
    unknown_group: Literal["error", "other"] = "error"
    """What an evaluation sample of a group that training does not know is: an error, or group `other`."""
    sampling: SamplingConfig = SamplingConfig()
    workers: Natural = 0
    """Background processes that load samples; 0 loads in the main process."""
    on_error: OnError = "stop"
    """When a sample or a shard cannot be read: `stop` ends the run, `quarantine` leaves it out."""
    max_bad_fraction: Fraction = 0.01
    """For `quarantine`: the share of a split that may be left out before the run ends."""


class BatchConfig(Section):
    """The global batch and how it is cut."""

    size: Count = 64
    """Samples per optimizer step, over all processes."""
    micro: Count | None = None
    """Samples per process and forward pass; null takes the process's whole share at once."""
    accumulation: Literal["exact", "per_micro"] = "exact"
    """`exact`: the policy sees the global batch; `per_micro`: each micro-batch is a batch of its own."""


class EmaConfig(Section):
    """An exponential moving average of the weights, used for evaluation and export."""

    decay: OpenFraction = 0.999
    """Share of the old average kept at each step."""


class SamConfig(Section):
    """Sharpness-aware minimisation (SAM, arXiv 2010.01412): a step follows the gradient at the point of the
    largest loss near the weights, to first order; it costs a second forward and backward pass."""

    rho: Positive = 0.05
    """Distance of that point from the weights, in the norm of all parameters together."""
    adaptive: bool = False
    """Measure the distance relative to the size of each weight (ASAM, arXiv 2102.11600); rho is larger."""
    ascent: Literal["objective", "mean"] = "objective"
    """The loss that is largest there: the policy's objective, or the plain mean of the batch."""
    add_ascent: bool = False
    """Add the gradient of that loss at the weights to the one at the point (authors' code of SharpDRO)."""


class TrainConfig(Section):
    """How long and how to step."""

    epochs: Count | None = None
    """Passes over the training data; give this or `steps`."""
    steps: Count | None = None
    """Optimizer steps; give this or `epochs`."""
    clip_norm: Positive | None = None
    """Largest global gradient norm; null does not clip."""
    ema: EmaConfig | None = None
    """Average the weights; null does not."""
    sam: SamConfig | None = None
    """Take gradients at the worst point near the weights; null takes them at the weights."""
    reset_optimizer_after: Count | None = None
    """Steps after which the optimizer forgets its moments, once: DomainBed does so when the warm-up of a
    penalty ends; null never."""
    weight_decay_on: Literal["all", "matrices"] = "all"
    """Which parameters decay: all, or only those with two or more dimensions (no biases, no norms)."""
    max_skipped: Natural = 5
    """Steps in a row with non-finite numbers that are skipped before the run stops."""


class EvaluateConfig(Section):
    """When and on what the model is measured."""

    every_epochs: Count | None = 1
    """Evaluate `splits` after every so many epochs; null does not."""
    every_steps: Count | None = None
    """Evaluate `splits` after every so many steps; null does not."""
    splits: list[str] = ["validation"]
    """Splits measured during training."""
    final: list[str] = ["validation", "test"]
    """Splits measured once at the end, at the selected checkpoint."""
    batch_size: Count = 256
    """Samples per process and forward pass in evaluation."""


class SelectConfig(Section):
    """The one rule by which the reported checkpoint is chosen and training stops early."""

    metric: str = "worst_group_accuracy"
    """Name of the evaluation metric."""
    split: str = "validation"
    """Split it is read from; never the test split."""
    mode: Literal["auto", "max", "min"] = "auto"
    """Whether more or less is better; `auto` asks the task."""
    tie_break: Literal["group_average", "first"] = "group_average"
    """Between equal values of a worst-group metric: the better average over groups, or the earlier one."""
    patience: Count | None = None
    """Stop after so many evaluations without improvement; null trains to the end."""


class CheckpointConfig(Section):
    """When state is written and how much is kept."""

    every_epochs: Count | None = 1
    """Write after every so many epochs; null does not."""
    every_steps: Count | None = None
    """Write after every so many steps; null does not."""
    keep_last: Count = 2
    """Newest checkpoints kept, beside the best."""
    asynchronous: bool = True
    """Train on while it is written; costs a copy of the state in host memory."""


class LogConfig(Section):
    """How often numbers are written."""

    every_steps: Count = 10
    """Steps summed into one `train` record."""


class LaunchConfig(Section):
    """How the processes of a run start and wait for each other."""

    name: Literal["none", "local"] = "none"
    """`none`: as torchrun, srun or mpirun started them; `local`: the run starts them on this machine."""
    num_processes: Count | None = None
    """How many processes `local` starts."""
    timeout_seconds: Positive = 600.0
    """How long a process waits for the others before the run fails and says who is missing."""


class RunFolderConfig(Section):
    """The run folder."""

    dir: str | None = None
    """Where everything of the run goes; null takes runs/NAME/TIME-ID."""
    overwrite: bool = False
    """Delete what `dir` holds and start anew."""
    report: bool = True
    """Write report.html when the run ends."""


class RunConfig(Section):
    """One run, whole: what the YAML file says after composition and validation."""

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run's folder under `runs/`."""
    seed: Seed = 0
    """Seed of everything: weights, splits, order, augmentation, dropout."""
    plugins: list[str] = []
    """Plugins to load: names under plugins/, importable modules, installed entry points."""
    data: DataConfig
    model: Annotated[ComponentConfig, Of("model")]
    task: Annotated[ComponentConfig, Of("task")]
    policy: Annotated[ComponentConfig, Of("policy")]
    regularizers: list[Annotated[ComponentConfig, Of("regularizer")]] = []
    """Penalties added to the policy's objective."""
    optimizer: Annotated[ComponentConfig, Of("optimizer")]
    schedule: Annotated[ComponentConfig, Of("schedule")]
    engine: Annotated[ComponentConfig, Of("engine")]
    batch: BatchConfig = BatchConfig()
    train: TrainConfig
    evaluate: EvaluateConfig = EvaluateConfig()
    select: SelectConfig = SelectConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()
    callbacks: list[Annotated[ComponentConfig, Of("callback")]] = []
    """Observers, called in this order."""
    reporters: list[Annotated[ComponentConfig, Of("reporter")]] = []
    """Where numbers go beside metrics.jsonl and log.txt."""
    run: RunFolderConfig = RunFolderConfig()
    launch: LaunchConfig = LaunchConfig()
    resume: str = "auto"
    """`auto` continues what `run.dir` holds, `never` does not, else a run or checkpoint to start from."""


def rebuild() -> None:
    """Build the schema from what is registered now, plugins included; nothing if it is that already."""
    _build(tuple(registry.get(kind, name).model for kind in KINDS for name in registry.names(kind)))


@lru_cache(maxsize=1)
def _build(components: tuple[type[ComponentConfig], ...]) -> None:
    # A model that was used before keeps the schema it had then, so those that hold components go first.
    for model in components:
        if model.__pydantic_complete__:
            model.model_rebuild(force=True)
    DataConfig.model_rebuild(force=True)
    RunConfig.model_rebuild(force=True)
