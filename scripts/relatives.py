"""Families before a network: their relations to measure it on, and to ask for.

A network is told the family's edges, people as random numbers and labels as
those that it was trained with, and then asked for the relative at the end of a
way, as `tasks.inference` asks.
"""

import dataclasses

import haiku as hk
import jax
import numpy as np

from dnc_jax import losses, training
from dnc_jax.losses import Batch
from scripts import names
from scripts.measure import (
  Measured,
  Sampler,
  check_memory_size,
  measure,
  safe_memory_size,
)
from scripts.saved import RunConfig
from tasks import families, graphs, inference, kinship, relations
from tasks.families import Family, Walk
from tasks.inference import Inference


@dataclasses.dataclass(frozen=True)
class Answer:
  """What a network answered to one question.

  Attributes:
    walk: The way asked for.
    relation: The label that stands for it.
    start: Name of the person that the network began its answer with.
    label: The relation that it answered with.
    end: Name of the person that it answered.
    sure: How probable its answer was to it, in [0, 1].
  """

  walk: Walk
  relation: int
  start: str
  label: int
  end: str
  sure: float

  def is_right(self, family: Family) -> bool:
    """Returns whether start, relation and end are all as they should be."""
    first, last = (family.people[self.walk.people[x]] for x in (0, -1))
    said = (self.start, self.label, self.end)
    return said == (first, self.relation, last)


def trained_task(config: RunConfig) -> Inference:
  """Returns the task that a network was trained on.

  Raises:
    ValueError: It is not inference.
  """
  task = config.make_task()
  if not isinstance(task, Inference):
    raise ValueError(
      f"A family is for networks trained on inference, not on {config.task}."
    )
  return task


def measure_family(
  config: RunConfig,
  params: hk.Params,
  family: Family,
  *,
  length: int,
  episodes: int | None,
  batch_size: int,
  seed: int,
  memory_size: int | None,
) -> tuple[str, dict[str, object], int, Measured]:
  """Measures a network on the relations of a family.

  Args:
    config: The run that the network is of.
    params: Its parameters.
    family: The family.
    length: Edges of the relations, in [1, 5].
    episodes: Questions in all, asked in turn; each relation once if None.
    batch_size: Questions at a time.
    seed: What the people's numbers and the order of telling are drawn from.
    memory_size: Slots; chosen to suffice if None.

  Returns:
    What was asked, in words; what to tell machines of it; how many questions;
    and the measurements.

  Raises:
    ValueError: There is nothing to ask, or the family does not fit.
  """
  task = trained_task(config)
  walks = family.walks(length)
  table = relations.labels_by_sequence(task.table_seed)
  known = [walk for walk in walks if walk.labels in table]
  if not known:
    raise ValueError(
      f"The family {family.name} has {len(walks)} relations of {length} steps, "
      "of which the network has a label for none."
    )
  if memory_size is None:
    check_memory_size(config, family.name, len(family.edges), what="family")
  if episodes is None:
    episodes = len(known)
  measured = measure(
    config,
    params,
    task,
    family_sampler(family, known, task),
    episodes=episodes,
    batch_size=batch_size,
    seed=seed,
    memory_size=memory_size,
  )
  left_out = len(walks) - len(known)
  what = (
    f"{len(known)} relations of {length} steps of {family.name} "
    f"({len(family.people)} people, {len(family.edges)} edges)"
  )
  if left_out:
    what += f", {left_out} more left out that have no label"
  result: dict[str, object] = {
    "family": family.name,
    "relation_length": length,
    "relations": len(known),
    "left_out": left_out,
  }
  return what, result, episodes, measured


def family_sampler(
  family: Family, walks: list[Walk], task: Inference
) -> Sampler:
  """Returns what asks for the ends of ways, one after the other, in turn.

  Args:
    family: The family, its people numbered anew each time.
    walks: Ways through it that have labels.
    task: How questions are asked.

  Returns:
    The sampler; each sequence has one question.
  """

  def sample(rng: np.random.Generator, first: int, batch_size: int) -> Batch:
    chosen = [walks[(first + x) % len(walks)] for x in range(batch_size)]
    people = graphs.distinct_labels(rng, len(family.people), batch_size)
    return _encode(rng, family, people, chosen, task)

  return sample


def ask(
  config: RunConfig,
  params: hk.Params,
  family: Family,
  walks: list[Walk],
  *,
  seed: int,
  memory_size: int | None,
) -> tuple[list[Answer], int]:
  """Asks a network for the ends of ways.

  Args:
    config: The run that the network is of.
    params: Its parameters.
    family: The family.
    walks: Ways through it that have labels.
    seed: What the people's numbers and the order of telling are drawn from.
    memory_size: Slots; chosen to suffice if None.

  Returns:
    An answer for each way, and the slots.
  """
  task = trained_task(config)
  if memory_size is None:
    check_memory_size(config, family.name, len(family.edges), what="family")
  rng = np.random.default_rng(seed)
  numbers = graphs.distinct_labels(rng, len(family.people), 1)
  people = np.repeat(numbers, len(walks), axis=0)
  batch = _encode(rng, family, people, walks, task)
  slots = memory_size or safe_memory_size(config, len(batch.inputs))
  evaluate = training.make_evaluate(config.model, losses.digits)
  logits = np.asarray(evaluate(params, batch, slots)[0])
  step = np.asarray(batch.mask).argmax(axis=0)
  logits = logits[step, np.arange(len(walks))]
  said = graphs.read_labels(logits)
  digits = logits.reshape(len(walks), -1, graphs.BASE)
  sure = np.asarray(jax.nn.softmax(digits)).max(axis=-1).prod(axis=-1)
  called = dict(zip(numbers[0].tolist(), family.people, strict=True))

  def person(number: int) -> str:
    return called.get(number, f"nobody ({number:03d})")

  table = relations.labels_by_sequence(task.table_seed)
  answers = [
    Answer(walk, table[walk.labels], person(a), label, person(b), float(p))
    for walk, (a, label, b), p in zip(walks, said.tolist(), sure, strict=True)
  ]
  return answers, slots


def find_walks(
  family: Family, question: str, table_seed: int
) -> tuple[str, list[Walk]]:
  """Returns what a question asks for.

  Args:
    family: The family.
    question: Such as "Freya's maternal great uncle".
    table_seed: What the relations that have labels are drawn from.

  Returns:
    The question with the person's name as it is written in the family, and
    every way that it stands for and that has a label.

  Raises:
    ValueError: There is no such person or relation, nobody is it, or it has no
      label.
  """
  name, phrase = kinship.parse_question(question)
  where = f"in the family {family.name}"
  start = names.find("person", name, family.people, where)
  name = family.people[start]
  walks = kinship.find(family, start, phrase)
  if not walks:
    raise ValueError(f"Nobody {where} is {name}'s {phrase}.")
  table = relations.labels_by_sequence(table_seed)
  known = [walk for walk in walks if walk.labels in table]
  if not known:
    way = " ".join(families.LABELS[label] for label in walks[0].labels)
    raise ValueError(
      f"{name}'s {phrase} is {family.people[walks[0].people[-1]]}, but the "
      f"network has no label for the relation {way}: of relations of 2 to "
      f"{relations.LONGEST} steps, {relations.PER_LENGTH} each have one."
    )
  return f"{name}'s {phrase}", known


def tell(family: Family, question: str, answers: list[Answer]) -> list[str]:
  """Returns lines with the answers beside the truth."""
  lines = [f"{question}:"]
  right = 0
  for number, answer in enumerate(answers):
    people = [family.people[x] for x in answer.walk.people]
    way = people[0]
    for label, person in zip(answer.walk.labels, people[1:], strict=True):
      way += f" - {families.LABELS[label]} - {person}"
    if answer.is_right(family):
      right += 1
      said = f"network: {answer.end}"
    elif (answer.start, answer.label) == (people[0], answer.relation):
      said = f"WRONG, network: {answer.end}"
    else:
      said = (
        f"WRONG, network: {answer.start} - relation {answer.label} - "
        f"{answer.end}"
      )
    lines.append(f"{number + 1:3d}. {way}")
    lines.append(f"     truth: {people[-1]}   {said}  ({answer.sure:.1%} sure)")
  ways = "way" if len(answers) == 1 else "ways"
  lines.append(f"{right} of {len(answers)} {ways} right.")
  return lines


def _encode(
  rng: np.random.Generator,
  family: Family,
  people: np.ndarray,
  walks: list[Walk],
  task: Inference,
) -> Batch:
  """Returns sequences that tell the family and ask for one way's end each.

  Args:
    rng: Source of all randomness, consumed.
    family: The family.
    people: The number of each person. Shape ``[B, N]``.
    walks: A way for each sequence.
    task: How questions are asked.
  """
  table = relations.labels_by_sequence(task.table_seed)
  rows = np.arange(len(walks))
  ends = np.array([(walk.people[0], walk.people[-1]) for walk in walks])
  label = [table[walk.labels] for walk in walks]
  queries = np.stack(
    [people[rows, ends[:, 0]], label, people[rows, ends[:, 1]]]
  )
  edge_names = np.tile(np.arange(len(families.LABELS)), (len(walks), 1))
  return inference.encode(
    rng,
    graphs.labelled(family.edges, people, edge_names),
    queries.T[:, None],
    planning_steps=task.planning_steps,
  )
