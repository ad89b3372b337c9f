"""What went on inside a network's memory on one sequence, in words.

Shapes: T steps, I inputs, O outputs, N slots, R read heads, H write heads.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import haiku as hk
import jax
import numpy as np

import dnc_jax
from dnc_jax.losses import Batch
from scripts.saved import RunConfig
from tasks import graphs
from tasks.base import SequenceTask
from tasks.graph_task import GraphTask

# Gates of all memories, in the order in which they are shown.
_GATES = (
  "free_gate",
  "allocation_gate",
  "write_gate",
  "interpolation_gate",
  "write_gates",
  "read_gates",
)
# A slot is written or read at a step if so much of a weight is on it.
HALF = 0.5
# Slots that have a line of their own in a summary.
_MOST_SLOTS = 16


class Inside(NamedTuple):
  """One sequence, and what a network's memory did on it.

  Attributes:
    inputs: What the network heard. Shape ``[T, I]``.
    targets: What it should have answered. Shape ``[T, O]``.
    scored: At which steps it was asked for an answer, bool. Shape ``[T]``.
    answers: What it answered, as probabilities in [0, 1]. Shape ``[T, O]``.
    right: Units answered right.
    count: Units asked for.
    logits: The answers as the network gives them. Shape ``[T, O]``.
    trace: What `dnc_jax.record` tells, without the batch: ``[T, ...]`` each.
  """

  inputs: np.ndarray  # [T, I]
  targets: np.ndarray  # [T, O]
  scored: np.ndarray  # [T]
  answers: np.ndarray  # [T, O]
  right: int
  count: int
  logits: np.ndarray  # [T, O]
  trace: dict[str, np.ndarray]

  def arrays(self) -> dict[str, np.ndarray]:
    """Returns all arrays by name."""
    names = ("inputs", "targets", "scored", "logits")
    return self.trace | {name: getattr(self, name) for name in names}


class Strip(NamedTuple):
  """Numbers of a gate or of one mode over time.

  Attributes:
    name: What they are, in words.
    values: In [0, 1]. Shape ``[T]``.
  """

  name: str
  values: np.ndarray


def look(
  config: RunConfig,
  params: hk.Params,
  task: SequenceTask,
  batch: Batch,
  index: int,
  memory_size: int,
) -> Inside:
  """Lets a network go through a sequence, and records what goes on.

  Args:
    config: The run that the network is of.
    params: Its parameters.
    task: What scores it.
    batch: Sequences.
    index: Which of them, without the steps after the last that is scored.
    memory_size: N, slots.

  Returns:
    What went on.
  """
  one = [np.asarray(x)[:, index : index + 1] for x in batch[:3]]
  end = int(np.flatnonzero(one[2]).max(initial=-1)) + 1
  inputs, targets, mask = (x[:end] for x in one)
  model = dataclasses.replace(config.model, memory_size=memory_size)

  def record(inputs: jax.Array) -> dnc_jax.Recorded:
    return dnc_jax.record(dnc_jax.make_core(model), inputs, memory=True)

  network = hk.without_apply_rng(hk.transform(record))
  recorded = jax.device_get(jax.jit(network.apply)(params, inputs))
  scores = task.objective(recorded.logits, targets, mask)
  logits = recorded.logits[:, 0]
  if isinstance(task, GraphTask):
    digits = logits.reshape(end, -1, graphs.BASE)
    answers = np.asarray(jax.nn.softmax(digits)).reshape(logits.shape)
  else:
    answers = np.asarray(jax.nn.sigmoid(logits))
  return Inside(
    inputs=inputs[:, 0],
    targets=targets[:, 0],
    scored=mask[:, 0] > 0,
    answers=answers,
    right=int(scores.right[0]),
    count=int(scores.count[0]),
    logits=logits,
    trace={name: x[:, 0] for name, x in recorded.trace.items()},
  )


def gates(trace: dict[str, np.ndarray]) -> list[Strip]:
  """Returns each gate of each head over time."""
  strips = []
  for name in _GATES:
    if name not in trace:
      continue
    values = trace[name].reshape(len(trace[name]), -1)
    word = name.removesuffix("s").replace("_", " ")
    strips += _of_heads(word, values)
  return strips


def modes(trace: dict[str, np.ndarray]) -> list[Strip]:
  """Returns how much of each way to move each head chose, over time.

  Of read modes: backward and forward along the links of each write head, and
  content. Of an NTM: how far along the slots.
  """
  strips = []
  if "read_mode" in trace:
    mode = trace["read_mode"]  # [T, R, 1 + 2H]
    writes = mode.shape[-1] // 2
    names = [
      f"{way}{_number(head, writes)}"
      for way in ("backward", "forward")
      for head in range(writes)
    ]
    for index, name in enumerate([*names, "content"]):
      strips += _of_heads(f"read mode: {name}", mode[..., index])
  for kind in ("write", "read"):
    shifts = trace.get(f"{kind}_shifts", np.zeros([0, 0, 0]))
    for index in range(shifts.shape[-1]):
      by = index - shifts.shape[-1] // 2
      strips += _of_heads(f"{kind} shift {by:+d}", shifts[..., index])
  return strips


def in_words(inside: Inside, unit: str) -> str:
  """Returns a summary: what was answered, slot by slot, gate by gate.

  Args:
    inside: What went on.
    unit: What a single right answer is called.
  """
  asked = int(inside.scored.sum())
  lines = [
    f"{len(inside.scored)} steps, of which {asked} are answered: "
    f"{inside.right} of {inside.count} {unit}s right.",
    "",
    *_slots_in_words(inside.trace),
    "",
  ]
  rows = [["", "told", "answered"]]
  for name, values in gates(inside.trace) + modes(inside.trace):
    rows.append(
      [name]
      + [
        f"{values[there].mean():.2f}" if there.any() else "-"
        for there in (~inside.scored, inside.scored)
      ]
    )
  if len(rows) > 1:
    lines.append("Means while the sequence is told and while it is answered:")
    lines += _table(rows)
  return "\n".join(lines)


def _slots_in_words(trace: dict[str, np.ndarray]) -> list[str]:
  """Returns lines on which slots were written and read how often."""
  written, read = _accesses(trace)
  used = np.flatnonzero(written.any(axis=0) | read.any(axis=0))
  size = written.shape[1]
  lines = [
    f"{len(used)} of {size} slots were written or read at a step with a weight "
    f"of {HALF:g} or more."
  ]
  if not len(used):
    return lines
  rows = [["slot", "written", "read"]]
  freed = frees(trace)
  if freed is not None:
    rows[0].append("written again after it was freed")
  counts = [written.sum(axis=0), read.sum(axis=0)]
  if freed is not None:
    counts.append(freed)
  # Those with most to tell, by number.
  most = np.argsort(-np.sum(counts, axis=0)[used], kind="stable")
  busiest = used[most[:_MOST_SLOTS]]
  for slot in sorted(busiest):
    rows.append([str(slot), *(str(x[slot]) for x in counts)])
  rest = np.setdiff1d(used, busiest)
  if len(rest):
    rows.append([f"{len(rest)} others", *(str(x[rest].sum()) for x in counts)])
  rows.append(["all", *(str(x.sum()) for x in counts)])
  return lines + _table(rows)


def frees(trace: dict[str, np.ndarray]) -> np.ndarray | None:
  """Returns how often each slot was written again after it was freed.

  It was freed if its usage fell below a half since it was last written.

  Args:
    trace: What `dnc_jax.record` tells, ``[T, ...]`` each.

  Returns:
    Shape ``[N]``; None if nothing is freed in this memory.
  """
  if "free_gate" not in trace:
    return None
  written = trace["write_weights"].max(axis=1) >= HALF
  usage = trace["usage"]
  counts = np.zeros(usage.shape[1], int)
  for slot in range(usage.shape[1]):
    steps = np.flatnonzero(written[:, slot])
    for before, again in itertools.pairwise(steps):
      # Usage at a step counts the writes of those before it.
      counts[slot] += bool(usage[before + 1 : again + 1, slot].min() < HALF)
  return counts


def by_first_write(trace: dict[str, np.ndarray]) -> np.ndarray:
  """Returns the slots in the order in which they were first written.

  Those only read come last. Those never written nor read with a weight of a
  half or more are left out, unless all are.

  Args:
    trace: What `dnc_jax.record` tells, ``[T, ...]`` each.
  """
  written, read = _accesses(trace)
  first = np.where(written.any(axis=0), written.argmax(axis=0), len(written))
  order = np.argsort(first, kind="stable")
  used = np.any(written | read, axis=0)
  return order[used[order]] if used.any() else order


def _accesses(trace: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  """Returns at which steps each slot was written, and read: ``[T, N]``."""
  written, read = (
    trace[f"{kind}_weights"].max(axis=1) >= HALF for kind in ("write", "read")
  )
  return written, read


def _of_heads(name: str, values: np.ndarray) -> list[Strip]:
  """Returns a strip for each head of ``[T, heads]``."""
  heads = values.shape[1]
  return [
    Strip(f"{name}{_number(head, heads)}", values[:, head])
    for head in range(heads)
  ]


def _number(head: int, heads: int) -> str:
  """Returns what tells a head from the others, from 1."""
  return f" {head + 1}" if heads > 1 else ""


def _table(rows: Sequence[Any]) -> list[str]:
  """Returns the lines of a table: names to the left, numbers to the right."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return [
    "  ".join(
      [row[0].ljust(widths[0])]
      + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
    )
    for row in rows
  ]
