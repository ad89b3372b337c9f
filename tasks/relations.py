"""The 400 relations of inference: names for ways along several edges.

Graves et al. 2016, Methods, "Inference". Single edges have the labels 0 to 9.
The labels 10 to 409 stand for sequences of them, 100 for each length from 2 to
5: 10 to 109 are of two edges, 110 to 209 of three, and so on. Which sequence a
label stands for is drawn once and never told to a network, which has to find
it out from examples.

The paper asks about a family tree without having trained on it, so the table
must hold the tree's relations; how they came in it does not say. Here every
sequence of 2, 3 and 4 edges that leads from one person of `families.TREE` to
another, without meeting anybody twice, is in the table, and 100 of the 135 of
5 edges. The rest are sequences at random.
"""

import functools

import numpy as np

from tasks import families

NUM_EDGE_LABELS = 10
LENGTHS = (2, 3, 4, 5)
PER_LENGTH = 100
NUM_LABELS = NUM_EDGE_LABELS + len(LENGTHS) * PER_LENGTH
LONGEST = LENGTHS[-1]


@functools.cache
def table(seed: int = 0) -> np.ndarray:
  """Returns what each label stands for.

  Args:
    seed: What the table is drawn from.

  Returns:
    The edge labels in [0, 10), -1 beyond a relation's length; the first ten
    rows are the single edges. Not to be written to. Shape ``[410, 5]``.
  """
  rng = np.random.default_rng(seed)
  rows = np.full((NUM_LABELS, LONGEST), -1)
  rows[:NUM_EDGE_LABELS, 0] = np.arange(NUM_EDGE_LABELS)
  for length in LENGTHS:
    kin = sorted({walk.labels for walk in families.TREE.walks(length)})
    chosen = [kin[x] for x in rng.permutation(len(kin))[:PER_LENGTH]]
    known = set(kin)
    while len(chosen) < PER_LENGTH:
      other = tuple(rng.integers(0, NUM_EDGE_LABELS, length).tolist())
      if other not in known:
        known.add(other)
        chosen.append(other)
    first = first_label(length)
    order = rng.permutation(PER_LENGTH)
    rows[first : first + PER_LENGTH, :length] = np.array(chosen)[order]
  rows.flags.writeable = False
  return rows


def first_label(length: int) -> int:
  """Returns the first label of the relations of so many edges, 1 to 5.

  >>> first_label(1), first_label(2), first_label(5)
  (0, 10, 310)
  """
  if length == 1:
    return 0
  return NUM_EDGE_LABELS + (length - LENGTHS[0]) * PER_LENGTH


@functools.cache
def labels_by_sequence(seed: int = 0) -> dict[tuple[int, ...], int]:
  """Returns the label of each sequence of edge labels that has one."""
  return {
    tuple(x for x in row if x >= 0): label
    for label, row in enumerate(table(seed).tolist())
  }
