"""How parameters are updated."""

import dataclasses
import math

import optax

from dnc_jax._checks import one_of

OPTIMISERS = ("rmsprop", "adam")
KERNELS = ("xla", "native")


@dataclasses.dataclass(frozen=True)
class OptimiserConfig:
  """How parameters are updated, checked when made.

  Defaults are those of google-deepmind/dnc's training script.

  Attributes:
    optimiser: ``"rmsprop"`` as TensorFlow 1 computes it (decay 0.9, ε inside
      the square root, mean square starting at 1), or ``"adam"``.
    learning_rate: More than 0.
    epsilon: Added to the second moment, more than 0. Of rmsprop only.
    max_grad_norm: Gradients longer than this, all parameters taken together,
      are shortened to it; more than 0.
    warmup_steps: Updates over which the learning rate grows from 0, at least 0.
    decay_steps: Updates, after those, over which it falls along a cosine to a
      hundredth; 0 for none.
    chunk_length: Steps of a sequence of which the backward pass holds at a time
      what it needs, as `backward.unroll_in_chunks`; 0 for all. What a step
      computes is the same but for rounding; what it drops is drawn otherwise.
    kernels: What a DNC's memory does its steps in: ``"xla"``, or ``"native"``,
      functions in C++ for a CPU, as `native_unroll`, the same but for rounding.
  """

  optimiser: str = "rmsprop"
  learning_rate: float = 1e-4
  epsilon: float = 1e-10
  max_grad_norm: float = 50.0
  warmup_steps: int = 0
  decay_steps: int = 0
  chunk_length: int = 0
  kernels: str = "xla"

  def __post_init__(self):
    """Checks every field.

    Raises:
      ValueError: A field is out of its range.
    """
    one_of("optimiser", self.optimiser, OPTIMISERS)
    one_of("kernels", self.kernels, KERNELS)
    for name in ("learning_rate", "epsilon", "max_grad_norm"):
      if not 0 < getattr(self, name) < math.inf:
        raise ValueError(
          f"{name} must be more than 0, got {getattr(self, name)}. It must "
          "also be finite."
        )
    for name in ("warmup_steps", "decay_steps", "chunk_length"):
      if getattr(self, name) < 0:
        raise ValueError(
          f"{name} must be at least 0, got {getattr(self, name)}."
        )


def make_optimiser(config: OptimiserConfig) -> optax.GradientTransformation:
  """Returns the optimiser, gradient clipping included."""
  rate = optax.constant_schedule(config.learning_rate)
  if config.decay_steps:
    rate = optax.cosine_decay_schedule(
      config.learning_rate, config.decay_steps, alpha=0.01
    )
  if config.warmup_steps:
    warmup = optax.linear_schedule(
      0.0, config.learning_rate, config.warmup_steps
    )
    rate = optax.join_schedules([warmup, rate], [config.warmup_steps])
  if config.optimiser == "adam":
    update = optax.adam(rate)
  else:
    update = optax.rmsprop(
      rate,
      decay=0.9,
      eps=config.epsilon,
      initial_scale=1.0,
      eps_in_sqrt=True,
    )
  return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), update)
