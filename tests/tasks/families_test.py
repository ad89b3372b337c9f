"""Tests of families: the tree, its walks, and what is no family."""

import numpy as np
from absl.testing import absltest, parameterized

from tasks import families
from tasks.families import FEMALE, LABELS, MALE, TREE, Person


def named(family):
  """Returns a family's edges in words."""
  return {
    (family.people[a], LABELS[label], family.people[b])
    for a, label, b in family.edges.tolist()
  }


def person(name):
  return TREE.people.index(name)


def walks_by_hand(family, length):
  """Returns walks by trying every sequence of people."""
  edges = family.edges.tolist()

  def go_on(people, labels):
    if len(labels) == length:
      return [(tuple(people), tuple(labels))]
    found = []
    for a, label, b in edges:
      if a == people[-1] and b not in people:
        found += go_on([*people, b], [*labels, label])
    return found

  starts = range(len(family.people))
  return [way for start in starts for way in go_on([start], [])]


class TreeTest(parameterized.TestCase):
  def test_is_of_the_papers_size(self):
    self.assertEqual(TREE.edges.shape, (54, 3))
    self.assertLen(TREE.people, 25)
    self.assertEqual(set(TREE.edges[:, [0, 2]].flatten()), set(range(25)))
    # As in the paper's random graphs of inference.
    degrees = np.bincount(TREE.edges[:, 0])
    self.assertLessEqual(degrees.max(), 4)

  @parameterized.parameters(
    # Figure 2 of the paper, (from, to, edge).
    ("Charlotte", "Alan", "Father"),
    ("Simon", "Steven", "Father"),
    ("Steven", "Simon", "Son1"),
    ("Lindsey", "Fergus", "Son1"),
    ("Bob", "Jane", "Mother"),
    ("Natalie", "Alice", "Mother"),
    ("Mary", "Ian", "Father"),
    ("Jane", "Alice", "Daughter1"),
    ("Mat", "Charlotte", "Mother"),
  )
  def test_has_what_the_paper_shows(self, a, b, label):
    self.assertIn((a, label, b), named(TREE))

  def test_is_one_family(self):
    reached = {0}
    for _ in TREE.people:
      reached |= {b for a, _, b in TREE.edges.tolist() if a in reached}
    self.assertLen(reached, 25)

  def test_sexes(self):
    for name, sex in (("Freya", FEMALE), ("Ian", MALE), ("Alan", MALE)):
      self.assertEqual(TREE.sexes[person(name)], sex)
    self.assertNotIn(None, TREE.sexes)

  @parameterized.parameters((1, 54), (2, 90), (3, 130), (4, 166), (5, 172))
  def test_walks(self, length, count):
    walks = TREE.walks(length)
    self.assertLen(walks, count)
    self.assertCountEqual(
      [(walk.people, walk.labels) for walk in walks],
      walks_by_hand(TREE, length),
    )

  def test_walks_are_followed(self):
    for walk in TREE.walks(3):
      self.assertEqual(TREE.follow(walk.people[0], walk.labels), walk)
    self.assertIsNone(TREE.follow(person("Hugh"), [families.FATHER]))

  def test_cannot_be_written_to(self):
    with self.assertRaises(ValueError):
      TREE.edges[0] = 1


class PeopleTest(parameterized.TestCase):
  def test_children_are_counted_by_sex_in_order(self):
    family = families.from_people(
      "mine",
      [
        Person("Ann", FEMALE),
        Person("Bo", MALE, None, "Ann"),
        Person("Cy", FEMALE, "Dan", "Ann"),
        Person("Ed", MALE, "Dan", "Ann"),
        Person("Dan", MALE),
      ],
    )
    self.assertEqual(
      named(family),
      {
        ("Bo", "Mother", "Ann"),
        ("Ann", "Son1", "Bo"),
        ("Cy", "Mother", "Ann"),
        ("Ann", "Daughter1", "Cy"),
        ("Cy", "Father", "Dan"),
        ("Dan", "Daughter1", "Cy"),
        ("Ed", "Mother", "Ann"),
        ("Ann", "Son2", "Ed"),
        ("Ed", "Father", "Dan"),
        ("Dan", "Son1", "Ed"),
      },
    )

  @parameterized.named_parameters(
    ("twice", [Person("A", MALE), Person("A", MALE)], "two people called 'A'"),
    ("sex", [Person("A", "x")], "sex of A must be 'm' or 'f', got 'x'"),
    ("missing", [Person("A", MALE, "B")], "'B', the father of A, is not in"),
    (
      "father",
      [Person("A", MALE, "B"), Person("B", FEMALE)],
      "B, the father of A, must be of the sex 'm'",
    ),
    (
      "mother",
      [Person("A", MALE, None, "B"), Person("B", MALE)],
      "B, the mother of A, must be of the sex 'f'",
    ),
    (
      "sons",
      [Person("A", MALE)] + [Person(f"S{x}", MALE, "A") for x in range(5)],
      "A has more than 4 sons",
    ),
    ("nobody", [Person("A", MALE)], "mine has no edges"),
    ("self", [Person("A", MALE, "A")], "the Father of A cannot be A"),
    (
      "circle",
      [Person("A", MALE, "B"), Person("B", MALE, "C"), Person("C", MALE, "A"),
       Person("D", MALE, "A")],
      "among A, B, C, D somebody is an ancestor of themselves",
    ),
  )  # fmt: skip
  def test_refuses_people(self, people, message):
    with self.assertRaisesRegex(ValueError, message):
      families.from_people("mine", people)

  @parameterized.named_parameters(
    ("two_fathers", [(0, 0, 1), (1, 2, 0), (0, 0, 2), (2, 2, 0)],
     "the Father of A is B and also C"),
    ("no_way_back", [(0, 0, 1)], "B is the Father of A, but no edge leads"),
    ("two_ways_back", [(0, 0, 1), (1, 2, 0), (1, 4, 0)],
     "B is the Father of A, but several edges lead back from B to A"),
    ("sex", [(0, 0, 1), (1, 2, 0), (0, 1, 1)],
     "the Mother of A is B, who is of the other sex as the Father of A"),
    ("second_son", [(0, 0, 1), (1, 4, 0)], "B has a Son2 but no Son1"),
  )  # fmt: skip
  def test_refuses_edges(self, edges, message):
    with self.assertRaisesRegex(ValueError, message):
      families.from_edges("mine", ("A", "B", "C"), edges)


if __name__ == "__main__":
  absltest.main()
