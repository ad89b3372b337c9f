"""Every core of the library, for the tests that hold for all of them.

A new core is one line in `CORES`, and every property is then asked of it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import haiku as hk
import jax
import numpy as np

from dnc_jax import baselines, controllers, dnc
from dnc_jax.access import Freeness, MemoryAccess, TemporalLinkage
from dnc_jax.mann import MANN, MANNAccess
from dnc_jax.ntm import NTM, NTMAccess
from dnc_jax.sam import SAM, SAMAccess
from dnc_jax.sdnc import SDNC, SDNCAccess
from dnc_jax.sparse_links import SparseLinkage

INPUT_SIZE, OUTPUT_SIZE, HIDDEN_SIZE = 4, 3, 6
MEMORY_SIZE, WORD_SIZE, NUM_READS = 5, 3, 2

ALL_OPTIONS = {
  "num_writes": 3,
  "strength": "oneplus",
  "usage_gradient": True,
  "links": "stop_gradient",
  "content_mask": True,
  "deallocate": True,
  "link_sharpness": True,
  "layer_norm": True,
  "allocation": "softmax",
}


class Hearing(hk.RNNCore):
  """A controller that says what it hears."""

  def __call__(self, inputs, prev_state):
    return inputs, prev_state

  def initial_state(self, batch_size):
    del batch_size
    return ()


def numbers(rng: np.random.Generator, *shape: int, scale: float) -> np.ndarray:
  """Returns what most cores hear: normal numbers."""
  return (scale * rng.normal(size=shape)).astype(np.float32)


def gates(rng: np.random.Generator, *shape: int, scale: float) -> np.ndarray:
  """Returns numbers in [0, 1], the nearer to its ends the greater the scale."""
  return np.asarray(jax.nn.sigmoid(numbers(rng, *shape, scale=scale)))


def weightings(
  rng: np.random.Generator, *shape: int, scale: float
) -> np.ndarray:
  """Returns numbers in [0, 1] whose sum over the last axis is at most 1."""
  where = jax.nn.softmax(numbers(rng, *shape, scale=scale), axis=-1)
  return np.asarray(where * gates(rng, *shape[:-1], 1, scale=scale))


def transform(function: Callable[..., Any]) -> hk.Transformed:
  """Returns a function of parameters and arguments, without randomness."""
  return hk.without_apply_rng(hk.transform(function))


def make_params(
  network: hk.Transformed, *arguments: Any, scale: float = 0.5
) -> Any:
  """Returns random parameters, biases too, at no cost of compiling."""
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: numbers(rng, *x.shape, scale=scale),
    jax.eval_shape(network.init, jax.random.key(0), *arguments),
  )


def _vectors(
  rng: np.random.Generator, *leading: int, memory_size: int, scale: float
) -> np.ndarray:
  del memory_size
  return numbers(rng, *leading, INPUT_SIZE, scale=scale)


def _writes(
  rng: np.random.Generator, *leading: int, memory_size: int, scale: float
) -> np.ndarray:
  return weightings(rng, *leading, 2, memory_size, scale=scale)


def _writes_and_reads(
  rng: np.random.Generator, *leading: int, memory_size: int, scale: float
) -> tuple[np.ndarray, ...]:
  return (
    weightings(rng, *leading, 2, memory_size, scale=scale),
    gates(rng, *leading, NUM_READS, scale=scale),
    weightings(rng, *leading, NUM_READS, memory_size, scale=scale),
  )


class Core(NamedTuple):
  """One row of the table.

  Attributes:
    make: Makes the core, with a memory of so many slots.
    inputs: Draws its inputs: generator, leading axes, `memory_size`, `scale`.
    has_memory: It has slots. Their number may differ between runs.
    has_state: What it hears makes a difference at later steps.
  """

  make: Callable[[int], hk.RNNCore]
  inputs: Callable[..., Any] = _vectors
  has_memory: bool = True
  has_state: bool = True


def _access(memory_size: int, **options: Any) -> MemoryAccess:
  return MemoryAccess(
    memory_size,
    WORD_SIZE,
    **{"num_reads": NUM_READS, **options},
  )


def _dnc(
  controller: Callable[[], hk.RNNCore] = lambda: hk.LSTM(
    HIDDEN_SIZE, name="lstm"
  ),
  clip_value: float | None = None,
  bypass_dropout: float = 0.0,
  **options: Any,
) -> Core:
  return Core(
    lambda memory_size: dnc.DNC(
      OUTPUT_SIZE,
      access=_access(memory_size, **options),
      controller=controller(),
      clip_value=clip_value,
      bypass_dropout=bypass_dropout,
    )
  )


def _ntm(memory_size: int, **options: Any) -> NTM:
  return NTM(
    OUTPUT_SIZE,
    access=NTMAccess(memory_size, WORD_SIZE, NUM_READS, **options),
    controller=hk.LSTM(HIDDEN_SIZE, name="lstm"),
  )


def _mann(memory_size: int) -> MANN:
  return MANN(
    OUTPUT_SIZE,
    access=MANNAccess(memory_size, WORD_SIZE, NUM_READS),
    controller=hk.LSTM(HIDDEN_SIZE, name="lstm"),
  )


def _sam(memory_size: int, **options: Any) -> SAM:
  return SAM(
    OUTPUT_SIZE,
    access=SAMAccess(
      memory_size, WORD_SIZE, NUM_READS, **{"sparsity": 2, **options}
    ),
    controller=hk.LSTM(HIDDEN_SIZE, name="lstm"),
  )


def _sdnc(memory_size: int, **options: Any) -> SDNC:
  return SDNC(
    OUTPUT_SIZE,
    access=SDNCAccess(
      memory_size,
      WORD_SIZE,
      NUM_READS,
      **{"sparsity": 2, "link_size": 3, **options},
    ),
    controller=hk.LSTM(HIDDEN_SIZE, name="lstm"),
  )


CORES: dict[str, Core] = {
  "dnc": _dnc(),
  "dnc_gru_clipped": _dnc(
    lambda: hk.GRU(HIDDEN_SIZE, name="gru"), clip_value=0.5
  ),
  "dnc_deep_lstm": _dnc(lambda: controllers.DeepLSTM(HIDDEN_SIZE, 2)),
  # Without a bound, what it reads could grow by what it writes for ever.
  "dnc_feed_forward": _dnc(
    lambda: controllers.FeedForward(HIDDEN_SIZE, 2), clip_value=20
  ),
  "dnc_skip_buckets": _dnc(
    lambda: controllers.Buckets(
      controllers.Skip(hk.LSTM(HIDDEN_SIZE, name="lstm"), 4), 2, 2, 3
    )
  ),
  "dnc_three_write_heads": _dnc(num_writes=3),
  "dnc_paper": _dnc(strength="oneplus", usage_gradient=True),
  "dnc_content_mask": _dnc(content_mask=True),
  "dnc_deallocate": _dnc(deallocate=True),
  "dnc_link_sharpness": _dnc(link_sharpness=True),
  "dnc_links_off": _dnc(links="off"),
  "dnc_links_stop_gradient": _dnc(links="stop_gradient"),
  "dnc_layer_norm": _dnc(layer_norm=True),
  "dnc_softmax_allocation": _dnc(allocation="softmax"),
  "dnc_links_sparse": _dnc(links="sparse", link_size=2),
  "dnc_links_sparse_all": _dnc(
    **{**ALL_OPTIONS, "links": "sparse", "link_size": 3}
  ),
  "dnc_all_options": _dnc(bypass_dropout=0.25, **ALL_OPTIONS),
  "ntm": Core(_ntm),
  "ntm_two_write_heads": Core(
    lambda n: _ntm(n, num_writes=2, max_shift=2, initial_memory="random")
  ),
  "mann": Core(_mann),
  "sam": Core(_sam),
  "sam_approximate": Core(
    lambda n: _sam(n, sparsity=MEMORY_SIZE, approximate=True)
  ),
  "sdnc": Core(_sdnc),
  "sdnc_dense": Core(
    lambda n: _sdnc(n, sparsity=MEMORY_SIZE, link_size=2 * MEMORY_SIZE)
  ),
  "lstm": Core(
    lambda _: baselines.LSTM(OUTPUT_SIZE, hidden_size=HIDDEN_SIZE),
    has_memory=False,
  ),
  "lstm_two_layers": Core(
    lambda _: baselines.LSTM(
      OUTPUT_SIZE, hidden_size=HIDDEN_SIZE, num_layers=2, clip_value=0.5
    ),
    has_memory=False,
  ),
  "gru": Core(
    lambda _: baselines.GRU(OUTPUT_SIZE, hidden_size=HIDDEN_SIZE),
    has_memory=False,
  ),
  "memory_access": Core(_access),
  "memory_access_all_options": Core(lambda n: _access(n, **ALL_OPTIONS)),
  "temporal_linkage": Core(lambda n: TemporalLinkage(n, num_writes=2), _writes),
  "sparse_linkage": Core(
    lambda n: SparseLinkage(n, num_writes=2, link_size=2), _writes
  ),
  "freeness": Core(Freeness, _writes_and_reads),
  "deep_lstm": Core(
    lambda _: controllers.DeepLSTM(HIDDEN_SIZE, 2), has_memory=False
  ),
  "feed_forward": Core(
    lambda _: controllers.FeedForward(HIDDEN_SIZE, 2),
    has_memory=False,
    has_state=False,
  ),
}

# Those with one option or controller that another of the table has as well.
_ALIKE = (
  "dnc_deep_lstm",
  "dnc_feed_forward",
  "dnc_three_write_heads",
  "dnc_paper",
  "dnc_content_mask",
  "dnc_deallocate",
  "dnc_link_sharpness",
  "dnc_links_stop_gradient",
  "dnc_layer_norm",
  "dnc_softmax_allocation",
  "dnc_links_sparse",
  "ntm",
  "sdnc_dense",
  "lstm",
  "memory_access_all_options",
)
# For tests of how a core is called, which these would tell nothing new of.
DISTINCT = tuple(name for name in CORES if name not in _ALIKE)
