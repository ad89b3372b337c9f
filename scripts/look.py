"""Looks inside a trained network's memory as it goes through a sequence.

    python -m scripts.look --task=copy --checkpoint_dir=runs/copy
    python -m scripts.look --task=traversal --pretrained=traversal --lesson=1 \
        --picture=walk.png --arrays=walk.npz

Tells which slots were written, read and freed, and what the gates did; and
draws it all over time, as the paper's Extended Data Fig. 1.
"""

import pathlib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from absl import flags

from dnc_jax.losses import Batch
from scripts import flags as shared
from scripts import inside as insides
from scripts import network as named
from scripts import panels, task_flags
from scripts.comparison import blank_page
from scripts.measure import lesson_sampler, safe_memory_size
from scripts.network import find_network, lesson_of, with_task_options
from tasks.base import SequenceTask

LESSON = flags.DEFINE_integer(
  "lesson",
  None,
  "Lesson of the sequence, from 1; the last if not given.",
)
MEMORY_SIZE = flags.DEFINE_integer(
  "memory_size",
  None,
  "Slots of the memory; chosen to suffice if not given.",
  lower_bound=1,
)
SEED = flags.DEFINE_integer(
  "seed", 0, "What sequences are drawn from.", lower_bound=0
)
INDEX = flags.DEFINE_integer(
  "index",
  0,
  "Which of the sequences that evaluate measures with this seed, from 0.",
  lower_bound=0,
)
PICTURE = flags.DEFINE_string(
  "picture", "inside.png", "File for the picture, a PNG; empty for none."
)
ORDER = flags.DEFINE_enum(
  "order",
  "slot",
  ["slot", "written"],
  "Order of the slots in the picture: by number, or by when they were first "
  "written.",
)
ARRAYS = flags.DEFINE_string(
  "arrays", None, "File for all that was recorded, an NPZ."
)

# As many as scripts.evaluate draws at a time if not told otherwise.
_DRAWN = 50


def main(argv: Sequence[str]) -> None:
  """Looks as the flags say."""
  del argv
  if PICTURE.value:
    blank_page()  # Without matplotlib nothing is begun.
  config, params, where = find_network()
  config, task = with_task_options(config)
  if not isinstance(task, SequenceTask):
    raise ValueError(
      f"task must be one whose inputs are known beforehand, got "
      f"{config.task!r}: what it hears depends on the network's moves. Give a "
      "network of another task."
    )
  lesson = lesson_of(task, LESSON.value)
  if config.model.core == "none":
    raise ValueError(
      f"core must be one with a memory to look into, but {where} has "
      f"{config.model.core!r}. Give another network."
    )
  sample = lesson_sampler(task, lesson - 1)
  number, row = divmod(INDEX.value, _DRAWN)
  rng = np.random.default_rng([SEED.value, number])
  batch = cast(Batch, sample(rng, number * _DRAWN, _DRAWN))
  memory_size = MEMORY_SIZE.value
  if memory_size is None:
    memory_size = safe_memory_size(config, len(batch.inputs))
  inside = insides.look(config, params, task, batch, row, memory_size)
  what = f"{config.task}, lesson {lesson} of {task.num_lessons}"
  what += f", sequence {INDEX.value} of seed {SEED.value}"
  print(f"{what}, {where}, {memory_size} slots")
  print(insides.in_words(inside, task.unit))
  if PICTURE.value:
    title = f"{what}: {inside.right} of {inside.count} {task.unit}s right"
    order = None
    if ORDER.value == "written":
      order = insides.by_first_write(inside.trace)
    panels.draw(pathlib.Path(PICTURE.value), title, inside, order)
    print(f"Drawn in {PICTURE.value}.")
  if ARRAYS.value:
    with pathlib.Path(ARRAYS.value).open("wb") as file:
      arrays: dict[str, Any] = inside.arrays()
      np.savez_compressed(file, **arrays)
    print(f"Arrays in {ARRAYS.value}.")


if __name__ == "__main__":
  flags.adopt_module_key_flags(named)
  task_flags.define_task_flags()
  shared.run_script(main)
