"""The Differentiable Neural Computer's memory addressing, as pure functions.

One function per equation of Graves et al., "Hybrid computing using a neural
network with dynamic external memory", Nature 538 (2016), Methods. Numerics
are those of google-deepmind/dnc, whose departures from the paper are listed in
docs/deviations.md.

Shapes: B sequences in the batch, N slots of memory, W numbers in a slot, R
read heads, H heads of the kind at hand (reads or writes).
"""

import chex
import jax
import jax.numpy as jnp

from dnc_jax import _allocation, _links, _products

EPSILON = 1e-6


def oneplus(x: jax.Array) -> jax.Array:
  """Returns 1 + log(1 + exp(x)), in [1, ∞): the paper's strengths.

  >>> float(oneplus(jnp.array(-100.0)))
  1.0

  Args:
    x: Any real numbers, of any shape.

  Returns:
    Numbers of at least 1, same shape and dtype as ``x``.
  """
  return 1 + jax.nn.softplus(x)


def content_weights(
  memory: jax.Array,
  keys: jax.Array,
  strengths: jax.Array,
  mask: jax.Array | None = None,
) -> jax.Array:
  """Returns how much each slot resembles each key, as a distribution.

  With D the cosine similarity (Methods, "Content-based addressing"):

      c[i] = exp(β D(k, M[i])) / Σⱼ exp(β D(k, M[j]))

  As in DeepMind's code, ε is added inside the root of each norm and to their
  product, so that zero memory gives an even distribution and finite gradients.

  With a mask m, k∘m is compared with M[i]∘m, so that a key can name the part
  of a word that is known and leave open the part that is asked for (Csordás &
  Schmidhuber, "Improving Differentiable Neural Computers Through Memory
  Masking, De-allocation, and Link Distribution Sharpness Control", ICLR 2019).

  >>> memory = jnp.array([[[1.0, 0.0], [1.0, 0.0]]])
  >>> content_weights(memory, jnp.ones([1, 1, 2]), jnp.ones([1, 1]))
  Array([[[0.5, 0.5]]], dtype=float32)

  Args:
    memory: Contents to look in. Shape ``[B, N, W]``.
    keys: What to look for, one a head. Shape ``[B, H, W]``.
    strengths: β, how sharply to look, at least 0. Shape ``[B, H]``.
    mask: How much each element counts, in [0, 1], or None where all count
      fully. Shape ``[B, H, W]``.

  Returns:
    Weightings in [0, 1] that sum to 1 over the slots. Shape ``[B, H, N]``.
  """
  chex.assert_rank([memory, keys, strengths], [3, 3, 2])
  batch_size, num_slots, word_size = memory.shape
  num_heads = keys.shape[1]
  chex.assert_shape(keys, (batch_size, num_heads, word_size))
  chex.assert_shape(strengths, (batch_size, num_heads))
  if mask is not None:
    chex.assert_equal_shape([keys, mask])
    mask = _products.pad_heads(mask, num_slots)
  keys = _products.pad_heads(keys, num_slots)
  strengths = _products.pad_heads(strengths, num_slots)
  if mask is None:
    dots = _products.dots(keys, memory)
    squares = jnp.sum(memory * memory, axis=-1)[:, None, :]
    key_squares = jnp.sum(keys * keys, axis=-1)
  else:
    # (k∘m)·(M∘m) = (k∘m∘m)·M, so no masked copy of the memory is made.
    mask_squares = mask * mask
    dots = _products.dots(keys * mask_squares, memory)
    squares = _products.dots(mask_squares, memory * memory)
    key_squares = jnp.sum(keys * keys * mask_squares, axis=-1)
  norms = jnp.sqrt(squares + EPSILON)
  key_norms = jnp.sqrt(key_squares + EPSILON)
  similarity = dots / (key_norms[..., None] * norms + EPSILON)
  weights = jax.nn.softmax(similarity * strengths[..., None], axis=-1)
  weights = weights[:, :num_heads]
  chex.assert_shape(weights, (batch_size, num_heads, num_slots))
  return weights


def usage_after_write(
  prev_usage: jax.Array, prev_write_weights: jax.Array
) -> jax.Array:
  """Returns the usage of each slot once the last step's writes are counted.

  With w the weight that any head wrote with (Methods, "Dynamic memory
  allocation"; several heads as in DeepMind's code):

      w = 1 - ∏ₕ (1 - wʷₕ)
      u = u_prev + (1 - u_prev) w

  >>> usage_after_write(jnp.array([[0.5, 0.0]]), jnp.array([[[0.5, 1.0]]]))
  Array([[0.75, 1.  ]], dtype=float32)

  Args:
    prev_usage: Usage at the step before, in [0, 1]. Shape ``[B, N]``.
    prev_write_weights: Write weights of the step before, in [0, 1]. Shape
      ``[B, H, N]``.

  Returns:
    Usage in [0, 1]. Shape ``[B, N]``.
  """
  chex.assert_rank([prev_usage, prev_write_weights], [2, 3])
  chex.assert_shape(prev_usage, prev_write_weights.shape[::2])
  written = 1 - jnp.prod(1 - prev_write_weights, axis=1)
  return prev_usage + (1 - prev_usage) * written


def retention(free_gate: jax.Array, prev_read_weights: jax.Array) -> jax.Array:
  """Returns how much of each slot the free gates leave in use.

  Of what was just read, the free gates may give up (Methods, "Dynamic memory
  allocation"):

      ψ = ∏ᵣ (1 - fʳ wʳ_prev)

  >>> retention(jnp.array([[1.0]]), jnp.array([[[0.25, 0.75]]]))
  Array([[0.75, 0.25]], dtype=float32)

  Args:
    free_gate: f, in [0, 1]. Shape ``[B, R]``.
    prev_read_weights: Read weights of the step before, in [0, 1]. Shape
      ``[B, R, N]``.

  Returns:
    ψ, in [0, 1]. Shape ``[B, N]``.
  """
  chex.assert_rank([free_gate, prev_read_weights], [2, 3])
  chex.assert_shape(free_gate, prev_read_weights.shape[:2])
  return jnp.prod(1 - free_gate[..., None] * prev_read_weights, axis=1)


def usage_after_read(
  usage: jax.Array, free_gate: jax.Array, prev_read_weights: jax.Array
) -> jax.Array:
  """Returns the usage of each slot once what was freed is taken off.

      u = u_after_write ∘ ψ

  >>> usage_after_read(
  ...   jnp.array([[1.0, 1.0]]),
  ...   jnp.array([[1.0]]),
  ...   jnp.array([[[0.0, 1.0]]]),
  ... )
  Array([[1., 0.]], dtype=float32)

  Args:
    usage: Usage after the write, in [0, 1]. Shape ``[B, N]``.
    free_gate: f, in [0, 1]. Shape ``[B, R]``.
    prev_read_weights: Read weights of the step before. Shape ``[B, R, N]``.

  Returns:
    Usage in [0, 1]. Shape ``[B, N]``.
  """
  chex.assert_rank([usage, prev_read_weights], [2, 3])
  chex.assert_shape(usage, prev_read_weights.shape[::2])
  return usage * retention(free_gate, prev_read_weights)


def allocation_weights(usage: jax.Array) -> jax.Array:
  """Returns the weighting over slots that are free to be written.

  With φ the slots in order of increasing usage (Methods, "Dynamic memory
  allocation"):

      a[φ[j]] = (1 - u[φ[j]]) ∏_{i<j} u[φ[i]]

  Gradients flow through the usages and not through the order, as in the paper.
  Of equally used slots the first wins. First, u becomes ε + (1 - ε) u
  (DeepMind's code).

  >>> allocation_weights(jnp.array([[1.0, 0.25, 0.5]])).round(4)
  Array([[0.   , 0.75 , 0.125]], dtype=float32)

  Args:
    usage: How much each slot is used, in [0, 1]. Shape ``[B, N]``.

  Returns:
    Weighting in [0, 1] that sums to at most 1, and to 0 where every slot is
    fully used. Shape ``[B, N]``, same dtype as ``usage``.
  """
  chex.assert_rank(usage, 2)
  usage = EPSILON + (1 - EPSILON) * usage
  if usage.shape[1] <= _allocation.MOST_SLOTS_COMPARED:
    return _allocation.by_comparison(usage)
  return _allocation.by_sorting(usage)


def write_allocation_weights(
  usage: jax.Array,
  write_gates: jax.Array,
  strengths: jax.Array | None = None,
) -> jax.Array:
  """Returns the free slots that each write head is offered, in turn.

  Slots that were offered to the heads before count as used by as much as those
  heads will write there (DeepMind's code; the paper has one write head):

      aₕ = allocation(uₕ)
      uₕ₊₁ = uₕ + (1 - uₕ) gₕ aₕ

  Args:
    usage: Usage before this step's writes, in [0, 1]. Shape ``[B, N]``.
    write_gates: g, how much of its allocation each head writes to: its
      allocation gate times its write gate, in [0, 1]. Shape ``[B, H]``.
    strengths: s, at least 0, for allocation = softmax(s (1 - u)), without an
      order of the slots (Ben-Ari & Bekker 2017). Shape ``[B, H]``.

  Returns:
    Weightings in [0, 1], not scaled by the gates. Shape ``[B, H, N]``.
  """
  chex.assert_rank([usage, write_gates], [2, 2])
  chex.assert_equal_shape_prefix([usage, write_gates], 1)
  weights, num_writes = [], write_gates.shape[1]
  for head in range(num_writes):
    if strengths is None:
      weights.append(allocation_weights(usage))
    else:
      weights.append(_allocation.by_softmax(usage, strengths[:, head]))
    usage += (1 - usage) * write_gates[:, head, None] * weights[-1]
  return jnp.stack(weights, axis=1)


def write_weights(
  content: jax.Array,
  allocation: jax.Array,
  allocation_gate: jax.Array,
  write_gate: jax.Array,
) -> jax.Array:
  """Returns where, and how much, each head writes.

  (Methods, "Write weighting"):

      wʷ = gʷ [gᵃ a + (1 - gᵃ) cʷ]

  Args:
    content: cʷ, where the write keys were found. Shape ``[B, H, N]``.
    allocation: a, free slots. Shape ``[B, H, N]``.
    allocation_gate: gᵃ, in [0, 1]. Shape ``[B, H]``.
    write_gate: gʷ, in [0, 1]. Shape ``[B, H]``.

  Returns:
    Write weights in [0, 1] that sum to at most 1. Shape ``[B, H, N]``.
  """
  chex.assert_equal_shape([content, allocation])
  chex.assert_shape([allocation_gate, write_gate], content.shape[:2])
  allocation_gate = allocation_gate[..., None]
  where = allocation_gate * allocation + (1 - allocation_gate) * content
  return write_gate[..., None] * where


def erase_and_write(
  memory: jax.Array,
  write_weights: jax.Array,
  erase_vectors: jax.Array,
  write_vectors: jax.Array,
  retention: jax.Array | None = None,
) -> jax.Array:
  """Returns the memory after erasing from it and adding to it.

  (Methods, "Content-based addressing"; several heads as in DeepMind's code):

      M[i] = M_prev[i] ∘ ∏ₕ (1 - wʷₕ[i] eₕ) + Σₕ wʷₕ[i] vₕ

  With a retention ψ, what the free gates gave up is wiped first, M_prev[i]
  becoming ψ[i] M_prev[i] (de-allocation: Csordás & Schmidhuber, ICLR 2019).

  Args:
    memory: Contents before. Shape ``[B, N, W]``.
    write_weights: Where to write, in [0, 1]. Shape ``[B, H, N]``.
    erase_vectors: e, what to erase there, in [0, 1]. Shape ``[B, H, W]``.
    write_vectors: v, what to add there. Shape ``[B, H, W]``.
    retention: ψ, how much of each slot to keep, in [0, 1], or None to keep all.
      Shape ``[B, N]``.

  Returns:
    Contents after. Shape ``[B, N, W]``.
  """
  chex.assert_rank([memory, write_weights], [3, 3])
  batch_size, num_slots, word_size = memory.shape
  num_writes = write_weights.shape[1]
  chex.assert_shape(write_weights, (batch_size, num_writes, num_slots))
  chex.assert_shape(
    [erase_vectors, write_vectors], (batch_size, num_writes, word_size)
  )
  if retention is not None:
    chex.assert_shape(retention, (batch_size, num_slots))
  # ψ (1 - w e) as one matrix product of [ψ, -ψ w] and [1, e], and likewise what
  # is added: XLA's CPU backend would otherwise compute ψ and w again for every
  # element of a word, and sum gradients slowly (docs/performance.md).
  for head in range(num_writes):
    where, erase = write_weights[:, head], erase_vectors[:, head]
    scale = jnp.ones_like(where)
    if retention is not None and head == 0:
      scale = retention
    memory *= _products.outer(
      jnp.stack([scale, -scale * where], axis=1),
      jnp.stack([jnp.ones_like(erase), erase], axis=1),
    )
  where = _products.pad_heads(write_weights, num_slots)
  words = _products.pad_heads(write_vectors, num_slots)
  return memory + _products.outer(where, words)


def link(
  prev_link: jax.Array,
  prev_precedence_weights: jax.Array,
  write_weights: jax.Array,
) -> jax.Array:
  """Returns the temporal links: which slot was written right after which.

  For each write head (Methods, "Temporal memory linkage"):

      L[i, j] = (1 - w[i] - w[j]) L_prev[i, j] + w[i] p_prev[j],  L[i, i] = 0

  Args:
    prev_link: Links of the step before, in [0, 1]. Shape ``[B, H, N, N]``.
    prev_precedence_weights: p_prev, which slots were written last, at the step
      before. Shape ``[B, H, N]``.
    write_weights: w, this step's. Shape ``[B, H, N]``.

  Returns:
    Links in [0, 1]; each row and each column sums to at most 1; the diagonal
    is 0. ``[b, h, i, j]`` is how much i was written right after j. Shape
    ``[B, H, N, N]``.
  """
  chex.assert_rank([prev_link, write_weights], [4, 3])
  chex.assert_equal_shape([prev_precedence_weights, write_weights])
  num_slots = write_weights.shape[-1]
  chex.assert_shape(prev_link, (*write_weights.shape, num_slots))
  return _links.link(prev_link, prev_precedence_weights, write_weights)


def precedence_weights(
  prev_precedence_weights: jax.Array, write_weights: jax.Array
) -> jax.Array:
  """Returns how much each slot was the last to be written.

  For each write head (Methods, "Temporal memory linkage"):

      p = (1 - Σᵢ w[i]) p_prev + w

  >>> precedence_weights(jnp.array([[[1.0, 0.0]]]), jnp.array([[[0.0, 0.5]]]))
  Array([[[0.5, 0.5]]], dtype=float32)

  Args:
    prev_precedence_weights: p of the step before. Shape ``[B, H, N]``.
    write_weights: w, this step's. Shape ``[B, H, N]``.

  Returns:
    Weightings in [0, 1] that sum to at most 1. Shape ``[B, H, N]``.
  """
  chex.assert_rank(write_weights, 3)
  chex.assert_equal_shape([prev_precedence_weights, write_weights])
  total = write_weights.sum(axis=-1, keepdims=True)
  return (1 - total) * prev_precedence_weights + write_weights


def directional_weights(
  link: jax.Array, prev_read_weights: jax.Array, *, forward: bool
) -> jax.Array:
  """Returns where reading leads by following the links one step.

  (Methods, "Temporal memory linkage"):

      f = L wʳ_prev,  b = Lᵀ wʳ_prev

  Args:
    link: Temporal links. Shape ``[B, H, N, N]``.
    prev_read_weights: Read weights of the step before. Shape ``[B, R, N]``.
    forward: True for f, what was written next; False for b, what before.

  Returns:
    Weightings in [0, 1] that sum to at most 1. Shape ``[B, R, H, N]``.
  """
  chex.assert_rank([link, prev_read_weights], [4, 3])
  chex.assert_shape(link, (len(prev_read_weights), None, None, None))
  chex.assert_shape(link, (None, None, *(prev_read_weights.shape[-1],) * 2))
  heads = jnp.repeat(prev_read_weights[:, None], link.shape[1], axis=1)
  ahead, behind = _links.lead(link, heads)
  return jnp.swapaxes(ahead if forward else behind, 1, 2)


def read_weights(
  content: jax.Array,
  forward: jax.Array,
  backward: jax.Array,
  read_mode: jax.Array,
) -> jax.Array:
  """Returns where each read head reads, a mixture of three ways to address.

  For one write head (Methods, "Read weighting"):

      wʳ = π[0] b + π[1] f + π[2] cʳ

  With H write heads π holds H backward modes, H forward modes, and content
  last. That order is DeepMind's code's; the paper's is backward, content,
  forward, which a trained network cannot tell apart.

  Args:
    content: cʳ, where the read keys were found. Shape ``[B, R, N]``.
    forward: f for each write head. Shape ``[B, R, H, N]``.
    backward: b for each write head. Shape ``[B, R, H, N]``.
    read_mode: π, in [0, 1], sums to 1. Shape ``[B, R, 2H + 1]``.

  Returns:
    Read weights in [0, 1] that sum to at most 1. Shape ``[B, R, N]``.
  """
  chex.assert_equal_shape([forward, backward])
  num_writes = forward.shape[2]
  chex.assert_shape(read_mode, (*content.shape[:2], 2 * num_writes + 1))
  backward_mode = read_mode[..., :num_writes, None]
  forward_mode = read_mode[..., num_writes : 2 * num_writes, None]
  return (
    read_mode[..., -1:] * content
    + (forward_mode * forward).sum(axis=2)
    + (backward_mode * backward).sum(axis=2)
  )
