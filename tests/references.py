"""The DNC's equations, one slot at a time, in float64.

Slow on purpose: every sum is a Python loop over slots, heads or words, so that
each line can be held against its equation in the paper (Graves et al., "Hybrid
computing using a neural network with dynamic external memory", Nature 538,
2016, Methods) and, where google-deepmind/dnc departs from the paper, against
that code's convention. Nothing here imports `dnc_jax` or JAX.

Every function is about one sequence, without a batch axis; `over_batch` maps
it.

Shapes: N slots, W word size, R read heads, H write heads.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

# Inside the square root of a norm, added to a product of norms, and mixed into
# the usage before slots are sorted.
EPSILON = 1e-6
# Added to a weight before it is raised to a power.
TINY = 1e-12


def over_batch(function: Callable[..., Any], *arrays: Any) -> np.ndarray:
  """Returns the results of `function` for each sequence of a batch, stacked."""
  arguments = [None if a is None else np.asarray(a, np.float64) for a in arrays]
  size = next(a.shape[0] for a in arguments if a is not None)
  return np.stack(
    [
      function(*(None if a is None else a[b] for a in arguments))
      for b in range(size)
    ]
  )


def sigmoid(x: float) -> float:
  """Returns 1 / (1 + exp(-x))."""
  if x >= 0:
    return 1.0 / (1.0 + math.exp(-x))
  return math.exp(x) / (1.0 + math.exp(x))


def softplus(x: float) -> float:
  """Returns log(1 + exp(x)), the strengths of google-deepmind/dnc."""
  return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def oneplus(x: float) -> float:
  """Returns 1 + log(1 + exp(x)), the strengths of the paper."""
  return 1.0 + softplus(x)


STRENGTHS = {"softplus": softplus, "oneplus": oneplus}


def softmax(x: np.ndarray) -> np.ndarray:
  """Returns exp(x[i]) / Σ_j exp(x[j])."""
  top = max(x)
  exponentials = [math.exp(value - top) for value in x]
  total = sum(exponentials)
  return np.array([value / total for value in exponentials])


def each(function: Callable[[float], float], x: np.ndarray) -> np.ndarray:
  """Returns the function of each number of an array."""
  flat = [function(float(value)) for value in np.asarray(x).ravel()]
  return np.array(flat, np.float64).reshape(np.shape(x))


def _norm(x: np.ndarray) -> float:
  total = 0.0
  for value in x:
    total += value * value
  return math.sqrt(total + EPSILON)


def cosine(u: np.ndarray, v: np.ndarray) -> float:
  """Returns u·v / (|u||v| + ε), with |u| = sqrt(Σ u² + ε)."""
  dot = 0.0
  for a, b in zip(u, v, strict=True):
    dot += a * b
  return dot / (_norm(u) * _norm(v) + EPSILON)


def content_weights(
  memory: np.ndarray,
  key: np.ndarray,
  strength: float,
  mask: np.ndarray | None = None,
) -> np.ndarray:
  """Returns C(M, k, β)[i] = exp(β D(k, M[i])) / Σ_j exp(β D(k, M[j])).

  With a mask both the key and each slot are multiplied by it first (Csordás and
  Schmidhuber, 2019).
  """
  size = memory.shape[0]
  mask = np.ones_like(key) if mask is None else mask
  scores = np.zeros(size)
  for i in range(size):
    scores[i] = float(strength) * cosine(key * mask, memory[i] * mask)
  return softmax(scores)


def heads_content_weights(
  memory: np.ndarray,
  keys: np.ndarray,
  strengths: np.ndarray,
  masks: np.ndarray | None = None,
) -> np.ndarray:
  """Returns `content_weights` of each head: `[heads, N]`."""
  return np.stack(
    [
      content_weights(
        memory, keys[h], strengths[h], None if masks is None else masks[h]
      )
      for h in range(keys.shape[0])
    ]
  )


def usage_after_write(
  prev_usage: np.ndarray, prev_write_weights: np.ndarray
) -> np.ndarray:
  """Returns u + w - u∘w, with w = 1 - Π_h (1 - w_h) of the heads that wrote."""
  usage = np.zeros_like(prev_usage)
  for i in range(prev_usage.shape[0]):
    untouched = 1.0
    for h in range(prev_write_weights.shape[0]):
      untouched *= 1.0 - prev_write_weights[h, i]
    written = 1.0 - untouched
    usage[i] = prev_usage[i] + written - prev_usage[i] * written
  return usage


def retention(
  free_gate: np.ndarray, prev_read_weights: np.ndarray
) -> np.ndarray:
  """Returns ψ[i] = Π_r (1 - f_r w_r[i])."""
  result = np.ones(prev_read_weights.shape[1])
  for i in range(prev_read_weights.shape[1]):
    for r in range(prev_read_weights.shape[0]):
      result[i] *= 1.0 - free_gate[r] * prev_read_weights[r, i]
  return result


def usage_after_read(
  usage: np.ndarray, free_gate: np.ndarray, prev_read_weights: np.ndarray
) -> np.ndarray:
  """Returns u∘ψ."""
  kept = retention(free_gate, prev_read_weights)
  return np.array([usage[i] * kept[i] for i in range(usage.shape[0])])


def allocation_weights(usage: np.ndarray) -> np.ndarray:
  """Returns a[φ[j]] = (1 - u[φ[j]]) Π_{i<j} u[φ[i]], φ by increasing usage.

  As in google-deepmind/dnc, ε + (1 - ε)u stands for u. Of equally used slots
  the first comes first.
  """
  weights = np.zeros_like(usage)
  product = 1.0
  for slot in np.argsort(usage, kind="stable"):
    used = EPSILON + (1.0 - EPSILON) * usage[slot]
    weights[slot] = (1.0 - used) * product
    product *= used
  return weights


def write_allocation_weights(
  usage: np.ndarray,
  write_gates: np.ndarray,
  strengths: np.ndarray | None = None,
) -> np.ndarray:
  """Returns each write head's allocation: `[H, N]`; of no order by strengths.

  Each head sees the usage that the heads before it would leave behind, where
  `write_gates[h]` is head h's allocation gate times its write gate.
  """
  usage = usage.copy()
  allocations = []
  for h, gate in enumerate(write_gates):
    if strengths is None:
      allocation = allocation_weights(usage)
    else:
      allocation = softmax(strengths[h] * (1.0 - usage))
    for i in range(usage.shape[0]):
      usage[i] += (1.0 - usage[i]) * gate * allocation[i]
    allocations.append(allocation)
  return np.stack(allocations)


def write_weights(
  content: np.ndarray,
  allocation: np.ndarray,
  allocation_gate: np.ndarray,
  write_gate: np.ndarray,
) -> np.ndarray:
  """Returns g^w (g^a a + (1 - g^a) c) of each head: `[H, N]`."""
  weights = np.zeros_like(content)
  for h in range(content.shape[0]):
    for i in range(content.shape[1]):
      weights[h, i] = write_gate[h] * (
        allocation_gate[h] * allocation[h, i]
        + (1.0 - allocation_gate[h]) * content[h, i]
      )
  return weights


def erase_and_write(
  memory: np.ndarray,
  weights: np.ndarray,
  erase_vectors: np.ndarray,
  write_vectors: np.ndarray,
  kept: np.ndarray | None = None,
) -> np.ndarray:
  """Returns (M∘ψ1ᵀ)∘Π_h (E - w_h e_hᵀ) + Σ_h w_h v_hᵀ.

  `kept` is ψ, for de-allocation (Csordás and Schmidhuber, 2019); without it ψ
  is 1.
  """
  result = np.zeros_like(memory)
  for i in range(memory.shape[0]):
    for j in range(memory.shape[1]):
      value = memory[i, j]
      if kept is not None:
        value *= kept[i]
      for h in range(weights.shape[0]):
        value *= 1.0 - weights[h, i] * erase_vectors[h, j]
      for h in range(weights.shape[0]):
        value += weights[h, i] * write_vectors[h, j]
      result[i, j] = value
  return result


def link(
  prev_link: np.ndarray,
  prev_precedence_weights: np.ndarray,
  weights: np.ndarray,
) -> np.ndarray:
  """Returns each write head's L: `[H, N, N]`, with a diagonal of 0.

  L[i, j] = (1 - w[i] - w[j]) L_prev[i, j] + w[i] p_prev[j].
  """
  result = np.zeros_like(prev_link)
  for h in range(weights.shape[0]):
    w, p = weights[h], prev_precedence_weights[h]
    for i in range(w.shape[0]):
      for j in range(w.shape[0]):
        if i != j:
          kept = (1.0 - w[i] - w[j]) * prev_link[h, i, j]
          result[h, i, j] = kept + w[i] * p[j]
  return result


def precedence_weights(
  prev_precedence_weights: np.ndarray, weights: np.ndarray
) -> np.ndarray:
  """Returns p = (1 - Σ_i w[i]) p_prev + w of each write head: `[H, N]`."""
  result = np.zeros_like(weights)
  for h in range(weights.shape[0]):
    total = 0.0
    for value in weights[h]:
      total += value
    for i in range(weights.shape[1]):
      kept = (1.0 - total) * prev_precedence_weights[h, i]
      result[h, i] = kept + weights[h, i]
  return result


def directional_weights(
  links: np.ndarray, prev_read_weights: np.ndarray, *, forward: bool
) -> np.ndarray:
  """Returns L w (forward) or Lᵀ w (backward): `[R, H, N]`."""
  num_reads, size = prev_read_weights.shape
  result = np.zeros((num_reads, links.shape[0], size))
  for r in range(num_reads):
    for h in range(links.shape[0]):
      for i in range(size):
        for j in range(size):
          strength = links[h, i, j] if forward else links[h, j, i]
          result[r, h, i] += strength * prev_read_weights[r, j]
  return result


def layer_norm(
  values: np.ndarray, scale: np.ndarray, offset: np.ndarray
) -> np.ndarray:
  """Returns values of mean 0 and variance 1, scaled and moved."""
  mean = sum(values) / len(values)
  variance = sum((x - mean) ** 2 for x in values) / len(values)
  return np.array(
    [
      s * (x - mean) / math.sqrt(variance + 1e-5) + o
      for x, s, o in zip(values, scale, offset)
    ]
  )


def sharpen_links(weights: np.ndarray, sharpness: np.ndarray) -> np.ndarray:
  """Returns w[i]^s / Σ_j w[j]^s, times the sum that w had: `[R, H, N]`."""
  result = np.zeros_like(weights)
  for r in range(weights.shape[0]):
    for h in range(weights.shape[1]):
      total = sum(weights[r, h])
      powers = [(w + TINY) ** sharpness[r, h] for w in weights[r, h]]
      for i, power in enumerate(powers):
        result[r, h, i] = total * power / sum(powers) if total else 0.0
  return result


def read_weights(
  content: np.ndarray,
  forward: np.ndarray,
  backward: np.ndarray,
  read_mode: np.ndarray,
) -> np.ndarray:
  """Returns each read head's mixture: `[R, N]`.

  The modes come as google-deepmind/dnc has them: backward of each write head,
  forward of each write head, content.
  """
  num_writes = forward.shape[1]
  result = np.zeros_like(content)
  for r in range(content.shape[0]):
    for i in range(content.shape[1]):
      result[r, i] = read_mode[r, 2 * num_writes] * content[r, i]
      for h in range(num_writes):
        result[r, i] += read_mode[r, h] * backward[r, h, i]
        result[r, i] += read_mode[r, num_writes + h] * forward[r, h, i]
  return result
