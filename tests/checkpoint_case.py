"""What tests of checkpoints share."""

import os
import pathlib
from typing import NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import parameterized


class State(NamedTuple):
  params: dict
  opt_state: optax.OptState
  step: jax.Array
  empty: jax.Array
  nothing: None = None


def make_state(seed=0):
  """A state with every kind of leaf that training has, none of them zero."""
  keys = iter(jax.random.split(jax.random.key(seed), 4))
  params = {
    "dnc/~/lstm": {"w": jax.random.normal(next(keys), (3, 4))},
    "dnc.x": {"y.z": jax.random.normal(next(keys), (5,), jnp.bfloat16)},
    "no_params": {},
  }
  optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
  opt_state = optimiser.init(params)
  opt_state = jax.tree_util.tree_map(lambda x: x + 3, opt_state)
  bits = jax.random.bits(next(keys), (2,), jnp.uint32)
  return State(params, (opt_state, bits), jnp.asarray(7), jnp.zeros((0, 2)))


def assert_same_bits(actual, expected):
  """Like equality, but NaN equals NaN and 0 does not equal -0."""
  assert jax.tree_util.tree_structure(actual) == jax.tree_util.tree_structure(
    expected
  )
  for x, y in zip(
    jax.tree_util.tree_leaves(actual), jax.tree_util.tree_leaves(expected)
  ):
    assert type(x) is type(y), (type(x), type(y))
    assert (x.dtype, x.shape) == (y.dtype, y.shape), (x, y)
    assert np.asarray(x).tobytes() == np.asarray(y).tobytes(), (x, y)


def damage(path, kind):
  data = bytearray(path.read_bytes())
  if kind == "delete":
    path.unlink()
  elif kind == "truncate":
    path.write_bytes(data[: len(data) // 2])
  elif kind == "flip":
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


class FolderTestCase(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path) / "checkpoints"
    # A loss of power cannot be tested here, and a busy disk makes it slow.
    self.fsync = self.enter_context(mock.patch.object(os, "fsync"))

  def names(self):
    return sorted(path.name for path in self.folder.iterdir())
