"""Sparse access and sparse links, one slot at a time, on dense arrays.

Slow on purpose, as `references` is: weights are vectors over all slots and
links a matrix, of which what is not chosen is set to zero. Where K = N nothing
is left out, and these are the dense equations.

Every function is about one sequence. Shapes: N slots, W numbers in a slot, R
read heads.
"""

import numpy as np

from tests import references


def dense(slots, weights, num_slots):
  """Returns weights over all slots; the slot N is none."""
  rows = np.zeros((*weights.shape[:-1], num_slots))
  for index in np.ndindex(*weights.shape):
    if slots[index] < num_slots:
      rows[(*index[:-1], slots[index])] += weights[index]
  return rows


def keep_largest(weights, count):
  """Returns weights of which all but the K largest are zero."""
  order = sorted(range(len(weights)), key=lambda i: (-weights[i], i))
  kept = np.zeros(len(weights))
  for i in order[:count]:
    kept[i] = weights[i]
  return kept


def with_sum(weights, total):
  """Returns weights made to have this sum, where they have any."""
  return weights * (total / weights.sum()) if weights.sum() > 0 else weights


def look_up(memory, key, strength, count):
  """Returns a head's weights over all slots, those not chosen being 0."""
  num_slots = len(memory)
  if count == num_slots:  # The dense memory: nothing to choose.
    return references.content_weights(memory, key, strength)
  alike = [references.cosine(key, memory[i]) for i in range(num_slots)]
  chosen = sorted(range(num_slots), key=lambda i: (-alike[i], i))[:count]
  weights = np.zeros(num_slots)
  weights[chosen] = references.content_weights(memory[chosen], key, strength)
  return weights


def write(memory, read_before, last_access, vector, alpha, gamma):
  """Returns the memory after a write, and the write weights."""
  num_slots = len(memory)
  least = min(range(num_slots), key=lambda i: (last_access[i], i))
  weights = np.zeros(num_slots)
  for i in range(num_slots):
    mean = sum(read_before[:, i]) / len(read_before)
    weights[i] = alpha * (gamma * mean + (1 - gamma) * (i == least))
  new = memory.copy()
  new[least] = 0
  for i in range(num_slots):
    new[i] = new[i] + weights[i] * vector
  return new, weights


def accessed(last_access, step, reads, writes):
  """Returns when each slot was accessed last, after this step."""
  return np.array(
    [
      step if reads[:, i].sum() + writes[i] > 0.005 else last_access[i]
      for i in range(len(last_access))
    ]
  )


def link_step(link, precedence, weights, count, least):
  """Returns the link matrix and the precedence weights after a write.

  Args:
    link: L of the step before. Shape `[N, N]`.
    precedence: p of the step before, at most K of them not 0. Shape `[N]`.
    weights: w, this step's. Shape `[N]`.
    count: K.
    least: Links below this become zero.
  """
  size = len(weights)
  kept = with_sum(keep_largest(weights, count), weights.sum())
  new = np.zeros((size, size))
  for i in range(size):
    for j in range(size):
      if i != j:
        new[i, j] = (1 - kept[i] - kept[j]) * link[i, j]
        new[i, j] += kept[i] * precedence[j]
        if new[i, j] < least:
          new[i, j] = 0
  for i in range(size):
    new[i] = keep_largest(new[i], count)
  for j in range(size):
    new[:, j] = keep_largest(new[:, j], count)
  precedence = (1 - kept.sum()) * precedence + kept
  return new, keep_largest(precedence, count)


def read_weights(content, backward, forward, mode, count):
  """Returns where a head of a sparse DNC reads."""
  weights = mode[0] * backward + mode[1] * forward + mode[2] * content
  return with_sum(keep_largest(weights, count), weights.sum())
