"""Families from files: what is read, and what is refused."""

import builtins
import pathlib
from unittest import mock

from absl.testing import absltest, parameterized

from tasks import family_files
from tasks.families import LABELS, MALE, TREE

HEADING = "person,relation,relative\n"
PAIR = HEADING + "Mary,Father,Ian\nIan,Daughter1,Mary\n"
HEAD = "0 HEAD\n1 SOUR test\n1 GEDC\n2 VERS 5.5.1\n1 CHAR UTF-8\n"
IAN = "0 @I1@ INDI\n1 NAME Ian /Kin/\n1 SEX M\n"
MARY = "0 @I2@ INDI\n1 NAME Mary /Kin/\n1 SEX F\n"
UNION = "0 @F1@ FAM\n1 HUSB @I1@\n1 CHIL @I2@\n"
END = "0 TRLR\n"


def named(family):
  """Returns a family's edges in words."""
  return {
    (family.people[a], LABELS[label], family.people[b])
    for a, label, b in family.edges.tolist()
  }


def as_csv(family):
  rows = [
    f"{family.people[a]},{LABELS[label]},{family.people[b]}\n"
    for a, label, b in family.edges.tolist()
  ]
  return HEADING + "".join(rows)


def as_gedcom(family):
  """Returns the text of a GEDCOM file with this family."""
  text = HEAD
  unions = {}
  for person, name in enumerate(family.people):
    sex = "M" if family.sexes[person] == MALE else "F"
    text += f"0 @I{person}@ INDI\n1 NAME {name}\n1 SEX {sex}\n"
    parents = tuple(family.leads.get((person, x)) for x in (0, 1))
    if parents != (None, None):
      unions.setdefault(parents, []).append(person)
  for number, (parents, children) in enumerate(unions.items()):
    text += f"0 @F{number}@ FAM\n"
    for tag, parent in zip(("HUSB", "WIFE"), parents):
      text += "" if parent is None else f"1 {tag} @I{parent}@\n"
    text += "".join(f"1 CHIL @I{child}@\n" for child in children)
  return text + END


class FamilyFilesTest(parameterized.TestCase):
  def write(self, text, name="family.csv", encoding="utf-8"):
    path = pathlib.Path(self.create_tempdir().full_path) / name
    path.write_text(text, encoding=encoding)
    return str(path)

  def test_the_tree(self):
    self.assertIs(family_files.load("tree"), TREE)

  @parameterized.named_parameters(
    ("csv", as_csv, "tree.csv"), ("gedcom", as_gedcom, "tree.GED")
  )
  def test_the_tree_survives_a_file(self, text, name):
    path = self.write(text(TREE), name)
    family = family_files.load(path)
    self.assertEqual(named(family), named(TREE))
    self.assertEqual(family.name, path)
    self.assertLen(family.walks(4), 166)

  @parameterized.named_parameters(
    ("blanks", PAIR.replace(",", " , "), "utf-8"),
    ("empty_rows", PAIR.replace("\n", "\n\n,,\n"), "utf-8"),
    ("windows", PAIR.replace("\n", "\r\n"), "utf-8-sig"),
    (
      "another_order",
      "relative,person,relation\nIan,Mary,Father\nMary,Ian,Daughter1\n",
      "utf-8",
    ),
  )
  def test_takes_what_spreadsheets_write(self, text, encoding):
    family = family_files.load(self.write(text, encoding=encoding))
    expected = {("Mary", "Father", "Ian"), ("Ian", "Daughter1", "Mary")}
    self.assertEqual(named(family), expected)

  @parameterized.named_parameters(
    ("empty", "", "is empty. It needs: person,relation,relative"),
    ("heading", HEADING, "has no edges, only a heading"),
    (
      "unknown",
      "person,relation,who\n",
      "unknown column 'who'.*must be person",
    ),
    ("lacking", "person,relation\n", "lacks the column 'relative'"),
    ("twice", "person,person,relation\n", "has twice the column 'person'"),
    ("cells", HEADING + "A,Father\n", "line 2: there are 2 cells under 3"),
    ("blank", HEADING + "A,,B\n", "line 2: the cell 'relation' is empty"),
    (
      "relation",
      PAIR + "Ian,Uncle,Bob\n",
      "line 4: the relation must be one of Father, .*Daughter4, .*got 'Uncle'",
    ),
    ("fifth_son", PAIR + "Ian,Son5,Bob\n", "relation must be one .*got 'Son5'"),
    (
      "two_fathers",
      PAIR + "Mary,Father,Bob\n",
      "line 4: Mary has the Father Bob, and by line 2 Ian",
    ),
    ("repeated", PAIR + "Mary,Father,Ian\n", "line 4: the same edge .*line 2"),
    ("no_way_back", PAIR + "Ian,Father,Bob\n", "no edge leads back from Bob"),
    ("quote", HEADING + 'A,"B"x,C\n', "line 2: .*"),
    (
      "many",
      HEADING
      + "".join(
        f"P{x},Father,P{x + 1}\nP{x + 1},Son1,P{x}\n" for x in range(1000)
      ),
      "has 1001 people; at most 1000",
    ),
  )
  def test_refuses(self, text, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      family_files.load(self.write(text))

  def test_refuses_what_is_no_file(self):
    with self.assertRaisesRegex(ValueError, "must be tree, or .*file 'mars'"):
      family_files.load("mars")
    with self.assertRaisesRegex(ValueError, "cannot be read"):
      family_files.load(self.write("persön", encoding="latin-1"))


class GedcomTest(parameterized.TestCase):
  def load(self, text):
    path = pathlib.Path(self.create_tempdir().full_path) / "kin.ged"
    path.write_text(text)
    return family_files.load(str(path))

  def test_names_and_people_without_relatives(self):
    alone = "0 @I3@ INDI\n1 NAME Una /Kin/\n"
    family = self.load(HEAD + IAN + MARY + alone + UNION + END)
    self.assertCountEqual(family.people, ["Ian Kin", "Mary Kin"])

  def test_people_of_the_same_name(self):
    other = IAN.replace("I1", "I3")
    union = UNION + "1 CHIL @I3@\n"
    family = self.load(HEAD + IAN + MARY + other + union + END)
    self.assertIn(("Ian Kin", "Son1", "Ian Kin (2)"), named(family))

  def test_children_are_counted_in_the_order_of_their_family(self):
    ann, bo = (
      MARY.replace("I2", key).replace("Mary", name)
      for key, name in (("I3", "Ann"), ("I4", "Bo"))
    )
    union = UNION + "1 CHIL @I4@\n1 CHIL @I3@\n"
    family = self.load(HEAD + IAN + ann + bo + MARY + union + END)
    ian = family.people.index("Ian Kin")
    daughters = [family.leads[ian, label] for label in (3, 5, 7)]
    self.assertEqual(
      [family.people[x] for x in daughters], ["Mary Kin", "Bo Kin", "Ann Kin"]
    )

  def test_a_parents_sex_follows_from_the_role(self):
    family = self.load(HEAD + IAN.replace("1 SEX M\n", "") + MARY + UNION + END)
    self.assertIn(("Mary Kin", "Father", "Ian Kin"), named(family))

  @parameterized.named_parameters(
    ("no_gedcom", HEAD + "hello there\n" + END, "is no GEDCOM file"),
    ("empty", "", "cannot be read"),
    ("nobody", HEAD + END, "has no edges"),
    (
      "sex",
      HEAD + IAN + MARY.replace("1 SEX F\n", "") + UNION + END,
      "not tell the sex of Mary Kin",
    ),
    ("gone", HEAD + IAN + UNION + END, "family with @I2@, who is not in it"),
    ("gone_parent", HEAD + MARY + UNION + END, "with @I1@, who is not in it"),
    (
      "two_families",
      HEAD + IAN + MARY + UNION + "0 @F2@ FAM\n1 CHIL @I2@\n" + END,
      "@I2@ as a child of two families",
    ),
    (
      "circle",
      HEAD + IAN + MARY + UNION
      + "0 @F2@ FAM\n1 WIFE @I2@\n1 CHIL @I1@\n" + END,
      "ancestor of themselves",
    ),
  )  # fmt: skip
  def test_refuses(self, text, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      self.load(text)

  def test_says_what_to_install(self):
    real = builtins.__import__

    def without(name, *args, **kwargs):
      if name.startswith("ged4py"):
        raise ImportError
      return real(name, *args, **kwargs)

    with (
      mock.patch.object(builtins, "__import__", without),
      self.assertRaisesRegex(ValueError, r"dnc-jax\[family\]"),
    ):
      self.load(HEAD + END)


if __name__ == "__main__":
  absltest.main()
