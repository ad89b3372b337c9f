"""Memories of every option, ours and the slow reference, run side by side.

Shapes: T steps, B sequences, N slots, W numbers in a slot, R read heads.
"""

import functools

import haiku as hk
import jax
import numpy as np

from dnc_jax.access import AccessState, MemoryAccess, TemporalLinkageState
from tests import reference_network, references
from tests.weightings import links, weightings

T, B, N, W, R, HIDDEN = 4, 2, 6, 3, 2, 5

OPTIONS = {
  "default": {},
  "three_writes": {"num_writes": 3},
  "oneplus": {"strength": "oneplus"},
  "content_mask": {"content_mask": True},
  "content_mask_without_floor": {"content_mask": True, "mask_floor": 0.0},
  "deallocate": {"deallocate": True},
  "links_off": {"links": "off"},
  "links_stop_gradient": {"links": "stop_gradient"},
  "link_sharpness": {"link_sharpness": True},
  "layer_norm": {"layer_norm": True},
  "softmax_allocation": {"allocation": "softmax", "num_writes": 2},
  "everything": {
    "num_writes": 2,
    "strength": "oneplus",
    "content_mask": True,
    "mask_floor": 0.25,
    "deallocate": True,
    "link_sharpness": True,
    "layer_norm": True,
    "allocation": "softmax",
  },
}


_NORM = "memory_access/interface_norm"


def layout(options) -> dict[str, int]:
  """Returns how many numbers of the interface are for what, in order."""
  writes = options.get("num_writes", 1)
  sizes = {
    "write_vectors": writes * W,
    "erase_vectors": writes * W,
    "free_gate": R,
    "allocation_gate": writes,
    "write_gate": writes,
    "read_mode": R * (1 + 2 * writes),
    "write_keys": writes * W,
    "write_strengths": writes,
    "read_keys": R * W,
    "read_strengths": R,
  }
  if options.get("links") == "off":
    del sizes["read_mode"]
  if options.get("content_mask"):
    sizes |= {"write_masks": writes * W, "read_masks": R * W}
  if options.get("link_sharpness"):
    sizes["link_sharpness"] = R * 2 * writes
  if options.get("allocation") == "softmax":
    sizes["allocation_strengths"] = writes
  return sizes


def _split(options, vector):
  """Returns a vector of the interface as its parts by name."""
  sizes = layout(options)
  stops = np.cumsum(list(sizes.values()))[:-1]
  return dict(zip(sizes, np.split(vector, stops), strict=True))


def _params(w, b):
  return {"memory_access/interface": {"w": w, "b": b}}


def random_params(rng, options, scale=1.0):
  size = sum(layout(options).values())
  params = _params(
    scale * rng.normal(size=(HIDDEN, size)), scale * rng.normal(size=size)
  )
  if options.get("layer_norm"):
    params[_NORM] = {
      "scale": 1 + 0.1 * rng.normal(size=size),
      "offset": scale * rng.normal(size=size),
    }
  return params


def direct_params(options):
  """Returns parameters that make the inputs themselves the interface."""
  size = sum(layout(options).values())
  return _params(np.eye(size), np.zeros(size))


def direct_inputs(options, steps, batch_size=1):
  """Returns inputs [T, batch, interface], zero but for the parts named."""
  sizes = layout(options)
  rows = []
  for step in steps:
    parts = {name: np.zeros(size) for name, size in sizes.items()}
    for name, values in step.items():
      parts[name] = np.broadcast_to(np.asarray(values).ravel(), sizes[name])
    rows.append(np.concatenate(list(parts.values())))
  return np.repeat(np.stack(rows)[:, None], batch_size, axis=1)


def random_fields(rng, options):
  """Returns a state that a memory may come to, by field."""
  writes = options.get("num_writes", 1)
  fields = {
    "memory": rng.normal(size=(B, N, W)),
    "usage": rng.uniform(size=(B, N)),
    "read_weights": weightings(rng, B, R, N),
    "write_weights": weightings(rng, B, writes, N),
  }
  if options.get("links") != "off":
    fields["link"] = links(rng, B, writes, N)
    fields["precedence_weights"] = weightings(rng, B, writes, N)
  return fields


def _to_state(fields) -> AccessState:
  linkage = None
  if "link" in fields:
    linkage = TemporalLinkageState(fields["link"], fields["precedence_weights"])
  return AccessState(
    memory=fields["memory"],
    read_weights=fields["read_weights"],
    write_weights=fields["write_weights"],
    linkage=linkage,
    usage=fields["usage"],
  )


def _from_state(state: AccessState):
  fields = {
    "memory": state.memory,
    "usage": state.usage,
    "read_weights": state.read_weights,
    "write_weights": state.write_weights,
  }
  if isinstance(state.linkage, TemporalLinkageState):
    fields["link"] = state.linkage.link
    fields["precedence_weights"] = state.linkage.precedence_weights
  return fields


@functools.cache
def _runner(options, memory_size):
  """Returns the compiled unroll of a memory with these options."""

  @hk.without_apply_rng
  @hk.transform
  def run(inputs, fields):
    core = MemoryAccess(memory_size, W, R, **dict(options))
    state = core.initial_state(inputs.shape[1])
    if fields is not None:
      state = _to_state(fields)
    words, states = hk.dynamic_unroll(
      core, inputs, state, return_all_states=True
    )
    return words, _from_state(states)

  return jax.jit(run.apply)


def unroll(options, params, inputs, fields=None, memory_size=N):
  """Returns words and states of all steps, from zero if without `fields`."""
  run = _runner(tuple(options.items()), memory_size)
  return run(params, inputs, fields)


def slow_unroll(options, params, inputs, fields):
  """Returns what `_unroll` does, by the slow reference."""
  layer = params["memory_access/interface"]
  outputs = []
  for b in range(inputs.shape[1]):
    state = {field: values[b] for field, values in fields.items()}
    steps = []
    for row in inputs[:, b]:
      said = row @ layer["w"] + layer["b"]
      if _NORM in params:
        said = references.layer_norm(said, **params[_NORM])
      parts = reference_network.interface(
        _split(options, said),
        num_reads=R,
        num_writes=options.get("num_writes", 1),
        strength=options.get("strength", "softplus"),
        mask_floor=options.get("mask_floor", 0.1),
      )
      words, state = reference_network.access_step(
        parts,
        state,
        deallocate=options.get("deallocate", False),
        links=options.get("links") != "off",
      )
      steps.append({"words": words, **state})
    outputs.append({k: np.stack([s[k] for s in steps]) for k in steps[0]})
  stacked = {k: np.stack([o[k] for o in outputs], axis=1) for k in outputs[0]}
  return stacked.pop("words"), stacked
