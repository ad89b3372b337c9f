"""Training and evaluating a core on batches of sequences.

Everything that a step changes is in `TrainState`; everything random is a
function of the seed and the step. So a run that was stopped and goes on from a
checkpoint computes bit for bit what it would have without the stop.

Shapes: T steps, B sequences in the batch, I inputs, O outputs.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import haiku as hk
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from dnc_jax import backward, native, sharding
from dnc_jax.config import ModelConfig, make_core
from dnc_jax.interaction import Acting, ActingState, Environment, Episodes
from dnc_jax.losses import Batch, Objective, Scores
from dnc_jax.optimisers import OptimiserConfig, make_optimiser

# Over long sequences gradients can grow by a factor each step. The squares of
# larger ones overflow float32, and they could not be shortened by their norm.
_LARGEST_GRADIENT = 1e15


class TrainState(NamedTuple):
  """All that training changes.

  Attributes:
    params: Parameters of the model.
    opt_state: State of the optimiser.
    step: Updates done. Shape ``[]``, int32.
  """

  params: hk.Params
  opt_state: optax.OptState
  step: jax.Array


def make_forward(
  config: ModelConfig,
  chunk_length: int = 0,
  mesh: Mesh | None = None,
  kernels: str = "xla",
) -> hk.Transformed:
  """Returns the model over whole sequences, from inputs to logits.

  Of a step is kept for the backward pass what `backward.recompute` says; of sam
  and sdnc the words read, and all else that does not grow with the number of
  slots.

  Args:
    config: What the model is made of.
    chunk_length: See `OptimiserConfig`.
    mesh: Devices that the states are divided over, of `sharding.make_mesh`;
      None for one.
    kernels: See `OptimiserConfig`.

  Returns:
    ``init(key, inputs)`` and ``apply(params, inputs)``, inputs ``[T, B, I]``,
    logits ``[T, B, O]``, from the initial state.
  """
  return hk.without_apply_rng(_forward(config, chunk_length, mesh, kernels))


def _unroll(
  core: hk.RNNCore, inputs: Any, state: Any, chunk_length: int, kernels: str
) -> tuple[Any, Any]:
  """Unrolls by kernels, in chunks if they have a length."""
  unroll = native.native_unroll if kernels == "native" else hk.dynamic_unroll
  if chunk_length:
    return backward.unroll_in_chunks(
      core, inputs, state, chunk_length, unroll=unroll
    )
  return unroll(core, inputs, state)


def _trained(
  core: hk.RNNCore,
  config: ModelConfig,
  batch_size: int,
  mesh: Mesh | None,
  kernels: str,
) -> Any:
  """Returns the core as it is trained, divided over a mesh if there is one."""
  core = backward.recompute(core, config, batch_size, kernels)
  return core if hk.running_init() else sharding.constrain(core, mesh)


def _forward(
  config: ModelConfig, chunk_length: int, mesh: Mesh | None, kernels: str
) -> hk.Transformed:
  """Returns `make_forward`'s model, to be applied with a key or None."""

  def forward(inputs: jax.Array) -> jax.Array:
    core = make_core(config)
    batch_size = inputs.shape[1]
    outputs, _ = _unroll(
      _trained(core, config, batch_size, mesh, kernels),
      inputs,
      core.initial_state(batch_size),
      chunk_length,
      kernels,
    )
    return cast(jax.Array, outputs)

  return _over(mesh, hk.transform(forward))


def make_rollout(
  config: ModelConfig,
  environment: Environment,
  chunk_length: int = 0,
  mesh: Mesh | None = None,
  kernels: str = "xla",
) -> hk.Transformed:
  """Returns the model acting over whole episodes, from `Episodes` to outcomes.

  Its parameters are those of `make_forward`, and so is what is kept for the
  backward pass.

  Args:
    config: What the model is made of.
    environment: What it acts in.
    chunk_length: See `OptimiserConfig`.
    mesh: See `make_forward`.
    kernels: See `OptimiserConfig`.

  Returns:
    ``init(key, episodes)`` and ``apply(params, episodes)``, which gives logits
    ``[T, B, O]`` and the environment's outcomes ``[T, B, ...]``.
  """
  rollout = _rollout(config, environment, chunk_length, mesh, kernels)
  return hk.without_apply_rng(rollout)


def _rollout(
  config: ModelConfig,
  environment: Environment,
  chunk_length: int,
  mesh: Mesh | None,
  kernels: str,
) -> hk.Transformed:
  """Returns `make_rollout`'s model, to be applied with a key or None."""

  def rollout(episodes: Episodes) -> tuple[jax.Array, Any]:
    core = make_core(config)
    batch_size = episodes.inputs.shape[1]
    acting = Acting(
      _trained(core, config, batch_size, mesh, kernels),
      environment,
      episodes.world,
    )
    state = ActingState(
      core.initial_state(batch_size), environment.start(episodes.world)
    )
    steps = (episodes.inputs, episodes.mask, episodes.coins)
    answers, _ = _unroll(acting, steps, state, chunk_length, kernels)
    return cast(tuple[jax.Array, Any], answers)

  return _over(mesh, hk.transform(rollout))


def _over(mesh: Mesh | None, network: hk.Transformed) -> hk.Transformed:
  """Returns a network that divides its sequences over a mesh, if any."""
  return hk.Transformed(network.init, sharding.divide(network.apply, mesh))


def init_state(
  config: ModelConfig, optimiser: OptimiserConfig, input_size: int, seed: int
) -> TrainState:
  """Returns the state before the first update.

  Args:
    config: The model.
    optimiser: How it is trained.
    input_size: I, numbers that the network hears at a step.
    seed: What the parameters are drawn from.

  Returns:
    A state whose parameters are a function of these arguments.
  """
  # No parameter's shape depends on the number of slots, and few are cheap.
  fewest = {
    "mann": config.num_reads,
    "sam": config.sparsity,
    "sdnc": config.sparsity,
  }
  slots = fewest.get(config.core, 1)
  small = dataclasses.replace(config, memory_size=slots)
  params = jax.jit(make_forward(small).init)(
    jax.random.key(seed), jnp.zeros([1, 1, input_size])
  )
  return TrainState(
    params=params,
    opt_state=make_optimiser(optimiser).init(params),
    step=jnp.zeros([], jnp.int32),
  )


Goal = Objective | Environment
Update = Callable[
  [TrainState, Batch | Episodes, int, int], tuple[TrainState, Scores]
]
Evaluate = Callable[[hk.Params, Batch | Episodes, int], tuple[Any, Scores]]


def make_update(
  config: ModelConfig,
  optimiser: OptimiserConfig,
  goal: Goal,
  seed: int = 0,
  mesh: Mesh | None = None,
) -> Update:
  """Returns one step of training, compiled.

  Args:
    config: The model.
    optimiser: How it is trained.
    goal: What it is to do: score sequences, or act in an environment.
    seed: What is dropped is drawn from, with the step; see ``bypass_dropout``.
    mesh: Devices to divide the work over, of `sharding.make_mesh`; None for
      one. States are then to be given as `sharding.replicate` has them, batches
      as `sharding.shard_batch`, and what is returned is whole on every device.

  Returns:
    ``update(state, batch, step, memory_size)``, which gives the next state and
    the scores of the batch before the update. It is compiled once for each
    shape of a batch and each number of slots. The state given is used up.

    Nothing is updated where the loss or a gradient is not finite, nor where
    ``step``, the number of this update from 0, is not the state's: so after a
    loss that is not finite the state stays what it was before, for the caller
    to save, however late the caller looks at the loss.

  Raises:
    ValueError: The kernels cannot run here.
  """
  check_kernels(config, optimiser, mesh)
  one = _make_one_update(config, optimiser, goal, mesh)

  @functools.partial(
    jax.jit, static_argnums=3, donate_argnums=0, **_everywhere(mesh)
  )
  def update(
    state: TrainState, batch: Batch | Episodes, step: int, memory_size: int
  ) -> tuple[TrainState, Scores]:
    return one(state, batch, step, seed, memory_size)

  return update


def make_updates(
  config: ModelConfig, optimiser: OptimiserConfig, goal: Goal
) -> Callable[..., tuple[TrainState, Scores]]:
  """Returns one step of training of several networks at once, compiled.

  Each computes what `make_update` says, but for rounding. It is meant for
  accelerators: on a CPU it is no faster (docs/comparison.md).

  Args:
    config: The model, the same for all.
    optimiser: How they are trained.
    goal: What they are to do.

  Returns:
    ``updates(states, batches, steps, seeds, memory_size)``: as
    ``make_update(..., seed)(state, batch, step, memory_size)``, but each array
    has an axis more, the first, for the network. The states are used up.

  Raises:
    ValueError: The kernels are native.
  """
  if optimiser.kernels == "native":
    raise ValueError(
      "kernels must be 'xla' for several networks at once, got 'native'."
    )
  one = _make_one_update(config, optimiser, goal)

  @functools.partial(jax.jit, static_argnums=4, donate_argnums=0)
  def updates(
    states: TrainState, batches: Any, steps: Any, seeds: Any, memory_size: int
  ) -> tuple[TrainState, Scores]:
    each = functools.partial(one, memory_size=memory_size)
    return jax.vmap(each)(states, batches, steps, seeds)

  return updates


def check_kernels(
  config: ModelConfig, optimiser: OptimiserConfig, mesh: Mesh | None = None
) -> None:
  """Raises a `ValueError` where native kernels are asked for and cannot run."""
  if optimiser.kernels != "native":
    return
  if mesh is not None:
    raise ValueError(
      "kernels must be 'xla' over several devices, got 'native'."
    )
  native.check(config)


def _everywhere(mesh: Mesh | None) -> dict[str, Any]:
  """Returns how `jax.jit` is told that results are whole on every device."""
  return {} if mesh is None else {"out_shardings": sharding.replicated(mesh)}


def _make_one_update(
  config: ModelConfig,
  optimiser: OptimiserConfig,
  goal: Goal,
  mesh: Mesh | None = None,
) -> Callable[..., tuple[TrainState, Scores]]:
  """Returns one step of training, to be compiled."""
  transformation = make_optimiser(optimiser)

  def update(
    state: TrainState,
    batch: Batch | Episodes,
    step: int | jax.Array,
    seed: int | jax.Array,
    memory_size: int,
  ) -> tuple[TrainState, Scores]:
    model = dataclasses.replace(config, memory_size=memory_size)

    key = None
    if config.bypass_dropout:
      key = jax.random.fold_in(jax.random.key(seed), step)

    def loss(params: hk.Params) -> tuple[jax.Array, Scores]:
      _, scores = _attempt(
        model,
        goal,
        params,
        batch,
        key,
        optimiser.chunk_length,
        mesh,
        optimiser.kernels,
      )
      return scores.loss, scores

    gradients, scores = jax.grad(loss, has_aux=True)(state.params)
    finite = jnp.isfinite(scores.loss)
    for gradient in jax.tree.leaves(gradients):
      finite &= jnp.all(jnp.isfinite(gradient))
    gradients = jax.tree.map(
      lambda x: jnp.clip(x, -_LARGEST_GRADIENT, _LARGEST_GRADIENT), gradients
    )
    updates, opt_state = transformation.update(
      gradients, state.opt_state, state.params
    )
    params = cast(hk.Params, optax.apply_updates(state.params, updates))
    # A gradient that is not finite is the caller's to see, too.
    scores = scores._replace(loss=jnp.where(finite, scores.loss, jnp.nan))
    state = jax.tree.map(
      functools.partial(jnp.where, finite & (state.step == step)),
      TrainState(params, opt_state, state.step + 1),
      state,
    )
    return state, scores

  return update


def make_evaluate(
  config: ModelConfig, goal: Goal, mesh: Mesh | None = None
) -> Evaluate:
  """Returns how a model does on a batch, compiled.

  Args:
    config: The model.
    goal: What it is to do.
    mesh: See `make_update`.

  Returns:
    ``evaluate(params, batch, memory_size)``, which gives the logits
    ``[T, B, O]``, or the environment's outcomes ``[T, B, ...]``, and the
    scores.
  """

  @functools.partial(jax.jit, static_argnums=2, **_everywhere(mesh))
  def evaluate(
    params: hk.Params, batch: Batch | Episodes, memory_size: int
  ) -> tuple[Any, Scores]:
    model = dataclasses.replace(config, memory_size=memory_size)
    return _attempt(model, goal, params, batch, mesh=mesh)

  return evaluate


def _attempt(
  config: ModelConfig,
  goal: Goal,
  params: hk.Params,
  batch: Batch | Episodes,
  key: jax.Array | None = None,
  chunk_length: int = 0,
  mesh: Mesh | None = None,
  kernels: str = "xla",
) -> tuple[Any, Scores]:
  """Returns what a model does with a batch, and its scores.

  With a key what it may drop is dropped; without, nothing.
  """
  if isinstance(batch, Episodes):
    environment = cast(Environment, goal)
    rollout = _rollout(config, environment, chunk_length, mesh, kernels)
    _, outcomes = rollout.apply(params, key, batch)
    return outcomes, environment.scores(outcomes)
  forward = _forward(config, chunk_length, mesh, kernels)
  logits = forward.apply(params, key, batch.inputs)
  return logits, cast(Objective, goal)(logits, batch.targets, batch.mask)


def num_params(params: Mapping[str, Any]) -> int:
  """Returns how many numbers the parameters are.

  >>> num_params({"linear": {"w": jnp.zeros([2, 3]), "b": jnp.zeros([3])}})
  9
  """
  return sum(x.size for x in jax.tree.leaves(params))


def state_bytes(config: ModelConfig) -> int:
  """Returns what the state of one sequence takes, in bytes.

  >>> state_bytes(ModelConfig(output_size=1, core="none", hidden_size=8))
  64

  Args:
    config: The model.
  """
  model = hk.transform(lambda: make_core(config).initial_state(1))
  params = jax.eval_shape(model.init, jax.random.key(0))
  state = jax.eval_shape(lambda x: model.apply(x, None), params)
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
