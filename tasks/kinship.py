"""Names of relations in English: "maternal great uncle", and back.

A relation is a way along `families.LABELS`. A name stands for ways of a certain
shape, written with a letter for each step: F father, M mother, P either parent,
S a son, D a daughter, C any child. A great uncle is PPPS, a parent's parent's
parent's son. Nobody comes up twice on a way, so that this is no grandparent,
and PS, a parent's son, is a brother (or half-brother) rather than oneself.

    >>> describe((1, 0, 1, 2))
    'maternal great uncle'
    >>> describe((0, 2, 1))
    "brother's mother"
    >>> parse("brother's mother")
    ('PSM',)
"""

import difflib
import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tasks import families
from tasks.families import Family, Walk

# Labels that a letter stands for.
STEPS = {
  "F": (families.FATHER,),
  "M": (families.MOTHER,),
  "P": (families.FATHER, families.MOTHER),
  "S": tuple(range(2, len(families.LABELS), 2)),
  "D": tuple(range(3, len(families.LABELS), 2)),
}
STEPS["C"] = STEPS["S"] + STEPS["D"]

_FURTHEST = 6  # Generations up or down that have names.
_SIDES = {"paternal": "F", "maternal": "M"}
_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_TIMES = ("once", "twice", "three times", "four times")
_SAME = {
  "cousin": "first cousin",
  "dad": "father",
  "mum": "mother",
  "mom": "mother",
  "grandpa": "grandfather",
  "grandad": "grandfather",
  "grandma": "grandmother",
  "granny": "grandmother",
  "spouse": "partner",
}


class Term(NamedTuple):
  """A name for ways of some shapes.

  Attributes:
    name: Such as "great uncle".
    shapes: Ways that it stands for, a letter for each step.
    sided: Whether it can be maternal or paternal, by the first step.
  """

  name: str
  shapes: tuple[str, ...]
  sided: bool = False


def describe(labels: Sequence[int]) -> str:
  """Returns the name of a way, in as few words' parts as it takes.

  Args:
    labels: Labels of its steps, at least one.
  """
  for end in range(len(labels), 0, -1):
    if name := _names().get(_letters(labels[:end])):
      rest = labels[end:]
      return f"{name}'s {describe(rest)}" if len(rest) else name
  raise ValueError(f"labels must be within 0 to 9, got {tuple(labels)}.")


def parse(phrase: str) -> tuple[str, ...]:
  """Returns the shapes that a phrase stands for.

  >>> parse("paternal grandmother"), parse("first cousin once removed")
  (('FM',), ('PPCCC', 'PPPCC'))

  Args:
    phrase: Names, joined by "'s" if several; or labels, as "Son1".

  Raises:
    ValueError: There is no such name; the message has the nearest.
  """
  parts = [_parse_one(part) for part in _split(phrase)]
  return tuple("".join(shapes) for shapes in itertools.product(*parts))


def parse_question(text: str) -> tuple[str, str]:
  """Returns the person and the relation that a question is about.

  >>> parse_question("Who is Freya's maternal great uncle?")
  ('Freya', 'maternal great uncle')

  Args:
    text: Such as "Freya's great uncle" or "Who was Ian's wife's mother?".

  Raises:
    ValueError: It has no person with a relation.
  """
  plain = re.sub(r"(?i)^\s*who\s+(is|was|are|were)\s+", "", text)
  person, *names = _split(plain.strip().rstrip("?"))
  if not names or not all((person, *names)):
    raise ValueError(
      "Ask for a person's relation, such as \"Freya's maternal great uncle\", "
      f"got {text!r}."
    )
  return person, "'s ".join(names)


def find(family: Family, start: int, phrase: str) -> list[Walk]:
  """Returns the ways from a person that a phrase stands for.

  Args:
    family: The family.
    start: Index of the person.
    phrase: As `parse` takes it.

  Returns:
    Every way, in the order of their labels; none if there is none.

  Raises:
    ValueError: There is no such relation.
  """
  found = []
  for shape in parse(phrase):
    ways = [Walk((start,), ())]
    for letter in shape:
      labels = STEPS[letter] if letter in STEPS else (int(letter),)
      ways = [
        Walk((*way.people, other), (*way.labels, label))
        for way in ways
        for label in labels
        if (other := family.leads.get((way.people[-1], label))) is not None
        and other not in way.people
      ]
    found += ways
  return sorted(set(found), key=lambda way: (len(way.labels), way.labels))


def _terms() -> Iterator[Term]:
  """Yields every name, those to prefer first."""
  for step, names in (
    ("P", {"father": "F", "mother": "M", "parent": "P"}),
    ("C", {"son": "S", "daughter": "D", "child": "C"}),
  ):
    for name, letter in names.items():
      yield Term(name, (letter,))
      for count in range(1, _FURTHEST):
        great = "great " * (count - 1)
        yield Term(f"{great}grand{name}", (step * count + letter,), step == "P")
  for name, letter in (("brother", "S"), ("sister", "D"), ("sibling", "C")):
    yield Term(name, ("P" + letter,))
  for count in range(1, _FURTHEST - 1):
    great = "great " * (count - 1)
    for name, letter in (("uncle", "S"), ("aunt", "D")):
      yield Term(great + name, ("P" * (count + 1) + letter,), True)
    for name, letter in (("nephew", "S"), ("niece", "D")):
      yield Term(great + name, ("P" + "C" * count + letter,))
  for up, down in itertools.product(range(2, _FURTHEST + 1), repeat=2):
    degree, removed = min(up, down) - 2, abs(up - down)
    if removed > len(_TIMES):
      continue
    name = f"{_ORDINALS[degree]} cousin"
    if removed:
      # The same name for both, whoever of the two is the elder.
      name += f" {_TIMES[removed - 1]} removed"
    yield Term(name, ("P" * up + "C" * down,), True)
  yield Term("husband", ("CF",))
  yield Term("wife", ("CM",))
  yield Term("partner", ("CP",))
  yield Term("father in law", ("CPF",))
  yield Term("mother in law", ("CPM",))
  yield Term("son in law", ("CCF",))
  yield Term("daughter in law", ("CCM",))
  yield Term("brother in law", ("CPPS", "PCCF"))
  yield Term("sister in law", ("CPPD", "PCCM"))


@functools.cache
def _shapes() -> dict[str, tuple[str, ...]]:
  """Returns the shapes of every name, sides included."""
  shapes: dict[str, tuple[str, ...]] = {}
  for term in _terms():
    shapes[term.name] = shapes.get(term.name, ()) + term.shapes
    if term.sided:
      for side, letter in _SIDES.items():
        name = f"{side} {term.name}"
        shapes[name] = shapes.get(name, ()) + tuple(
          letter + shape[1:] for shape in term.shapes
        )
  return shapes


@functools.cache
def _names() -> dict[str, str]:
  """Returns the name of every way that has one, F, M, S and D to a step."""
  spelled = {"P": "FM", "C": "SD"}
  names: dict[str, str] = {}
  for term in _terms():
    for shape in term.shapes:
      for way in itertools.product(*(spelled.get(x, x) for x in shape)):
        side = ""
        if term.sided:
          side = "paternal " if way[0] == "F" else "maternal "
        names.setdefault("".join(way), side + term.name)
  return names


def _letters(labels: Sequence[int]) -> str:
  """Returns F, M, S or D for each label."""
  return "".join(
    next((x for x in "FMSD" if label in STEPS[x]), "?") for label in labels
  )


def _split(text: str) -> list[str]:
  """Returns the parts of a text that "'s" separates."""
  parts = re.split(r"['\u2019]s\s+|(?<=s)['\u2019]\s+", text)
  return [part.strip() for part in parts]


def _parse_one(name: str) -> tuple[str, ...]:
  """Returns the shapes of one name."""
  plain = " ".join(re.sub(r"-", " ", name).casefold().split())
  for label, known in enumerate(families.LABELS):
    if plain == known.casefold() and known[-1].isdigit():
      return (str(label),)
  plain = re.sub(
    r"\bgrand (?=father|mother|parent|son|daugh|child)", "grand", plain
  )
  plain = re.sub(r"\bgrand ?(?=(uncle|aunt|nephew|niece)$)", "great ", plain)
  words = plain.split()
  side = words.pop(0) + " " if words[:1] and words[0] in _SIDES else ""
  base = " ".join(words)
  base = re.sub(r"^cousin (?=.* removed$)", "first cousin ", base)
  greats = re.match(r"(great )*", base)
  head = greats.group() if greats else ""
  base = head + _SAME.get(base.removeprefix(head), base.removeprefix(head))
  shapes = _shapes()
  if side + base in shapes:
    return shapes[side + base]
  near = difflib.get_close_matches(plain, shapes, n=3, cutoff=0.5)
  raise ValueError(
    f"There is no relation {name!r}. Nearest: {', '.join(near) or 'none'}."
  )
