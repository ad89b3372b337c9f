"""One step of the memory, and of the whole network, from the slow equations.

Conventions are those of google-deepmind/dnc, and so are the names of
parameters. As in `references`, everything is about one sequence and nothing
imports `dnc_jax`.

Shapes: N slots, W word size, R read heads, H write heads, D inputs, Y outputs.
"""

import math
from collections.abc import Mapping

import numpy as np

from tests import references

# The arrays of a state, each without its batch axis.
State = dict[str, np.ndarray]

# The parts of the interface of which there is one for each read head; of the
# others there is one for each write head.
_OF_READ_HEADS = (
  "free_gate",
  "link_sharpness",
  "read_keys",
  "read_masks",
  "read_mode",
  "read_strengths",
)


def interface(
  raw: Mapping[str, np.ndarray],
  *,
  num_reads: int,
  num_writes: int,
  strength: str = "softplus",
  mask_floor: float = 0.0,
) -> dict[str, np.ndarray]:
  """Returns the interface's parts, shaped by head and put in their ranges.

  Args:
    raw: Flat outputs of the interface layers by google-deepmind/dnc's names,
      plus `write_masks` and `read_masks` where content is masked. `read_mode`
      may be missing where there are no links.
    num_reads: R.
    num_writes: H.
    strength: "softplus" or "oneplus".
    mask_floor: Least value of a mask.
  """
  result = {}
  for name, values in raw.items():
    count = num_reads if name in _OF_READ_HEADS else num_writes
    parts = np.asarray(values, np.float64).reshape(count, -1)
    if name in ("free_gate", "allocation_gate", "write_gate"):
      parts = references.each(references.sigmoid, parts[:, 0])
    elif name in ("write_strengths", "read_strengths"):
      parts = references.each(references.STRENGTHS[strength], parts[:, 0])
    elif name == "erase_vectors":
      parts = references.each(references.sigmoid, parts)
    elif name in ("write_masks", "read_masks"):
      parts = mask_floor + (1.0 - mask_floor) * references.each(
        references.sigmoid, parts
      )
    elif name == "link_sharpness":
      parts = references.each(references.oneplus, parts)
    elif name == "allocation_strengths":
      parts = references.each(references.oneplus, parts[:, 0])
    elif name == "read_mode":
      parts = np.stack([references.softmax(row) for row in parts])
    result[name] = parts
  return result


def access_step(
  parts: Mapping[str, np.ndarray],
  prev: Mapping[str, np.ndarray],
  *,
  deallocate: bool = False,
  links: bool = True,
) -> tuple[np.ndarray, State]:
  """Returns the read words `[R, W]` and the memory's state after one step.

  Args:
    parts: What `interface` returns.
    prev: memory, usage, read_weights, write_weights and, unless `links` is
      False, link and precedence_weights.
    deallocate: Whether slots that are freed are also wiped.
    links: Whether heads may follow the order of writing.
  """
  usage = references.usage_after_write(prev["usage"], prev["write_weights"])
  usage = references.usage_after_read(
    usage, parts["free_gate"], prev["read_weights"]
  )

  write_content = references.heads_content_weights(
    prev["memory"],
    parts["write_keys"],
    parts["write_strengths"],
    parts.get("write_masks"),
  )
  allocation = references.write_allocation_weights(
    usage,
    parts["allocation_gate"] * parts["write_gate"],
    parts.get("allocation_strengths"),
  )
  written = references.write_weights(
    write_content, allocation, parts["allocation_gate"], parts["write_gate"]
  )
  kept = references.retention(parts["free_gate"], prev["read_weights"])
  memory = references.erase_and_write(
    prev["memory"],
    written,
    parts["erase_vectors"],
    parts["write_vectors"],
    kept if deallocate else None,
  )

  read_content = references.heads_content_weights(
    memory,
    parts["read_keys"],
    parts["read_strengths"],
    parts.get("read_masks"),
  )
  state = {"memory": memory, "usage": usage, "write_weights": written}
  if links:
    # The link first: it needs the precedence from before this step's write.
    state["link"] = references.link(
      prev["link"], prev["precedence_weights"], written
    )
    state["precedence_weights"] = references.precedence_weights(
      prev["precedence_weights"], written
    )
    backward, forward = (
      references.directional_weights(
        state["link"], prev["read_weights"], forward=forward
      )
      for forward in (False, True)
    )
    if "link_sharpness" in parts:
      num_writes = len(written)
      sharpness = parts["link_sharpness"]
      backward = references.sharpen_links(backward, sharpness[:, :num_writes])
      forward = references.sharpen_links(forward, sharpness[:, num_writes:])
    state["read_weights"] = references.read_weights(
      read_content, forward, backward, parts["read_mode"]
    )
  else:
    state["read_weights"] = read_content

  words = np.zeros((read_content.shape[0], memory.shape[1]))
  for r in range(words.shape[0]):
    for i in range(memory.shape[0]):
      words[r] += state["read_weights"][r, i] * memory[i]
  return words, state


def lstm_step(
  inputs: np.ndarray,
  hidden: np.ndarray,
  cell: np.ndarray,
  weights: np.ndarray,
  biases: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns hidden and cell; gates are input, candidate, forget, output."""
  gates = (np.concatenate([inputs, hidden]) @ weights + biases).tolist()
  size = hidden.shape[0]
  next_hidden, next_cell = np.zeros(size), np.zeros(size)
  for k in range(size):
    candidate = math.tanh(gates[size + k])
    # The forget gate is biased towards remembering by 1.
    kept = references.sigmoid(gates[2 * size + k] + 1.0) * cell[k]
    next_cell[k] = kept + references.sigmoid(gates[k]) * candidate
    next_hidden[k] = references.sigmoid(gates[3 * size + k]) * math.tanh(
      next_cell[k]
    )
  return next_hidden, next_cell


def _clip(x: np.ndarray, clip_value: float | None) -> np.ndarray:
  return x if clip_value is None else np.clip(x, -clip_value, clip_value)


def dnc_step(
  params: Mapping[str, np.ndarray],
  inputs: np.ndarray,
  prev: Mapping[str, np.ndarray],
  *,
  num_reads: int,
  num_writes: int,
  clip_value: float | None,
) -> tuple[np.ndarray, State]:
  """Returns the output `[Y]` and the whole state after one step.

  Args:
    params: Arrays by google-deepmind/dnc's names, such as "dnc/lstm/w_gates".
    inputs: Shape `[D]`.
    prev: The fields of `zero_state`.
    num_reads: R.
    num_writes: H.
    clip_value: Bound on the controller's state and on the output, or None.
  """
  hidden, cell = lstm_step(
    np.concatenate([inputs, prev["access_output"].ravel()]),
    prev["controller_hidden"],
    prev["controller_cell"],
    params["dnc/lstm/w_gates"],
    params["dnc/lstm/b_gates"],
  )
  hidden, cell = _clip(hidden, clip_value), _clip(cell, clip_value)
  prefix = "dnc/memory_access/"
  raw = {
    name.removeprefix(prefix).removesuffix("/w"): hidden @ weights
    + params[name.removesuffix("w") + "b"]
    for name, weights in params.items()
    if name.startswith(prefix) and name.endswith("/w")
  }
  parts = interface(raw, num_reads=num_reads, num_writes=num_writes)
  words, state = access_step(parts, prev)
  outputs = np.concatenate([hidden, words.ravel()])
  outputs = outputs @ params["dnc/output_linear/w"]
  outputs = _clip(outputs + params["dnc/output_linear/b"], clip_value)
  state["access_output"] = words
  state["controller_hidden"] = hidden
  state["controller_cell"] = cell
  return outputs, state


def zero_state(
  *,
  memory_size: int,
  word_size: int,
  num_reads: int,
  num_writes: int,
  hidden_size: int,
) -> State:
  """Returns the state before the first step, of one sequence."""
  return {
    "memory": np.zeros((memory_size, word_size)),
    "usage": np.zeros(memory_size),
    "read_weights": np.zeros((num_reads, memory_size)),
    "write_weights": np.zeros((num_writes, memory_size)),
    "link": np.zeros((num_writes, memory_size, memory_size)),
    "precedence_weights": np.zeros((num_writes, memory_size)),
    "access_output": np.zeros((num_reads, word_size)),
    "controller_hidden": np.zeros(hidden_size),
    "controller_cell": np.zeros(hidden_size),
  }
