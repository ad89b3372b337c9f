"""Families as graphs: people, and who is whose father, mother, son, daughter.

Graves et al. 2016 asked networks that had only seen random graphs about a
family tree of 54 directed edges, of which Figure 2 shows a few. `TREE` is an
invented one of that size that has those few. It is written down as data,
each person with sex and parents, from which the edges follow: from a child to
its parents, and from a parent to its children, who are counted by sex in the
order of the list.

Edges have ten labels, `LABELS`, whose numbers are the digits 0 to 9 that
inference knows single edges by. Of each parent's children four sons and four
daughters can thus be named.

Shapes: E edges.
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

LABELS = (
  "Father",
  "Mother",
  "Son1",
  "Daughter1",
  "Son2",
  "Daughter2",
  "Son3",
  "Daughter3",
  "Son4",
  "Daughter4",
)
FATHER, MOTHER = 0, 1
MALE, FEMALE = "m", "f"


class Person(NamedTuple):
  """One person of a family.

  Attributes:
    name: Name, which no other person of the family has.
    sex: `MALE` or `FEMALE`.
    father: Name of the father, None if unknown.
    mother: Name of the mother, None if unknown.
  """

  name: str
  sex: str
  father: str | None = None
  mother: str | None = None


class Walk(NamedTuple):
  """A way from one person to another.

  Attributes:
    people: Everybody on the way, both ends included, indices. One more than
      labels.
    labels: The labels on the way, in [0, 10).
  """

  people: tuple[int, ...]
  labels: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Family:
  """A family whose edges can be walked.

  Attributes:
    name: What messages call it.
    people: Names; a person is known by the index.
    edges: Each (person, label, person), the second being the first's father,
      or other `LABELS`. A person has each label once at most. Shape ``[E, 3]``.
  """

  name: str
  people: tuple[str, ...]
  edges: np.ndarray

  @functools.cached_property
  def leads(self) -> dict[tuple[int, int], int]:
    """Whom (person, label) names."""
    return {(a, label): b for a, label, b in self.edges.tolist()}

  @functools.cached_property
  def sexes(self) -> tuple[str | None, ...]:
    """`MALE` or `FEMALE` for each person that an edge leads to, else None."""
    sexes: list[str | None] = [None] * len(self.people)
    for (_, label), person in self.leads.items():
      sexes[person] = FEMALE if label % 2 else MALE
    return tuple(sexes)

  def walks(self, length: int) -> list[Walk]:
    """Returns every way of so many edges on which nobody comes up twice."""
    found = [Walk((person,), ()) for person in range(len(self.people))]
    steps: dict[int, list[tuple[int, int]]] = {}
    for (person, label), other in self.leads.items():
      steps.setdefault(person, []).append((label, other))
    for _ in range(length):
      found = [
        Walk((*walk.people, other), (*walk.labels, label))
        for walk in found
        for label, other in steps.get(walk.people[-1], ())
        if other not in walk.people
      ]
    return found

  def follow(self, start: int, labels: Sequence[int]) -> Walk | None:
    """Returns the way along these labels, None if there is none."""
    people = [start]
    for label in labels:
      if (people[-1], label) not in self.leads:
        return None
      people.append(self.leads[people[-1], label])
    return Walk(tuple(people), tuple(labels))


def from_people(name: str, people: Iterable[Person]) -> Family:
  """Returns the family of these people, whose edges follow from the parents.

  Args:
    name: What messages call it.
    people: In any order, but that each parent's sons, and daughters, are
      counted in this one.

  Raises:
    ValueError: They are no family: a name comes twice or is missing, a father
      is no man or a mother no woman, somebody is an ancestor of themselves, or
      has more sons or daughters than can be named.
  """
  people = tuple(people)
  by_name: dict[str, Person] = {}
  for person in people:
    if person.name in by_name:
      raise ValueError(f"{name} has two people called {person.name!r}.")
    if person.sex not in (MALE, FEMALE):
      raise ValueError(
        f"{name}: the sex of {person.name} must be {MALE!r} or {FEMALE!r}, got "
        f"{person.sex!r}."
      )
    by_name[person.name] = person
  index = {person: number for number, person in enumerate(by_name)}
  edges = []
  counts: dict[tuple[str, str], int] = {}
  for person in people:
    for label, parent in ((FATHER, person.father), (MOTHER, person.mother)):
      if parent is None:
        continue
      what = LABELS[label].lower()
      if parent not in by_name:
        raise ValueError(
          f"{name}: {parent!r}, the {what} of {person.name}, is not in it."
        )
      if (by_name[parent].sex == FEMALE) != (label == MOTHER):
        raise ValueError(
          f"{name}: {parent}, the {what} of {person.name}, must be of the sex "
          f"{FEMALE if label == MOTHER else MALE!r}."
        )
      child = "Daughter" if person.sex == FEMALE else "Son"
      number = counts[parent, child] = counts.get((parent, child), 0) + 1
      if f"{child}{number}" not in LABELS:
        raise ValueError(
          f"{name}: {parent} has more than {number - 1} {child.lower()}s; only "
          "so many can be named."
        )
      edges.append((index[person.name], label, index[parent]))
      edges.append(
        (index[parent], LABELS.index(f"{child}{number}"), index[person.name])
      )
  return from_edges(name, tuple(index), edges)


def from_edges(
  name: str, people: tuple[str, ...], edges: list[tuple[int, int, int]]
) -> Family:
  """Returns the family with these edges.

  Args:
    name: What messages call it.
    people: Names.
    edges: Each (person, label, person), indices of names and of `LABELS`.

  Raises:
    ValueError: They are no family's; see `check`.
  """
  array = np.array(sorted(edges), np.int32).reshape(-1, 3)
  array.flags.writeable = False
  family = Family(name, people, array)
  check(family)
  return family


def check(family: Family) -> None:
  """Checks that edges could be those of a family.

  Raises:
    ValueError: A person has a label twice or is of both sexes, an edge lacks
      the one back, children are not counted from 1, or somebody is an ancestor
      of themselves; the message names the people.
  """
  if not len(family.edges):
    raise ValueError(f"{family.name} has no edges.")
  names = family.people
  leads: dict[tuple[int, int], int] = {}
  sexes: dict[int, tuple[int, str]] = {}
  for a, label, b in family.edges.tolist():
    where = f"{family.name}: the {LABELS[label]} of {names[a]}"
    if a == b:
      raise ValueError(f"{where} cannot be {names[a]}.")
    before = leads.setdefault((a, label), b)
    if before != b:
      raise ValueError(f"{where} is {names[before]} and also {names[b]}.")
    sex, what = sexes.setdefault(b, (label % 2, where))
    if sex != label % 2:
      raise ValueError(
        f"{where} is {names[b]}, who is of the other sex as "
        f"{what.removeprefix(family.name + ': ')}."
      )
  for (a, label), b in leads.items():
    back = (FATHER, MOTHER) if label > MOTHER else range(2, len(LABELS))
    ways = [x for x in back if leads.get((b, x)) == a]
    if len(ways) != 1:
      what = "several edges lead" if ways else "no edge leads"
      raise ValueError(
        f"{family.name}: {names[b]} is the {LABELS[label]} of {names[a]}, but "
        f"{what} back from {names[b]} to {names[a]}."
      )
    if label > MOTHER + 2 and (a, label - 2) not in leads:
      raise ValueError(
        f"{family.name}: {names[a]} has a {LABELS[label]} but no "
        f"{LABELS[label - 2]}."
      )
  _check_ancestors(family, leads)


def _check_ancestors(family: Family, leads: dict[tuple[int, int], int]) -> None:
  """Checks that nobody is their own ancestor."""
  ancestors = {
    person: {leads[person, x] for x in (FATHER, MOTHER) if (person, x) in leads}
    for person in range(len(family.people))
  }
  # Those without parents left are taken away, until nobody is left to take.
  while done := [person for person, above in ancestors.items() if not above]:
    for person in done:
      del ancestors[person]
    for above in ancestors.values():
      above.difference_update(done)
  if ancestors:
    raise ValueError(
      f"{family.name}: among {', '.join(family.people[x] for x in ancestors)} "
      "somebody is an ancestor of themselves."
    )


# 25 people. Nine of the edges are those that the paper's Figure 2 shows, and
# Fergus is Freya's maternal great uncle, as there; the rest is invented.
TREE = from_people(
  "tree",
  (
    Person("Hugh", MALE),
    Person("Lindsey", FEMALE),
    Person("Fergus", MALE, "Hugh", "Lindsey"),
    Person("Ian", MALE, "Hugh", "Lindsey"),
    Person("Vera", FEMALE),
    Person("Mary", FEMALE, "Ian", "Vera"),
    Person("Gus", MALE, "Ian", "Vera"),
    Person("Jane", FEMALE),
    Person("Alice", FEMALE, None, "Jane"),
    Person("Bob", MALE, "Gus", "Jane"),
    Person("Rose", FEMALE, "Gus", None),
    Person("Peter", MALE),
    Person("Freya", FEMALE, "Peter", "Mary"),
    Person("Alan", MALE),
    Person("Charlotte", FEMALE, "Alan", None),
    Person("Una", FEMALE, "Alan", None),
    Person("Mat", MALE, "Bob", "Charlotte"),
    Person("Tom", MALE, "Mat", None),
    Person("Steven", MALE),
    Person("Natalie", FEMALE, "Steven", "Alice"),
    Person("Simon", MALE, "Steven", "Alice"),
    Person("Olive", FEMALE, None, "Natalie"),
    Person("Rory", MALE, None, "Natalie"),
    Person("Pia", FEMALE, "Simon", None),
    Person("Kit", MALE, "Simon", None),
  ),
)
