"""What a model is made of, as a value that can be saved, and the model itself.

>>> config = ModelConfig(output_size=5, memory_size=32)
>>> ModelConfig.from_json(config.to_json()) == config
True
"""

import dataclasses
import json
from typing import Any, get_type_hints

import haiku as hk

from dnc_jax._checks import at_least, clip_bound, dropout_rate, one_of
from dnc_jax.access import ALLOCATIONS, LINKS, STRENGTHS, MemoryAccess
from dnc_jax.baselines import Baseline
from dnc_jax.controllers import Buckets, DeepLSTM, FeedForward, Skip
from dnc_jax.dnc import DNC
from dnc_jax.mann import MANN, MANNAccess
from dnc_jax.ntm import INITIAL_MEMORIES, NTM, NTMAccess
from dnc_jax.sam import SAM, SAMAccess, check_sparsity
from dnc_jax.sdnc import SDNC, SDNCAccess

CORES = ("dnc", "ntm", "mann", "sam", "sdnc", "none")
CONTROLLERS = ("lstm", "deep_lstm", "gru", "feed_forward")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """A model's sizes and options, checked when made.

  Defaults are those of google-deepmind/dnc's training script.

  Attributes:
    output_size: Numbers in a step's output, at least 1.
    core: The memory around the controller: ``"dnc"``, ``"ntm"``, ``"mann"``,
      ``"sam"``, ``"sdnc"``, or ``"none"``, the controller alone. A field that
      says "of" some cores has no effect on the others.
    controller: ``"lstm"``, ``"deep_lstm"`` (the paper's, with skip
      connections), ``"gru"`` or ``"feed_forward"``.
    hidden_size: Cells in each layer of the controller, at least 1.
    num_layers: Layers of the controller, at least 1; 1 for lstm and gru.
    skip_size: Units of a layer after the controller that hears the input and
      what was read again (`controllers.Skip`); 0 for none.
    skip_layers: Such layers, one after the other, at least 1.
    num_buckets: Buckets in which the controller hears the symbols that an input
      begins with (`controllers.Buckets`), in each of two tables; 0 for none.
    num_symbols: Symbols that an input begins with, at least 1; for buckets. The
      defaults of this and the next are a triple of labels of three digits.
    symbol_size: Numbers that stand for a symbol, at least 1; for buckets.
    memory_size: N, slots of the memory, at least 1. May differ between training
      and use.
    word_size: W, numbers in a slot, at least 1.
    num_reads: R, read heads, at least 1.
    num_writes: Write heads, at least 1; of dnc and ntm.
    clip_value: Bound on controller and output, more than 0; None for none.
    strength: ``"softplus"`` (DeepMind's code) or ``"oneplus"`` (the paper); of
      dnc, as are those after it up to ``allocation``.
    usage_gradient: Gradients from usage to write weights flow (the paper) or
      are stopped (DeepMind's code).
    links: ``"dense"``, ``"stop_gradient"``, ``"sparse"`` or ``"off"``.
    bfloat16_links: Links are stored in 16 bits; needs dense ones.
    content_mask: Look-ups choose which elements of a word to compare.
    mask_floor: Least that a masked element counts, in [0, 1].
    deallocate: Freed slots are wiped.
    link_sharpness: Directional weights are made sharper; needs links.
    layer_norm: What the controller tells the memory is normalised.
    allocation: ``"sort"``, the paper's, or ``"softmax"``, without an order.
    bypass_dropout: How much of what the controller says is dropped on its way
      to the output in training, in [0, 1); of dnc, ntm and mann.
    max_shift: Slots that a head can move by in a step, at least 0; of ntm.
    initial_memory: ``"constant"``, ``"learned"`` or ``"random"``; of ntm.
    sparsity: K, slots that a head reads, from 1 to ``memory_size``; of sam and
      sdnc.
    link_size: Links of a slot each way, at least 1; of sdnc, and of dnc with
      sparse links.
    approximate: Slots are looked up by `jax.lax.approx_max_k`; of sam and sdnc.
  """

  output_size: int
  core: str = "dnc"
  controller: str = "lstm"
  hidden_size: int = 64
  num_layers: int = 1
  skip_size: int = 0
  skip_layers: int = 1
  num_buckets: int = 0
  num_symbols: int = 3
  symbol_size: int = 30
  memory_size: int = 16
  word_size: int = 16
  num_reads: int = 4
  num_writes: int = 1
  clip_value: float | None = 20.0
  strength: str = "softplus"
  usage_gradient: bool = False
  links: str = "dense"
  bfloat16_links: bool = False
  content_mask: bool = False
  mask_floor: float = 0.1
  deallocate: bool = False
  link_sharpness: bool = False
  layer_norm: bool = False
  allocation: str = "sort"
  bypass_dropout: float = 0.0
  max_shift: int = 1
  initial_memory: str = "constant"
  sparsity: int = 4
  link_size: int = 8
  approximate: bool = False

  def __post_init__(self):
    """Checks every field.

    Raises:
      ValueError: A field is out of its range.
    """
    for name in (
      "output_size",
      "hidden_size",
      "num_layers",
      "skip_layers",
      "num_symbols",
      "symbol_size",
      "memory_size",
      "word_size",
      "num_reads",
      "num_writes",
      "sparsity",
      "link_size",
    ):
      at_least(name, getattr(self, name), 1)
    for name in ("skip_size", "num_buckets", "max_shift"):
      at_least(name, getattr(self, name), 0)
    one_of("core", self.core, CORES)
    one_of("initial_memory", self.initial_memory, INITIAL_MEMORIES)
    one_of("controller", self.controller, CONTROLLERS)
    one_of("strength", self.strength, STRENGTHS)
    one_of("links", self.links, LINKS)
    one_of("allocation", self.allocation, ALLOCATIONS)
    dropout_rate(self.bypass_dropout)
    if self.link_sharpness and self.links == "off":
      raise ValueError(
        "link_sharpness needs links, which are 'off'. Choose 'dense'."
      )
    if self.bfloat16_links and self.links in ("sparse", "off"):
      raise ValueError(
        f"bfloat16_links needs dense links, got links {self.links!r}. Choose "
        "'dense' or 'stop_gradient'."
      )
    if self.core == "mann" and self.memory_size < self.num_reads:
      raise ValueError(
        f"memory_size must be at least num_reads, {self.num_reads}, for core "
        f"'mann', got {self.memory_size}: each head writes to its own slot."
      )
    if self.core in ("sam", "sdnc"):
      check_sparsity(self.sparsity, self.memory_size)
    if self.num_layers > 1 and self.controller in ("lstm", "gru"):
      raise ValueError(
        f"num_layers must be 1 for controller {self.controller!r}, got "
        f"{self.num_layers}. For more layers use 'deep_lstm'."
      )
    clip_bound(self.clip_value)
    if not 0 <= self.mask_floor <= 1:
      raise ValueError(f"mask_floor must be in [0, 1], got {self.mask_floor}.")

  def to_dict(self) -> dict[str, Any]:
    """Returns the fields by name, for JSON."""
    return dataclasses.asdict(self)

  def to_json(self) -> str:
    """Returns the fields as one JSON object, a field a line."""
    return json.dumps(self.to_dict(), indent=2)

  @classmethod
  def from_dict(cls, fields: dict[str, Any]) -> "ModelConfig":
    """Returns the config with these fields, defaults for those not named.

    Args:
      fields: Values by name, as `to_dict` gives them.

    Raises:
      ValueError: A name is not a field, a value has the wrong type or is out of
        range, or ``output_size`` is missing.
    """
    types = get_type_hints(cls)
    for name, value in fields.items():
      if name not in types:
        raise ValueError(
          f"{name!r} is not a field of a model's config, which has: "
          + ", ".join(types)
          + "."
        )
      wanted = (int, float) if types[name] is float else types[name]
      if name == "clip_value":
        wanted = (int, float, type(None))
      wrong_bool = isinstance(value, bool) and types[name] is not bool
      if wrong_bool or not isinstance(value, wanted):
        raise ValueError(f"{name} has a value of the wrong type: {value!r}.")
    if "output_size" not in fields:
      raise ValueError("The model's config lacks output_size.")
    return cls(**fields)

  @classmethod
  def from_json(cls, text: str) -> "ModelConfig":
    """Returns the config that `to_json` wrote.

    Raises:
      ValueError: The text is not JSON, or not a model's config.
    """
    try:
      fields = json.loads(text)
    except json.JSONDecodeError as error:
      raise ValueError(f"A model's config must be JSON: {error}.") from None
    if not isinstance(fields, dict):
      raise ValueError(f"A model's config must be an object, got {fields!r}.")
    return cls.from_dict(fields)


def make_core(config: ModelConfig) -> hk.RNNCore:
  """Returns the model, inside a function given to ``hk.transform``.

  Its parameters are named ``lstm/...`` (or as the controller is called),
  ``memory_access/interface`` and ``dnc/output_linear``, or as the core is
  called, below the names of the modules that it is made in.
  """
  options: dict[str, Any] = {
    "controller": _make_controller(config),
    "clip_value": config.clip_value,
  }
  if config.core == "none":
    return Baseline(config.output_size, **options)
  options["bypass_dropout"] = config.bypass_dropout
  sizes = (config.memory_size, config.word_size, config.num_reads)
  match config.core:
    case "ntm":
      access = NTMAccess(
        *sizes,
        num_writes=config.num_writes,
        max_shift=config.max_shift,
        initial_memory=config.initial_memory,
      )
      return NTM(config.output_size, access=access, **options)
    case "mann":
      access = MANNAccess(*sizes)
      return MANN(config.output_size, access=access, **options)
    case "sam":
      access = SAMAccess(
        *sizes, sparsity=config.sparsity, approximate=config.approximate
      )
      return SAM(config.output_size, access=access, **options)
    case "sdnc":
      access = SDNCAccess(
        *sizes,
        sparsity=config.sparsity,
        link_size=config.link_size,
        approximate=config.approximate,
      )
      return SDNC(config.output_size, access=access, **options)
  access = MemoryAccess(
    *sizes,
    num_writes=config.num_writes,
    strength=config.strength,
    usage_gradient=config.usage_gradient,
    links=config.links,
    link_size=config.link_size,
    bfloat16_links=config.bfloat16_links,
    content_mask=config.content_mask,
    mask_floor=config.mask_floor,
    deallocate=config.deallocate,
    link_sharpness=config.link_sharpness,
    layer_norm=config.layer_norm,
    allocation=config.allocation,
  )
  return DNC(config.output_size, access=access, **options)


def _make_controller(config: ModelConfig) -> hk.RNNCore:
  controller = _recurrent(config)
  if config.skip_size:
    controller = Skip(controller, config.skip_size, config.skip_layers)
  if config.num_buckets:
    controller = Buckets(
      controller, config.num_symbols, config.symbol_size, config.num_buckets
    )
  return controller


def _recurrent(config: ModelConfig) -> hk.RNNCore:
  match config.controller:
    case "lstm":
      return hk.LSTM(config.hidden_size, name="lstm")
    case "gru":
      return hk.GRU(config.hidden_size, name="gru")
    case "deep_lstm":
      return DeepLSTM(config.hidden_size, config.num_layers)
    case _:
      return FeedForward(config.hidden_size, config.num_layers)
