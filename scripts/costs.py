"""What a core costs: time, state, and what the backward pass keeps.

Shapes: T steps, B sequences in the batch, I inputs, O outputs; here both are
`NUM_BITS`. N slots of memory.
"""

import dataclasses
import functools
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from dnc_jax import losses, training
from dnc_jax.config import ModelConfig
from dnc_jax.training import OptimiserConfig
from scripts import counts

NUM_BITS = 8

# Names of the cores that can be measured, and what they stand for.
CORES: Mapping[str, Mapping[str, Any]] = {
  "dnc": {},
  "dnc_no_links": {"links": "off"},
  "dnc_sparse_links": {"links": "sparse"},
  "dnc_stop_gradient": {"links": "stop_gradient"},
  "dnc_bfloat16_links": {"bfloat16_links": True},
  "ntm": {"core": "ntm"},
  "mann": {"core": "mann"},
  "sam": {"core": "sam"},
  "sdnc": {"core": "sdnc"},
  "lstm": {"core": "none"},
}

# How time is told: as it passes, or what the process's threads take of it. The
# latter does not count what other work on the machine takes, nor what an
# accelerator does.
CLOCKS: Mapping[str, Callable[[], float]] = {
  "wall": time.perf_counter,
  "cpu": time.process_time,
}

# Lengths whose difference tells what one step keeps.
_SHORT, _LONG = 4, 8


class Cell(NamedTuple):
  """What is measured.

  Attributes:
    core: Its name in `CORES`.
    config: The model.
    num_steps: T, at least 1.
    batch_size: B, at least 1.
    size: Name of the sizes, if they have one.
  """

  core: str
  config: ModelConfig
  num_steps: int
  batch_size: int
  size: str | None = None

  @property
  def name(self) -> str:
    """The core, and the sizes where they have a name."""
    return self.core if self.size is None else f"{self.core}, {self.size}"


class Cost(NamedTuple):
  """What one compiled function costs.

  Attributes:
    compile_seconds: Time to trace and to compile it.
    median_ms: Milliseconds for each time step of the sequences, the median of
      the repeats; all one-off work of the call divided among the steps.
    least_ms: Of the fastest repeat.
    most_ms: Of the slowest.
    temporary_bytes: The most memory that it holds beside what it is given and
      what it gives, as the compiler plans it; None where it does not tell.
    operations: Of a whole call, as `counts.Counts` has them.
    named_bytes: Likewise.
  """

  compile_seconds: float
  median_ms: float
  least_ms: float
  most_ms: float
  temporary_bytes: int | None
  operations: int
  named_bytes: int


class Row(NamedTuple):
  """What was found of a cell.

  Attributes:
    cell: What was measured.
    num_params: Numbers in the parameters.
    state_bytes: State of one sequence.
    kept_bytes: What the backward pass keeps of a time step; see `kept_bytes`.
    forward: From inputs to logits; None where skipped, as is ``update``.
    update: One step of training.
    skipped: Why it was not run; None where it was.
    peak_bytes: The most memory that this process ever held until then, JAX and
      its compiler included; None where the system does not tell.
  """

  cell: Cell
  num_params: int
  state_bytes: int
  kept_bytes: int
  forward: Cost | None = None
  update: Cost | None = None
  skipped: str | None = None
  peak_bytes: int | None = None


def random_batch(num_steps: int, batch_size: int) -> losses.Batch:
  """Returns random bits ``[T, B, NUM_BITS]``, each to be said at once."""
  rng = np.random.default_rng(0)
  bits = rng.integers(0, 2, (num_steps, batch_size, NUM_BITS))
  bits = bits.astype(np.float32)
  return losses.Batch(
    inputs=bits,
    targets=bits,
    mask=np.ones(bits.shape[:2], np.float32),
    lesson=np.zeros(batch_size, np.int32),
  )


def kept_bytes(config: ModelConfig, batch_size: int) -> int:
  """Returns what a forward pass keeps of a time step for the backward pass.

  These are the leaves of what `jax.vjp` gives, known by their shapes alone:
  nothing is computed. What a scan keeps of its steps it stacks, ``[T, ...]``;
  what is the same at each step, such as parameters, it keeps once, and the
  inputs are there anyway. So the difference between two lengths, divided by the
  difference of the lengths, is what a step adds. The loss, which keeps a few
  numbers for each output, is not part of it.

  Args:
    config: The model, of outputs as in this module.
    batch_size: B. All sequences count.
  """
  forward = training.make_forward(config)

  def residuals(params: Any, inputs: jax.Array) -> list[jax.Array]:
    _, backward = jax.vjp(lambda x: forward.apply(x, inputs), params)
    kept = {id(x): x for x in jax.tree.leaves(backward) if x is not inputs}
    return list(kept.values())

  def total(num_steps: int) -> int:
    inputs = jax.ShapeDtypeStruct((num_steps, batch_size, NUM_BITS), np.float32)
    params = jax.eval_shape(forward.init, jax.random.key(0), inputs)
    kept = jax.eval_shape(residuals, params, inputs)
    return sum(x.size * x.dtype.itemsize for x in kept)

  return (total(_LONG) - total(_SHORT)) // (_LONG - _SHORT)


def measure(
  cell: Cell,
  optimiser: OptimiserConfig,
  *,
  repeats: int,
  most_bytes: int,
  clock: str = "wall",
) -> Row:
  """Returns what a cell costs, unless it needs too much memory.

  Before anything is compiled, the states and what is kept of all steps are
  counted; before anything is run, what the compiler plans to hold.

  Args:
    cell: What to measure.
    optimiser: How it is trained.
    repeats: Timed calls of each function, at least 1, after one that is not.
    most_bytes: Memory that it may take.
    clock: Name in `CLOCKS`.
  """
  now = CLOCKS[clock]
  batch = random_batch(cell.num_steps, cell.batch_size)
  slots = cell.config.memory_size
  initial_state = functools.partial(
    training.init_state, cell.config, optimiser, NUM_BITS, seed=0
  )
  state = jax.eval_shape(initial_state)  # Nothing is computed yet.
  kept = kept_bytes(cell.config, cell.batch_size)
  row = Row(
    cell,
    training.num_params(state.params),
    training.state_bytes(cell.config),
    kept,
  )
  states = cell.batch_size * row.state_bytes
  chunk = min(optimiser.chunk_length or cell.num_steps, cell.num_steps)
  needed = cell.num_steps // chunk * states + chunk * kept
  if needed > most_bytes:
    return row._replace(skipped=_too_much(needed, most_bytes))

  def traces(optimiser: OptimiserConfig) -> tuple[Callable[[], Any], ...]:
    """Returns what traces a pass forward, and an update."""
    forward = training.make_forward(cell.config, kernels=optimiser.kernels)
    # Of these, only an update uses up what it is given.
    update: Any = training.make_update(cell.config, optimiser, losses.bits)
    return (
      lambda: jax.jit(forward.apply).trace(state.params, batch.inputs),
      lambda: update.trace(state, batch, 0, slots),
    )

  # What native kernels do is no program that JAX knows: XLA's does the same.
  known = dataclasses.replace(optimiser, kernels="xla")
  compiled, seconds, counted = [], [], []
  for trace, trace_known in zip(traces(optimiser), traces(known), strict=True):
    began = now()
    traced = trace()
    compiled.append(traced.lower().compile())
    seconds.append(now() - began)
    counted.append(
      counts.count((traced if known == optimiser else trace_known()).jaxpr)
    )
    if (needed := _planned(compiled[-1])) > most_bytes:
      return row._replace(skipped=_too_much(needed, most_bytes))
  run_forward, run_update = compiled
  state = initial_state()

  def forward(_: int) -> Any:
    return run_forward(state.params, batch.inputs)

  def train(step: int) -> Any:
    nonlocal state
    state, scores = run_update(state, batch, step)
    return state, scores

  costs = [
    _cost(call, program, took, cell.num_steps, repeats, now, found)
    for call, program, took, found in zip(
      (forward, train), compiled, seconds, counted, strict=True
    )
  ]
  return row._replace(
    forward=costs[0], update=costs[1], peak_bytes=peak_bytes()
  )


def more_ms(rows: Sequence[Row], row: Row) -> tuple[float, float] | None:
  """Returns what one more time step takes: forward, and in training.

  From this row and that of the shortest sequences that is like it else, by the
  fastest repeats: what is done once in a call, whatever T, is not in it.

  Args:
    rows: Rows measured so far.
    row: One of them.

  Returns:
    Milliseconds; None where there is no row to compare with.
  """
  cell = row.cell
  shorter = [
    x
    for x in rows
    if x.cell._replace(num_steps=cell.num_steps) == cell
    and x.cell.num_steps < cell.num_steps
    and x.skipped is None
  ]
  if row.skipped is not None or not shorter:
    return None
  short = min(shorter, key=lambda x: x.cell.num_steps)
  steps, fewer = cell.num_steps, short.cell.num_steps
  forward, update = (
    (now.least_ms * steps - then.least_ms * fewer) / (steps - fewer)
    for now, then in (
      (row.forward, short.forward),
      (row.update, short.update),
    )
    if now is not None and then is not None
  )
  return forward, update


def peak_bytes() -> int | None:
  """Returns the most memory that this process has held until now, in bytes.

  None where the system does not tell.
  """
  try:
    import resource
  except ImportError:  # Windows.
    return None
  most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return most if sys.platform == "darwin" else 1024 * most


def as_bytes(number: int | None) -> str:
  """Returns a number of bytes as people read it: 1,000 B, 1.05 MB."""
  if number is None:
    return "-"
  for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
    if number >= 10 * size or (number >= size and unit != "kB"):
      return f"{number / size:.3g} {unit}"
  return f"{number:,} B"


def _too_much(needed: int, most_bytes: int) -> str:
  return f"needs {as_bytes(needed)}, more than {as_bytes(most_bytes)}"


def _planned(compiled: Any) -> int:
  """Returns what the compiler plans to hold, 0 where it does not tell."""
  plan = compiled.memory_analysis()
  if plan is None:
    return 0
  return (
    plan.temp_size_in_bytes
    + plan.argument_size_in_bytes
    + plan.output_size_in_bytes
    - plan.alias_size_in_bytes
  )


def _cost(
  call: Callable[[int], Any],
  compiled: Any,
  seconds: float,
  num_steps: int,
  repeats: int,
  now: Callable[[], float],
  counted: counts.Counts,
) -> Cost:
  """Returns the cost of a function that is called with 0, 1, 2, ..."""
  jax.block_until_ready(call(0))
  times = []
  for index in range(1, repeats + 1):
    began = now()
    jax.block_until_ready(call(index))
    times.append(1000 * (now() - began) / num_steps)
  plan = compiled.memory_analysis()
  return Cost(
    compile_seconds=seconds,
    median_ms=statistics.median(times),
    least_ms=min(times),
    most_ms=max(times),
    temporary_bytes=None if plan is None else plan.temp_size_in_bytes,
    **counted._asdict(),
  )
