"""Random weightings and links of the kind that a memory makes."""

import numpy as np


def weightings(rng: np.random.Generator, *shape: int) -> np.ndarray:
  """Returns weightings, non-negative and of sum below 1 over the last axis."""
  weights = rng.uniform(size=shape)
  share = rng.uniform(0.3, 0.95, size=(*shape[:-1], 1))
  return share * weights / weights.sum(axis=-1, keepdims=True)


def links(rng: np.random.Generator, *shape: int) -> np.ndarray:
  """Returns links `[*shape, N]` with the bounds that writing keeps."""
  size = shape[-1]
  values = rng.uniform(size=(*shape, size)) / size
  values[..., np.arange(size), np.arange(size)] = 0.0
  return values
