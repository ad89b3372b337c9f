"""Looking into a memory as it works: what it did, step by step.

Shapes: T steps, B sequences in the batch, N slots of memory, R read heads, H
write heads.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import haiku as hk
import jax

from dnc_jax import sparse_links

# What is only recorded if asked for, since it is large.
_MEMORY = ("memory",)
_LINKS = (
  "link",
  "predecessors",
  "predecessor_links",
  "successors",
  "successor_links",
)
# Parts of a state that only hold others.
_HOLDERS = ("access_state", "linkage", "links")


class Recorded(NamedTuple):
  """What a core answered, and what went on inside.

  Attributes:
    logits: What the core gives at each step. Shape ``[T, B, O]``.
    trace: Quantities by name, each ``[T, B, ...]``; `Recording` says which.
  """

  logits: Any
  trace: dict[str, jax.Array]


class Recording(hk.RNNCore):
  """A core that also tells what went on inside at each step.

  A step gives what the core gives and, by name, arrays ``[B, ...]`` of

  - its state after the step, under the names of the state's fields, such as
    ``read_weights``, ``write_weights``, ``usage``, ``precedence_weights`` and
    ``access_output``; a controller's after ``controller_state``, such as
    ``controller_state_hidden``;
  - what the controller told the memory, such as ``allocation_gate``: all that
    the memory's method ``interface`` returns.

  Weights that a state keeps for a few slots, with ``read_slots`` beside
  ``read_weights``, are told over all slots instead: ``[B, R, N]``, those of
  writes ``[B, 1, N]``. It has no parameters but the core's, under their own
  names.
  """

  def __init__(
    self,
    core: Any,
    *,
    memory: bool = False,
    links: bool = False,
    name: str = "recording",
  ):
    """Makes a recording of a core.

    Args:
      core: An `hk.RNNCore`, not one that computes its steps again in the
        backward pass.
      memory: Tells the contents, ``[B, N, W]``, too.
      links: Tells the links, ``[B, H, N, N]``, or lists of them, too.
      name: Name of the module.
    """
    super().__init__(name=name)
    self._core = core
    self._left_out = (() if memory else _MEMORY) + (() if links else _LINKS)

  def __call__(
    self, inputs: Any, prev_state: Any
  ) -> tuple[tuple[Any, dict[str, jax.Array]], Any]:
    """Does one step, from what the core takes."""
    said: dict[str, jax.Array] = {}

    def listen(
      method: Callable[..., Any],
      args: tuple[Any, ...],
      kwargs: dict[str, Any],
      context: hk.MethodContext,
    ) -> Any:
      result = method(*args, **kwargs)
      if context.method_name == "interface":
        said.update(result)
      return result

    with hk.intercept_methods(listen):
      outputs, state = self._core(inputs, prev_state)
    told = said | _over_all_slots(_by_name(state))
    for name in self._left_out:
      told.pop(name, None)
    return (outputs, told), state

  def initial_state(self, batch_size: int | None) -> Any:
    """Returns the core's."""
    return self._core.initial_state(batch_size)


def record(
  core: hk.RNNCore,
  inputs: Any,
  *,
  memory: bool = False,
  links: bool = False,
) -> Recorded:
  """Unrolls a core from its initial state, and tells what went on inside.

  In a function given to ``hk.transform``:

      core = dnc_jax.make_core(config)
      logits, trace = dnc_jax.record(core, inputs)
      trace["write_weights"]  # [T, B, H, N]

  The logits are those that ``hk.dynamic_unroll`` gives, and the parameters
  those that the core has without this.

  Args:
    core: Such as `make_core` makes.
    inputs: Shape ``[T, B, I]``.
    memory: Records the contents, ``[T, B, N, W]``, too.
    links: Records the links, ``[T, B, H, N, N]``, or lists of them, too.

  Returns:
    Logits, and the trace.
  """
  recording = Recording(core, memory=memory, links=links)
  batch_size = jax.tree.leaves(inputs)[0].shape[1]
  (logits, trace), _ = hk.dynamic_unroll(
    recording, inputs, recording.initial_state(batch_size)
  )
  return Recorded(logits, trace)


def _by_name(state: Any) -> dict[str, jax.Array]:
  """Returns the arrays of a state by the names of the fields they are in."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(state)
  found = {}
  for path, leaf in leaves:
    parts = [jax.tree_util.keystr((key,), simple=True) for key in path]
    name = "_".join(part for part in parts if part not in _HOLDERS)
    found[name or "state"] = leaf
  return found


def _over_all_slots(state: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
  """Returns a state's arrays, with the weights of a few slots over all."""
  told = dict(state)
  for name in state:
    what, is_of_slots, rest = name.rpartition("_slots")
    if not is_of_slots or rest:
      continue
    slots, weights = told.pop(name), state[f"{what}_weights"]
    if slots.ndim == 2:  # Of one head, without an axis for it.
      slots, weights = slots[:, None], weights[:, None]
    of_all = state["memory"] if "memory" in state else state["predecessors"]
    told[f"{what}_weights"] = sparse_links.dense(
      slots, weights, of_all.shape[-2]
    )
  return told
