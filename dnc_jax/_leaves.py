"""Leaves of trees: names and descriptions that tell models apart."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np


def describe(name: str, leaf: Any) -> dict[str, Any]:
  """Returns name, shape and dtype of a leaf, as JSON can write them."""
  if not hasattr(leaf, "dtype"):
    leaf = np.asarray(leaf)
  shape = [int(n) for n in leaf.shape]
  return {"name": name, "shape": shape, "dtype": str(leaf.dtype)}


def first_difference(
  saved: Sequence[dict[str, Any]], wanted: Sequence[dict[str, Any]]
) -> str | None:
  """Returns how two models' leaves first differ, in words; None if they don't.

  Args:
    saved: `describe` of each leaf "there".
    wanted: Of each leaf "in this model".
  """
  saved_by_name = {entry["name"]: entry for entry in saved}
  wanted_by_name = {entry["name"]: entry for entry in wanted}
  for name in (*wanted_by_name, *saved_by_name):
    there, here = saved_by_name.get(name), wanted_by_name.get(name)
    if there != here:
      return f"{name} is {_show(there)} there and {_show(here)} in this model"
  return None


def to_host(leaves: Sequence[Any]) -> list[Any]:
  """Returns leaves in the host's memory.

  But arrays of several processes stay where they are: Orbax lets each process
  write its part.
  """
  stay = [
    isinstance(x, jax.Array) and not x.is_fully_addressable for x in leaves
  ]
  own = jax.device_get([x for x, stays in zip(leaves, stay) if not stays])
  fetched = iter(own)
  return [
    x if stays else np.asarray(next(fetched)) for x, stays in zip(leaves, stay)
  ]


def leaf_name(path: Any) -> str:
  """Returns the name of a leaf of any tree, by its path."""
  return jax.tree_util.keystr(path) or "(the only leaf)"


def param_name(path: Any) -> str:
  """Returns the name of a parameter, ``module/name``, by its path."""
  return jax.tree_util.keystr(path, simple=True, separator="/")


def _show(entry: dict[str, Any] | None) -> str:
  """Returns dtype and shape of a leaf in words."""
  return f"{entry['dtype']}{entry['shape']}" if entry else "missing"
