"""Temporal links of which each slot keeps a few.

Graves et al., "Hybrid computing using a neural network with dynamic external
memory", Nature 538 (2016), Methods, "Sparse link matrix"; and Rae et al.,
"Scaling Memory-Augmented Neural Networks with Sparse Reads and Writes" (NIPS
2016), whose sparse DNC has two sparse matrices, one for each direction, and
passes no gradient into them. Where they leave a choice, docs/deviations.md has
ours.

The link matrix L[i, j], how much i was written right after j, is kept as two
lists for each slot: what came before it, and what came after. Both hold the
same links, at most K a row and K a column, so no N² numbers are ever made: they
take 4 N K for each write head, and a step changes O(K²) of them at a cost of
O(K³), whatever N.

Shapes: B sequences in the batch, N slots, H write heads, R read heads, K links
of a slot at most.
"""

import functools
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from dnc_jax import _slots
from dnc_jax._checks import at_least


class SparseLinks(NamedTuple):
  """A link matrix by rows and by columns.

  A list has the slot N, which is none, and a link of 0 where it has less than
  K.

  Attributes:
    predecessors: Slots j that slot i was written right after, int32. Shape
      ``[..., N, K]``.
    predecessor_links: L[i, j] of each, in [0, 1]. Shape ``[..., N, K]``.
    successors: Slots i that were written right after slot j, int32. Shape
      ``[..., N, K]``.
    successor_links: L[i, j] of each. Shape ``[..., N, K]``.
  """

  predecessors: jax.Array  # [..., N, K]
  predecessor_links: jax.Array  # [..., N, K]
  successors: jax.Array  # [..., N, K]
  successor_links: jax.Array  # [..., N, K]


class SparseLinkageState(NamedTuple):
  """State of `SparseLinkage` after a step.

  Attributes:
    links: Shapes ``[B, H, N, K]``.
    precedence_slots: The slots written last, int32; N for none. Shape ``[B, H,
      K]``.
    precedence_weights: How much each was the last to be written, in [0, 1].
      Shape ``[B, H, K]``.
  """

  links: SparseLinks  # [B, H, N, K]
  precedence_slots: jax.Array  # [B, H, K]
  precedence_weights: jax.Array  # [B, H, K]


class SparseLinkage(hk.RNNCore):
  """Remembers in which order slots were written, K links a slot.

  A step takes write weights ``[B, H, N]`` and gives the new
  `SparseLinkageState`, as output and as state; `write` takes them of a few
  slots. It has no parameters and passes no gradient. With ŵ the K largest of
  the write weights, made to sum to what all of them do, and p_prev the K
  largest of what came of the equation below at the step before:

      L[i, j] = (1 - ŵ[i] - ŵ[j]) L_prev[i, j] + ŵ[i] p_prev[j],  L[i, i] = 0
      p = (1 - Σᵢ ŵ[i]) p_prev + ŵ

  of which then links below ``least`` are zeroed, of each row the K largest are
  kept, and of those in each column the K largest. With K = N and ``least`` = 0
  this is `TemporalLinkage`.
  """

  def __init__(
    self,
    memory_size: int,
    num_writes: int = 1,
    *,
    link_size: int = 8,
    least: float = 0.0,
    name: str = "sparse_linkage",
  ):
    """Makes a linkage.

    Args:
      memory_size: N, number of slots, at least 1.
      num_writes: H, number of write heads, at least 1.
      link_size: K, links of a slot, at least 1; N where it is more.
      least: Links below this become zero.
      name: Name of the module.

    Raises:
      ValueError: A size is below 1.
    """
    super().__init__(name=name)
    self._memory_size = at_least("memory_size", memory_size, 1)
    self._num_writes = at_least("num_writes", num_writes, 1)
    self._link_size = min(at_least("link_size", link_size, 1), memory_size)
    self._least = least

  def __call__(
    self, inputs: jax.Array, prev_state: SparseLinkageState
  ) -> tuple[SparseLinkageState, SparseLinkageState]:
    """Counts this step's writes.

    Args:
      inputs: Write weights, in [0, 1] with a sum of at most 1. Shape ``[B, H,
        N]``.
      prev_state: State of the step before.

    Returns:
      The new state, twice.
    """
    slots = _slots.largest(inputs, self._link_size)
    kept = jnp.take_along_axis(jnp.asarray(inputs), slots, axis=-1)
    kept = _with_sum(kept, inputs.sum(axis=-1, keepdims=True))
    state = self.write(slots, kept, prev_state)
    return state, state

  def write(
    self, slots: jax.Array, weights: jax.Array, prev_state: SparseLinkageState
  ) -> SparseLinkageState:
    """Counts writes to a few slots.

    Args:
      slots: Where; may come up more than once, to weigh their sum. Shape ``[B,
        H, S]``.
      weights: In [0, 1] with a sum of at most 1. Shape ``[B, H, S]``.
      prev_state: State of the step before.

    Returns:
      The new state.
    """
    step = functools.partial(
      _step, num_slots=self._memory_size, least=self._least
    )
    arguments = (jnp.asarray(slots, jnp.int32), weights, prev_state)
    arguments = jax.tree.map(jnp.asarray, jax.lax.stop_gradient(arguments))
    return jax.vmap(jax.vmap(step))(*arguments)

  def initial_state(self, batch_size: int | None) -> SparseLinkageState:
    """Returns the state before anything is written: no links."""
    batch = () if batch_size is None else (batch_size,)
    heads = (*batch, self._num_writes)
    lists = (*heads, self._memory_size, self._link_size)
    none = functools.partial(
      jnp.full, fill_value=self._memory_size, dtype=jnp.int32
    )
    return SparseLinkageState(
      links=SparseLinks(
        none(lists), jnp.zeros(lists), none(lists), jnp.zeros(lists)
      ),
      precedence_slots=none((*heads, self._link_size)),
      precedence_weights=jnp.zeros((*heads, self._link_size)),
    )


def of_dnc(memory_size: int, num_writes: int, link_size: int) -> SparseLinkage:
  """Returns the linkage of a `MemoryAccess` with sparse links.

  Links below 1/K become zero, as in the paper; none where K is N, since no slot
  can have more.
  """
  least = 1 / link_size if link_size < memory_size else 0.0
  return SparseLinkage(
    memory_size, num_writes, link_size=link_size, least=least
  )


def dense(slots: jax.Array, weights: jax.Array, num_slots: int) -> jax.Array:
  """Returns weights over all slots, sums where a slot comes up again.

  >>> dense(jnp.array([2, 0, 2]), jnp.array([0.5, 0.25, 0.25]), 4)
  Array([0.25, 0.  , 0.75, 0.  ], dtype=float32)

  Args:
    slots: Shape ``[..., S]``; N for none.
    weights: Shape ``[..., S]``.
    num_slots: N.

  Returns:
    Shape ``[..., N]``.
  """
  places = jnp.arange(num_slots).reshape((1,) * slots.ndim + (num_slots,))
  here = slots[..., None] == places
  return jnp.sum(jnp.where(here, weights[..., None], 0), axis=-2)


def directional_weights(
  links: SparseLinks, prev_read_weights: jax.Array, *, forward: bool
) -> jax.Array:
  """Returns where reading leads by following the links one step.

  As `addressing.directional_weights`, in O(R N K), with a gradient for the read
  weights alone.

  Args:
    links: Shapes ``[B, H, N, K]``.
    prev_read_weights: Read weights of the step before. Shape ``[B, R, N]``.
    forward: True for f, what was written next; False for b, what before.

  Returns:
    Weightings in [0, 1] that sum to at most 1. Shape ``[B, R, H, N]``.
  """
  ahead = (links.successors, links.successor_links)
  behind = (links.predecessors, links.predecessor_links)
  # What comes next is reached by asking each slot what it came after.
  there, back = (behind, ahead) if forward else (ahead, behind)
  weights = jnp.broadcast_to(
    prev_read_weights[:, :, None],
    (*prev_read_weights.shape[:2], *links.successors.shape[1:3]),
  )
  return _follow(weights, there, back)


_Lists = tuple[jax.Array, jax.Array]


@jax.custom_vjp
def _follow(weights: jax.Array, there: _Lists, back: _Lists) -> jax.Array:
  """Returns the weights that each slot's list leads to, ``[B, R, H, N]``."""
  del back
  of_head = jax.vmap(_gathered, in_axes=(0, None))  # Over R.
  slots, links = there
  return jax.vmap(jax.vmap(of_head, (1, 0), 1))(weights, (slots, links))


def _gathered(weights: jax.Array, lists: _Lists) -> jax.Array:
  slots, links = lists
  return jnp.sum(weights.at[slots].get(mode="clip") * links, axis=-1)


def _follow_forward(
  weights: jax.Array, there: _Lists, back: _Lists
) -> tuple[jax.Array, tuple[_Lists, _Lists]]:
  return _follow(weights, there, back), (there, back)


def _follow_backward(
  lists: tuple[_Lists, _Lists], gradient: jax.Array
) -> tuple[jax.Array, None, None]:
  there, back = lists
  # The transposed matrix is the other lists.
  return _follow(gradient, back, there), None, None


_follow.defvjp(_follow_forward, _follow_backward)


def _step(
  slots: jax.Array,
  weights: jax.Array,
  prev: SparseLinkageState,
  *,
  num_slots: int,
  least: float,
) -> SparseLinkageState:
  """Does a step of one write head of one sequence."""
  count = prev.precedence_slots.shape[-1]
  total = weights.sum(keepdims=True)
  slots, weights = _merge(slots, weights, count, num_slots)
  weights = _with_sum(weights, total)
  links = _update(
    prev.links,
    slots,
    weights,
    prev.precedence_slots,
    prev.precedence_weights,
    least,
  )
  precedence_slots, precedence_weights = _merge(
    jnp.concatenate([prev.precedence_slots, slots]),
    jnp.concatenate([(1 - total) * prev.precedence_weights, weights]),
    count,
    num_slots,
  )
  return SparseLinkageState(links, precedence_slots, precedence_weights)


def _with_sum(weights: jax.Array, total: jax.Array) -> jax.Array:
  """Returns weights made to have this sum, where they have any."""
  kept = weights.sum(axis=-1, keepdims=True)
  return weights * (total / jnp.where(kept > 0, kept, 1))


def _merge(
  slots: jax.Array, weights: jax.Array, count: int, num_slots: int
) -> _Lists:
  """Returns the heaviest entries, a slot once; N and 0 where there are fewer.

  Args:
    slots: May come up more than once; N for none. Shape ``[..., S]``.
    weights: Shape ``[..., S]``.
    count: K, how many to keep.
    num_slots: N.

  Returns:
    Slots and weights, ``[..., K]``.
  """
  totals = jnp.where(_slots.distinct(slots), _slots.totals(slots, weights), 0)
  return _keep(slots, totals, count, num_slots)


def _keep(
  slots: jax.Array, weights: jax.Array, count: int, num_slots: int
) -> _Lists:
  """Returns the heaviest entries, those of 0 as none. Shapes ``[..., K]``."""
  missing = max(count - slots.shape[-1], 0)
  padding = [(0, 0)] * (slots.ndim - 1) + [(0, missing)]
  slots = jnp.pad(slots, padding, constant_values=num_slots)
  weights = jnp.where(slots < num_slots, jnp.pad(weights, padding), 0)
  weights, places = jax.lax.top_k(weights, count)
  slots = jnp.take_along_axis(slots, places, axis=-1)
  return _cleared(slots, weights, num_slots)


def _cleared(slots: jax.Array, weights: jax.Array, num_slots: int) -> _Lists:
  """Returns entries, with those that weigh nothing made none."""
  there = weights > 0
  return jnp.where(there, slots, num_slots), jnp.where(there, weights, 0)


def _at(slots: jax.Array, where: jax.Array, weights: jax.Array) -> jax.Array:
  """Returns what slots ``[R, K]`` weigh in a list ``[S]``: ``[R, K]``."""
  here = slots[..., None] == where[None, None]
  return jnp.sum(jnp.where(here, weights[None, None], 0), axis=-1)


def _update(
  links: SparseLinks,
  slots: jax.Array,
  weights: jax.Array,
  precedence_slots: jax.Array,
  precedence_weights: jax.Array,
  least: float,
) -> SparseLinks:
  """Returns the links after a write, of one head of one sequence.

  Rows of the matrix, `predecessors`, are made first. Columns, `successors`,
  then look there what is left of their links.

  Args:
    links: Shapes ``[N, K]``.
    slots: Those written, each once; N for none. Shape ``[K]``.
    weights: How much each was. Shape ``[K]``.
    precedence_slots: Those written before, each once; N for none. Shape
      ``[K]``.
    precedence_weights: How much each was the last. Shape ``[K]``.
    least: Links below this become zero.

  Returns:
    The links. Shapes ``[N, K]``.
  """
  num_slots, count = links.predecessors.shape
  rows = (links.predecessors, links.predecessor_links)
  columns = (links.successors, links.successor_links)
  was_before, before = _get(rows, slots)
  was_after, _ = _get(columns, slots)

  # Rows of what is written: they lose, and gain what came before.
  kept = (1 - weights[:, None] - _at(was_before, slots, weights)) * before
  gained = weights[:, None] * precedence_weights[None]
  gained = jnp.where(slots[:, None] != precedence_slots[None], gained, 0)
  entries = jnp.concatenate(
    [was_before, jnp.tile(precedence_slots, (count, 1))], axis=-1
  )
  values = _slots.totals(entries, jnp.concatenate([kept, gained], axis=-1))
  values = jnp.where(_slots.distinct(entries) & (values >= least), values, 0)
  rows = _set(rows, slots, _keep(entries, values, count, num_slots))

  # Rows of what came after it lose, too.
  after = was_after.reshape(-1)
  entries, values = _get(rows, after)
  less = (1 - _at(entries, slots, weights)) * values
  less = jnp.where(less >= least, less, 0)
  done = jnp.any(after[:, None] == slots[None], axis=-1)
  values = jnp.where(done[:, None], values, less)
  rows = _set(rows, after, _cleared(entries, values, num_slots))

  # Columns of what was written, and of what came before that, are of the same
  # slots as they were, but for those that lost all.
  changed = jnp.concatenate([slots, was_before.reshape(-1)])
  entries, _ = _get(columns, changed)
  values = _look_up(rows, entries, changed)
  columns = _set(columns, changed, _cleared(entries, values, num_slots))

  # Columns of the slots written before gain what is written now.
  entries, values = _get(columns, precedence_slots)
  gained = jnp.tile(slots, (count, 1))
  entries = jnp.concatenate([entries, gained], axis=-1)
  values = jnp.concatenate(
    [values, _look_up(rows, gained, precedence_slots)], axis=-1
  )
  values = jnp.where(_slots.distinct(entries), values, 0)
  fullest = _keep(entries, values, count, num_slots)
  columns = _set(columns, precedence_slots, fullest)

  # What did not fit into a column leaves its row, too.
  candidates = entries.reshape(-1)
  entries, values = _get(rows, candidates)
  fits = jnp.any(candidates[:, None, None] == fullest[0][None], axis=-1)
  here = entries[:, :, None] == precedence_slots[None, None]
  out = here & ~fits[:, None]
  values = jnp.where(jnp.any(out, axis=-1), 0, values)
  rows = _set(rows, candidates, _cleared(entries, values, num_slots))
  return SparseLinks(*rows, *columns)


def _get(lists: _Lists, slots: jax.Array) -> _Lists:
  """Returns the lists of some slots; of none, whatever."""
  entries, links = (x.at[slots].get(mode="clip") for x in lists)
  return entries, links


def _set(lists: _Lists, slots: jax.Array, new: _Lists) -> _Lists:
  """Returns the lists with those of some slots replaced."""
  entries, links = (
    x.at[slots].set(y, mode="drop") for x, y in zip(lists, new, strict=True)
  )
  return entries, links


def _look_up(rows: _Lists, entries: jax.Array, slots: jax.Array) -> jax.Array:
  """Returns the link in row ``entries[c, k]`` and column ``slots[c]``."""
  there, links = _get(rows, entries)
  found = jnp.where(there == slots[:, None, None], links, 0)
  return jnp.where(entries < len(rows[0]), jnp.sum(found, axis=-1), 0)
