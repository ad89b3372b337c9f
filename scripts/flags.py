"""Flags that the scripts share, and the configs that they stand for.

Names and defaults are those of google-deepmind/dnc's training script where it
has the flag, so that its command lines mean the same here.
"""

import json
import pathlib
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl import app, flags, logging

import tasks
from dnc_jax import ModelConfig
from dnc_jax.access import ALLOCATIONS, LINKS, STRENGTHS
from dnc_jax.config import CONTROLLERS, CORES
from dnc_jax.ntm import INITIAL_MEMORIES
from dnc_jax.optimisers import KERNELS, OPTIMISERS, OptimiserConfig
from scripts import task_flags
from scripts.presets import PRESETS
from scripts.saved import RunConfig
from tasks.graph_task import GraphTask

FLAGS = flags.FLAGS

TASK = flags.DEFINE_enum(
  "task", "repeat_copy", list(tasks.TASKS), "What the network is to learn."
)
CHECKPOINT_DIR = flags.DEFINE_string(
  "checkpoint_dir",
  None,
  "Folder of the run: config, metrics, checkpoints. runs/<task> if not given.",
)


def define_training_flags() -> None:
  """Defines the flags that decide what a run computes."""
  flags.DEFINE_enum(
    "preset",
    None,
    list(PRESETS),
    "Published or proven settings, by name. Other flags given win over it.",
  )
  flags.DEFINE_string(
    "config",
    None,
    "JSON file of flags by name, as in scripts/presets.py. Other flags given "
    "win over it.",
  )
  # Model.
  flags.DEFINE_enum(
    "core",
    "dnc",
    CORES,
    "The memory around the controller; none for the controller alone.",
  )
  flags.DEFINE_integer("hidden_size", 64, "Cells of the controller.")
  flags.DEFINE_integer(
    "memory_size",
    16,
    "Slots of the memory. For graphs, if not given, what each lesson needs.",
  )
  flags.DEFINE_integer("word_size", 16, "Numbers in a slot.")
  flags.DEFINE_integer("num_write_heads", 1, "Write heads.")
  flags.DEFINE_integer("num_read_heads", 4, "Read heads.")
  flags.DEFINE_float(
    "clip_value",
    20.0,
    "Bound on the controller's and the output's values; 0 for none.",
  )
  flags.DEFINE_enum("controller", "lstm", CONTROLLERS, "The controller.")
  flags.DEFINE_integer(
    "num_layers", 1, "Layers of a deep_lstm or feed_forward controller."
  )
  flags.DEFINE_integer(
    "skip_size",
    0,
    "Units of a layer after the controller that hears the input and what was "
    "read again; 0 for none.",
  )
  flags.DEFINE_integer(
    "skip_layers", 1, "Such layers, one after the other; with skip_size."
  )
  flags.DEFINE_integer(
    "num_buckets",
    0,
    "Buckets, in each of two tables, in which the controller of a graph task "
    "hears each label; 0 for none.",
  )
  flags.DEFINE_enum(
    "strength",
    "softplus",
    list(STRENGTHS),
    "What makes strengths positive: softplus as DeepMind's code, oneplus as "
    "the paper.",
  )
  flags.DEFINE_bool(
    "usage_gradient",
    False,
    "Lets gradients flow from usage to write weights, as in the paper.",
  )
  flags.DEFINE_enum(
    "links",
    "dense",
    LINKS,
    "Temporal links: the paper's, without their gradient, of these a few for "
    "each slot, or none.",
  )
  flags.DEFINE_bool("bfloat16_links", False, "Stores links in 16 bits.")
  flags.DEFINE_bool(
    "content_mask", False, "Look-ups choose which part of a word to compare."
  )
  flags.DEFINE_float("mask_floor", 0.1, "Least that a masked element counts.")
  flags.DEFINE_bool("deallocate", False, "Wipes slots as they are freed.")
  flags.DEFINE_bool(
    "link_sharpness", False, "Makes sharper where the links lead."
  )
  flags.DEFINE_bool(
    "layer_norm", False, "Normalises what the controller tells the memory."
  )
  flags.DEFINE_enum(
    "allocation", "sort", ALLOCATIONS, "How free slots are found."
  )
  flags.DEFINE_float(
    "bypass_dropout",
    0.0,
    "How much of what the controller says is dropped on its way to the output "
    "in training.",
  )
  flags.DEFINE_integer(
    "max_shift", 1, "Slots that a head of an ntm can move by in a step."
  )
  flags.DEFINE_enum(
    "initial_memory",
    "constant",
    INITIAL_MEMORIES,
    "What is in the memory of an ntm at first.",
  )
  flags.DEFINE_integer(
    "sparsity", 4, "Slots that a head of a sam or sdnc reads."
  )
  flags.DEFINE_integer(
    "link_size", 8, "Links of a slot each way, of an sdnc or sparse links."
  )
  flags.DEFINE_bool(
    "approximate", False, "Slots of a sam or sdnc are looked up approximately."
  )
  # Optimisation.
  flags.DEFINE_enum("optimizer", "rmsprop", OPTIMISERS, "The optimiser.")
  flags.DEFINE_float("learning_rate", 1e-4, "Learning rate.")
  flags.DEFINE_float("optimizer_epsilon", 1e-10, "Epsilon of rmsprop.")
  flags.DEFINE_float("max_grad_norm", 50.0, "Longer gradients are shortened.")
  flags.DEFINE_integer(
    "warmup_steps", 0, "Iterations over which the learning rate grows from 0."
  )
  flags.DEFINE_integer(
    "decay_steps",
    0,
    "Iterations after the warm-up over which it falls along a cosine to a "
    "hundredth; 0 for none.",
  )
  flags.DEFINE_integer(
    "chunk_length",
    0,
    "Steps of a sequence of which the backward pass holds at a time what it "
    "needs, for long sequences; 0 for all.",
  )
  flags.DEFINE_enum(
    "kernels",
    "xla",
    KERNELS,
    "What a DNC's memory does its steps in; native ones, in C++ for a CPU, are "
    "compiled at first use.",
  )
  flags.DEFINE_integer("batch_size", 16, "Sequences in a batch.")
  flags.DEFINE_integer(
    "length_multiple",
    0,
    "Pads batches to a multiple of so many steps, instead of to the longest "
    "sequence that a lesson can have.",
  )
  flags.DEFINE_integer("seed", 0, "What parameters and batches are drawn from.")
  flags.DEFINE_string(
    "initial_weights",
    None,
    "Folder, of a run or below pretrained/, whose weights to start from.",
  )
  flags.DEFINE_bool(
    "reset_read_heads",
    False,
    "Draws anew where the read heads of --initial_weights look: for a task "
    "that looks up other things.",
  )
  flags.DEFINE_list(
    "kept_heads", [], "Read heads that --reset_read_heads leaves, from 0."
  )
  # Curriculum.
  flags.DEFINE_float(
    "advance_threshold",
    0.9,
    "Fraction of a lesson's sequences to get fully right before the next.",
  )
  flags.DEFINE_integer(
    "advance_interval", 100, "Iterations between the checks of that."
  )
  flags.DEFINE_float(
    "earlier_fraction", 0.1, "Part of the examples from earlier lessons."
  )
  flags.DEFINE_integer(
    "max_steps_per_lesson",
    None,
    "Iterations after which the next lesson begins anyway.",
  )
  task_flags.define_task_flags()


def run_config() -> RunConfig:
  """Returns what the training flags stand for.

  Raises:
    ValueError: A flag has a value that it cannot have.
  """
  given = {name for name in FLAGS if FLAGS[name].present}
  if FLAGS.config is not None:
    given |= _apply(_read_flags(FLAGS.config), given, FLAGS.config)
  if FLAGS.preset is not None:
    given |= _apply(PRESETS[FLAGS.preset], given, f"preset {FLAGS.preset}")
  if FLAGS.clip_value < 0:
    raise ValueError(f"clip_value must be at least 0, got {FLAGS.clip_value}.")
  task = tasks.make(TASK.value, **task_flags.task_options(TASK.value))
  if FLAGS.num_buckets and not isinstance(task, GraphTask):
    raise ValueError(
      f"num_buckets is for labels of graphs: it must be 0 for {TASK.value}, "
      f"got {FLAGS.num_buckets}."
    )
  own_slots = task.memory_size(0) is not None
  return RunConfig(
    task=TASK.value,
    task_options=task_flags.task_options(TASK.value),
    model=ModelConfig(
      output_size=task.output_size,
      core=FLAGS.core,
      controller=FLAGS.controller,
      hidden_size=FLAGS.hidden_size,
      num_layers=FLAGS.num_layers,
      skip_size=FLAGS.skip_size,
      skip_layers=FLAGS.skip_layers,
      num_buckets=FLAGS.num_buckets,
      memory_size=FLAGS.memory_size,
      word_size=FLAGS.word_size,
      num_reads=FLAGS.num_read_heads,
      num_writes=FLAGS.num_write_heads,
      clip_value=FLAGS.clip_value or None,
      strength=FLAGS.strength,
      usage_gradient=FLAGS.usage_gradient,
      links=FLAGS.links,
      bfloat16_links=FLAGS.bfloat16_links,
      content_mask=FLAGS.content_mask,
      mask_floor=FLAGS.mask_floor,
      deallocate=FLAGS.deallocate,
      link_sharpness=FLAGS.link_sharpness,
      layer_norm=FLAGS.layer_norm,
      allocation=FLAGS.allocation,
      bypass_dropout=FLAGS.bypass_dropout,
      max_shift=FLAGS.max_shift,
      initial_memory=FLAGS.initial_memory,
      sparsity=FLAGS.sparsity,
      link_size=FLAGS.link_size,
      approximate=FLAGS.approximate,
    ),
    optimiser=OptimiserConfig(
      optimiser=FLAGS.optimizer,
      learning_rate=FLAGS.learning_rate,
      epsilon=FLAGS.optimizer_epsilon,
      max_grad_norm=FLAGS.max_grad_norm,
      warmup_steps=FLAGS.warmup_steps,
      decay_steps=FLAGS.decay_steps,
      chunk_length=FLAGS.chunk_length,
      kernels=FLAGS.kernels,
    ),
    batch_size=FLAGS.batch_size,
    seed=FLAGS.seed,
    length_multiple=FLAGS.length_multiple,
    slots_by_lesson=own_slots and "memory_size" not in given,
    advance_threshold=FLAGS.advance_threshold,
    advance_interval=FLAGS.advance_interval,
    earlier_fraction=FLAGS.earlier_fraction,
    max_steps_per_lesson=FLAGS.max_steps_per_lesson,
    initial_weights=FLAGS.initial_weights,
    reset_read_heads=FLAGS.reset_read_heads,
    kept_heads=_kept_heads(),
  )


def _kept_heads() -> tuple[int, ...]:
  """Returns the heads that ``--kept_heads`` names."""
  try:
    return tuple(int(head) for head in FLAGS.kept_heads)
  except ValueError:
    raise ValueError(
      f"kept_heads must be numbers of heads, got {','.join(FLAGS.kept_heads)}."
    ) from None


def checkpoint_dir() -> pathlib.Path:
  """Returns the folder of the run."""
  return pathlib.Path(CHECKPOINT_DIR.value or f"runs/{TASK.value}")


def run_script(
  main: Callable[[Sequence[str]], int | None], *, positional: bool = False
) -> None:
  """Runs a script: parses flags, and says in one line what is wrong.

  Args:
    main: The script; takes what is left on the command line beside the flags,
      gives its exit status, None for 0.
    positional: Whether anything may be left there.
  """
  FLAGS.set_gnu_getopt(positional)
  # So that --help lists the flags that are defined here, too.
  by_module = FLAGS.flags_by_module_dict()
  for module in (__name__, task_flags.__name__):
    for flag in by_module.get(module, []):
      FLAGS.register_key_flag_for_module(sys.argv[0], flag)

  def parse(args: list[str]) -> list[str]:
    try:
      rest = FLAGS(args)
      if len(rest) > 1 and not positional:
        raise ValueError(f"{rest[1]!r} is not a flag. Flags begin with --.")
      return rest
    except (flags.Error, ValueError) as error:
      _fail(error)

  def guarded(argv: list[str]) -> int:
    if not FLAGS["verbosity"].present:
      # JAX tells at INFO which accelerators it looked for in vain.
      logging.set_verbosity(logging.WARNING)
    try:
      return main(argv[1:]) or 0
    except (ValueError, FloatingPointError, OSError) as error:
      _fail(error)
    except KeyboardInterrupt:
      print("error: interrupted", file=sys.stderr)
      return 128 + signal.SIGINT

  app.run(guarded, flags_parser=parse)


def _fail(error: Exception) -> NoReturn:
  """Ends the script with status 1 and one line."""
  print("error: " + " ".join(str(error).split()), file=sys.stderr)
  sys.exit(1)


def _read_flags(path: str) -> dict[str, Any]:
  """Returns the flags in a JSON file, by name."""
  try:
    values = json.loads(pathlib.Path(path).read_text())
  except (OSError, ValueError) as error:
    raise ValueError(f"--config={path} cannot be read: {error}") from None
  if not isinstance(values, dict):
    raise ValueError(f"--config={path} must be an object of flags by name.")
  return values


def _apply(values: dict[str, Any], given: set[str], where: str) -> set[str]:
  """Sets flags that were not given, and returns their names."""
  for name, value in values.items():
    if name not in FLAGS:
      raise ValueError(f"{where} sets {name!r}, which is no flag.")
    if name in given:
      continue
    try:
      FLAGS[name].parse(value if value is None else str(value))
    except flags.Error as error:
      raise ValueError(f"{where}: {error}") from None
  return set(values)
