"""Families by name: the invented tree, or anyone's from a file.

A CSV file has a heading and a row for each directed edge:

    person,relation,relative
    Mary,Father,Ian
    Ian,Daughter1,Mary

Ian is Mary's father, and Mary Ian's first daughter. Relations are
`families.LABELS`. Each edge has the one back as a row of its own. Columns may
be in any order; cells are taken without the blanks around them.

A GEDCOM file, ``.ged``, is what programs for family research write. Its people,
parents and children become edges, children counted in the order of the file;
marriages without children, and everything else in it, have none.
"""

import pathlib
from typing import Any

from tasks import families, tables
from tasks.families import FEMALE, LABELS, MALE, Family, Person

COLUMNS = ("person", "relation", "relative")
_MOST_PEOPLE = 1000  # Labels that tell people apart.


def load(name: str) -> Family:
  """Returns the tree, or reads a family from a file.

  Args:
    name: "tree", or the path of a CSV or GEDCOM file.

  Raises:
    ValueError: It is neither, or the file cannot be used; the message says
      where and why.
  """
  if name == families.TREE.name:
    return families.TREE
  path = pathlib.Path(name)
  if not path.is_file():
    raise ValueError(
      f"family must be {families.TREE.name}, or a CSV or GEDCOM (.ged) file; "
      f"there is no file {name!r}."
    )
  if path.suffix.casefold() == ".ged":
    return _checked(_read_gedcom(path, name))
  return parse(tables.read(path, "family"), name)


def parse(text: str, name: str) -> Family:
  """Returns the family that the text of a CSV file tells.

  Args:
    text: Contents of the file.
    name: What the family and the messages call it.

  Raises:
    ValueError: The text is no family.
  """
  known = ", ".join(LABELS)
  index: dict[str, int] = {}
  leads: dict[tuple[int, int], tuple[int, int]] = {}
  for line, cells in tables.rows(text, COLUMNS, what="family", name=name):
    where = f"{name}, line {line}"
    if cells["relation"] not in LABELS:
      raise ValueError(
        f"{where}: the relation must be one of {known}, which are all that "
        f"networks know edges by, got {cells['relation']!r}."
      )
    a, b = (
      index.setdefault(cells[x], len(index)) for x in ("person", "relative")
    )
    label = LABELS.index(cells["relation"])
    before, at = leads.setdefault((a, label), (b, line))
    if before != b:
      raise ValueError(
        f"{where}: {cells['person']} has the {LABELS[label]} "
        f"{cells['relative']}, and by line {at} {tuple(index)[before]}."
      )
    if at != line:
      raise ValueError(f"{where}: the same edge as in line {at}. Keep one.")
  edges = [(a, label, b) for (a, label), (b, _) in leads.items()]
  return _checked(families.from_edges(name, tuple(index), edges))


def _read_gedcom(path: pathlib.Path, name: str) -> Family:
  """Returns the family that a GEDCOM file tells.

  Raises:
    ValueError: The file is no such file or no family, or the library that
      reads it is not installed.
  """
  try:
    from ged4py import parser
  except ImportError:
    raise ValueError(
      "Reading GEDCOM needs the package ged4py: pip install 'dnc-jax[family]'."
    ) from None
  try:
    with parser.GedcomReader(str(path)) as reader:
      people: dict[str, Any] = {
        x.xref_id or "": x for x in reader.records0("INDI")
      }
      unions = list(reader.records0("FAM"))
      names = _names(list(people.values()))
      parents, sexes = _parents(unions, name)
  except (parser.ParserError, parser.IntegrityError) as error:
    raise ValueError(f"{name} is no GEDCOM file: {error}") from None
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f"The family {name} cannot be read: {error}") from None
  # Children first in the order of their families, which is that of birth.
  in_order = dict.fromkeys([*parents, *people])
  found = []
  for key in in_order:
    father, mother = parents.get(key, (None, None))
    for other in (key, father, mother):
      if other is not None and other not in people:
        raise ValueError(f"{name} has a family with {other}, who is not in it.")
    sex = {"M": MALE, "F": FEMALE}.get(people[key].sex, sexes.get(key))
    if sex is None and (father or mother):
      raise ValueError(
        f"{name} does not tell the sex of {names[key]}, son or daughter of "
        "somebody. Add a line SEX M or SEX F."
      )
    above = [names.get(x) if x else None for x in (father, mother)]
    found.append(Person(names[key], sex or MALE, *above))
  related = {x for person in found for x in person[2:] if x}
  related |= {person.name for person in found if any(person[2:])}
  return families.from_people(name, [x for x in found if x.name in related])


def _parents(
  unions: list[Any], name: str
) -> tuple[dict[str, tuple[str | None, str | None]], dict[str, str]]:
  """Returns each child's father and mother, and the parents' sexes, by key."""
  parents: dict[str, tuple[str | None, str | None]] = {}
  sexes: dict[str, str] = {}
  for union in unions:
    keys = {
      tag: [pointer.value for pointer in union.sub_tags(tag, follow=False)]
      for tag in ("HUSB", "WIFE", "CHIL")
    }
    father, mother = (next(iter(keys[x]), None) for x in ("HUSB", "WIFE"))
    sexes |= dict.fromkeys(keys["HUSB"], MALE)
    sexes |= dict.fromkeys(keys["WIFE"], FEMALE)
    for child in keys["CHIL"]:
      if parents.setdefault(child, (father, mother)) != (father, mother):
        raise ValueError(
          f"{name} has {child} as a child of two families. Keep the one to "
          "ask about."
        )
  return parents, sexes


def _names(people: list[Any]) -> dict[str, str]:
  """Returns what to call each person, all different, by key."""
  names: dict[str, str] = {}
  taken: set[str] = set()
  for person in people:
    plain = " ".join(person.name.format().split()) or person.xref_id.strip("@")
    called, number = plain, 1
    while called in taken:
      number += 1
      called = f"{plain} ({number})"
    taken.add(called)
    names[person.xref_id] = called
  return names


def _checked(family: Family) -> Family:
  """Returns a family if its people can be told apart."""
  if len(family.people) > _MOST_PEOPLE:
    raise ValueError(
      f"The family {family.name} has {len(family.people)} people; at most "
      f"{_MOST_PEOPLE} can be told apart."
    )
  return family
