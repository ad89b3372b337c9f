"""Other DNCs, trained beside ours in turn.

Shapes: T steps, B sequences in the batch.
"""

import importlib
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from dnc_jax import losses, training
from dnc_jax.training import OptimiserConfig
from scripts import costs, markdown, plain
from scripts.costs import NUM_BITS, Cell

# Does one step of training, to its end, and returns the loss before it.
Step = Callable[[], float]

# What a run should take at least, in seconds, so that a clock can tell.
_SHORTEST_RUN = 0.1

COLUMNS = (
  "core",
  "slots",
  "steps",
  "ours, ms",
  "peer's, ms",
  "ratio of medians",
  "ratio of the fastest",
  "first call: ours, s",
  "peer's, s",
)


class Peer(NamedTuple):
  """Another DNC.

  Attributes:
    make: From a `Cell` and an optimiser to a `Step`. It raises `ValueError`
      where something is missing.
    note: What to know of it beside its numbers.
  """

  make: Callable[[Cell, OptimiserConfig], Step]
  note: str


class Times(NamedTuple):
  """How long something took.

  Attributes:
    first_seconds: The first call, which compiles what is compiled.
    milliseconds: Of a step of training, one for each run.
    loss: Of the last step.
  """

  first_seconds: float
  milliseconds: Sequence[float]
  loss: float

  @property
  def median_ms(self) -> float:
    """The median of the runs."""
    return statistics.median(self.milliseconds)

  @property
  def least_ms(self) -> float:
    """The fastest run."""
    return min(self.milliseconds)

  def __str__(self) -> str:
    """Returns the median (fastest to slowest)."""
    return (
      f"{self.median_ms:.3g} ({self.least_ms:.3g} to "
      f"{max(self.milliseconds):.3g})"
    )


class Duel(NamedTuple):
  """What was found of ours and a peer, in turn.

  Attributes:
    cell: What was measured.
    ours: Our times.
    peers: The peer's.
  """

  cell: Cell
  ours: Times
  peers: Times

  @property
  def of_medians(self) -> float:
    """How many times as long the peer takes, by the medians."""
    return self.peers.median_ms / self.ours.median_ms

  @property
  def of_least(self) -> float:
    """Likewise by the fastest, which other work disturbs least."""
    return self.peers.least_ms / self.ours.least_ms


def make_ours(cell: Cell, optimiser: OptimiserConfig) -> Step:
  """Returns our step of training, as `scripts.train` does it."""
  state = training.init_state(cell.config, optimiser, NUM_BITS, seed=0)
  update = training.make_update(cell.config, optimiser, losses.bits)
  batch = jax.device_put(costs.random_batch(cell.num_steps, cell.batch_size))
  steps = 0

  def step() -> float:
    nonlocal state, steps
    state, scores = update(state, batch, steps, cell.config.memory_size)
    steps += 1
    # One program gives all of it at once: with the loss the state is there.
    return scores.loss.item()

  return step


def make_plain(cell: Cell, optimiser: OptimiserConfig) -> Step:
  """Returns the step of training of `scripts.plain`."""
  state = training.init_state(cell.config, optimiser, NUM_BITS, seed=0)
  update = plain.make_update(cell.config, optimiser)
  batch = jax.device_put(costs.random_batch(cell.num_steps, cell.batch_size))

  def step() -> float:
    nonlocal state
    state, loss = update(state, batch)
    return loss.item()

  return step


def make_dnc(cell: Cell, optimiser: OptimiserConfig) -> Step:
  """Returns the step of training of PyPI's ``dnc``, on the CPU.

  Raises:
    ValueError: torch or dnc is missing, or ours would not be on the CPU.
  """
  try:
    # Neither is a dependency, so that no type checker knows them either.
    torch: Any = importlib.import_module("torch")
    dnc: Any = importlib.import_module("dnc")
  except ImportError as error:
    raise ValueError(
      f"peer dnc needs torch and dnc, got {error}. Install them: pip install "
      "torch, then pip install --no-deps dnc==1.1.0."
    ) from None
  if jax.default_backend() != "cpu":
    raise ValueError(
      f"peer dnc runs on the CPU, and ours on {jax.default_backend()!r}. Set "
      "JAX_PLATFORMS=cpu."
    )
  torch.set_num_threads(int(os.environ.get("NPROC", os.cpu_count() or 1)))
  torch.manual_seed(0)
  config = cell.config
  model = dnc.DNC(
    input_size=NUM_BITS,
    hidden_size=config.hidden_size,
    rnn_type="lstm",
    num_layers=1,
    num_hidden_layers=1,
    nr_cells=config.memory_size,
    cell_size=config.word_size,
    read_heads=config.num_reads,
    batch_first=True,
    gpu_id=-1,
    clip=20,
  )
  if optimiser.optimiser == "adam":
    own = torch.optim.Adam(model.parameters(), lr=optimiser.learning_rate)
  else:
    own = torch.optim.RMSprop(
      model.parameters(),
      lr=optimiser.learning_rate,
      alpha=0.9,
      eps=optimiser.epsilon,
    )
  batch = costs.random_batch(cell.num_steps, cell.batch_size)
  bits = torch.from_numpy(batch.inputs).transpose(0, 1).contiguous()

  def step() -> float:
    own.zero_grad()
    logits, _ = model(
      bits, (None, None, None), reset_experience=True, pass_through_memory=True
    )
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
      logits, bits, reduction="sum"
    )
    loss /= cell.batch_size
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), optimiser.max_grad_norm)
    own.step()
    return float(loss.detach())

  return step


PEERS: Mapping[str, Peer] = {
  "plain": Peer(
    make_plain,
    "plain: the same DNC from the same parameters, written the obvious way in "
    "JAX (scripts/plain.py).",
  ),
  "dnc": Peer(
    make_dnc,
    "dnc: dnc 1.1.0 of PyPI, on torch. It computes less than a DNC, which its "
    "times gain from: what it reads never reaches its controller, which hears "
    "zeros instead at every step; reads only go to the output.",
  ),
}


def alternate(
  cell: Cell,
  peer: Peer,
  optimiser: OptimiserConfig,
  *,
  repeats: int,
  clock: str = "wall",
) -> Duel:
  """Returns how long a step of training takes, ours and a peer's.

  They run in turn: ours, the peer, ours, the peer, ... A run is one step, or as
  many as it takes to last for a tenth of a second.

  Args:
    cell: A DNC.
    peer: Whom to run beside it.
    optimiser: How both are trained.
    repeats: Runs of each, at least 1.
    clock: Name in `costs.CLOCKS`.
  """
  now = costs.CLOCKS[clock]
  both = [make(cell, optimiser) for make in (make_ours, peer.make)]
  firsts, runs = [], []
  for step in both:
    began = now()
    step()
    firsts.append(now() - began)
    began = now()
    step()
    taken = max(now() - began, 1e-6)
    runs.append(max(1, round(_SHORTEST_RUN / taken)))
  found: list[list[float]] = [[], []]
  last = [0.0, 0.0]
  for _ in range(repeats):
    for index, step in enumerate(both):
      began = now()
      for _ in range(runs[index]):
        last[index] = step()
      found[index].append(1000 * (now() - began) / runs[index])
  return Duel(cell, *map(Times, firsts, found, last))


def line(duel: Duel) -> str:
  """Returns a row of the table, in Markdown."""
  texts = (
    duel.cell.name,
    f"{duel.cell.config.memory_size:,}",
    str(duel.cell.num_steps),
    str(duel.ours),
    str(duel.peers),
    f"{duel.of_medians:.2f}",
    f"{duel.of_least:.2f}",
    f"{duel.ours.first_seconds:.1f}",
    f"{duel.peers.first_seconds:.1f}",
  )
  return markdown.row(texts)


def as_json(duel: Duel) -> dict[str, Any]:
  """Returns a row, for JSON."""
  return {
    "ours": {**duel.ours._asdict(), "median_ms": duel.ours.median_ms},
    "peers": {**duel.peers._asdict(), "median_ms": duel.peers.median_ms},
    "ratio_of_medians": duel.of_medians,
    "ratio_of_least": duel.of_least,
  }
