"""Tests of the names of relations."""

from absl.testing import absltest, parameterized

from tasks import families, kinship
from tasks.families import LABELS, TREE


def labels(*names):
  return tuple(LABELS.index(name) for name in names)


def relatives(question):
  """Returns the names of those whom a question asks for."""
  name, phrase = kinship.parse_question(question)
  walks = kinship.find(TREE, TREE.people.index(name), phrase)
  return {TREE.people[walk.people[-1]] for walk in walks}


class DescribeTest(parameterized.TestCase):
  @parameterized.parameters(
    (("Father",), "father"),
    (("Daughter2",), "daughter"),
    (("Mother", "Son2"), "brother"),
    (("Father", "Mother"), "paternal grandmother"),
    (("Son1", "Daughter1"), "granddaughter"),
    (("Son1", "Mother"), "wife"),
    (("Father", "Daughter1", "Son1"), "nephew"),
    (("Mother", "Father", "Daughter1"), "maternal aunt"),
    (("Mother", "Father", "Mother", "Son1"), "maternal great uncle"),
    (("Mother", "Mother", "Mother", "Mother"),
     "maternal great great grandmother"),
    (("Son1", "Son2", "Son1"), "great grandson"),
    (("Father", "Mother", "Son1", "Daughter1"), "paternal first cousin"),
    (("Father",) * 3 + ("Son1",) * 3, "paternal second cousin"),
    (("Mother",) * 2 + ("Son1",) * 3, "maternal first cousin once removed"),
    (("Mother",) * 4 + ("Son1",) * 2, "maternal first cousin twice removed"),
    (("Son1", "Mother", "Father"), "father in law"),
    (("Daughter1", "Son1", "Father"), "son in law"),
    (("Father", "Son1", "Son1", "Mother"), "sister in law"),
    (("Son1", "Mother", "Son1"), "wife's son"),
    (("Father", "Son1", "Mother"), "brother's mother"),
  )  # fmt: skip
  def test_names(self, way, name):
    self.assertEqual(kinship.describe(labels(*way)), name)

  def test_refuses_what_is_no_label(self):
    with self.assertRaisesRegex(ValueError, r"within 0 to 9, got \(10,\)"):
      kinship.describe((10,))

  @parameterized.parameters(1, 2, 3, 4, 5, 6)
  def test_a_name_leads_back_to_its_way(self, length):
    for walk in TREE.walks(length):
      found = kinship.find(TREE, walk.people[0], kinship.describe(walk.labels))
      self.assertIn(walk, found)


class FindTest(parameterized.TestCase):
  @parameterized.parameters(
    # The paper's example, by both great grandparents.
    ("Freya's maternal great uncle", {"Fergus"}),
    ("Freya's great-uncle", {"Fergus"}),
    ("Freya's grand-uncle", {"Fergus"}),
    ("Freya's paternal great uncle", set()),
    ("Who is Freya's mother?", {"Mary"}),
    ("who was Mat\u2019s maternal grandfather", {"Alan"}),
    ("Fergus' brother's wife", {"Vera"}),
    ("Fergus's great niece", {"Freya", "Rose"}),
    ("Mat's cousin", {"Natalie", "Simon"}),
    ("Mat's cousins once removed".replace("cousins", "cousin"),
     {"Freya", "Olive", "Rory", "Pia", "Kit"}),
    ("Tom's second cousin", {"Olive", "Rory", "Pia", "Kit"}),
    ("Charlotte's father-in-law", {"Gus"}),
    ("Bob's sister", {"Alice", "Rose"}),
    ("Alan's Daughter2", {"Una"}),
    ("Rory's great grandma", {"Jane"}),
    ("Ian's parent", {"Hugh", "Lindsey"}),
    ("Ian's child's child", {"Freya", "Bob", "Rose"}),
    ("Alice's brother's brother", set()),
  )  # fmt: skip
  def test_people(self, question, expected):
    self.assertEqual(relatives(question), expected)

  def test_every_way_is_found(self):
    freya = TREE.people.index("Freya")
    walks = kinship.find(TREE, freya, "maternal great uncle")
    self.assertEqual(
      [walk.labels for walk in walks],
      [
        labels("Mother", "Father", "Father", "Son1"),
        labels("Mother", "Father", "Mother", "Son1"),
      ],
    )
    for walk in walks:
      self.assertEqual(TREE.follow(freya, walk.labels), walk)

  def test_nobody_is_their_own_sibling(self):
    for person in range(len(TREE.people)):
      for walk in kinship.find(TREE, person, "sibling"):
        self.assertNotEqual(walk.people[-1], person)

  def test_gender_is_the_persons(self):
    for phrase, sex in (("uncle", families.MALE), ("niece", families.FEMALE)):
      found = [
        walk.people[-1]
        for person in range(len(TREE.people))
        for walk in kinship.find(TREE, person, phrase)
      ]
      self.assertNotEmpty(found)
      self.assertEqual({TREE.sexes[x] for x in found}, {sex})

  @parameterized.parameters(
    ("mothr", "no relation 'mothr'. Nearest: mother"),
    ("great unkle", "no relation 'great unkle'. Nearest: great uncle"),
    ("mother's qqqq", "no relation 'qqqq'. Nearest: none"),
    ("maternal brother", "no relation 'maternal brother'. Nearest: maternal"),
    ("Son5", "no relation 'Son5'. Nearest: son"),
  )
  def test_an_unknown_name_is_answered_with_the_nearest(self, phrase, message):
    with self.assertRaisesRegex(ValueError, message):
      kinship.parse(phrase)

  @parameterized.parameters("Freya", "", "the great uncle of Freya", "'s uncle")
  def test_refuses_what_is_no_question(self, text):
    with self.assertRaisesRegex(ValueError, "Ask for a person's relation"):
      kinship.parse_question(text)


if __name__ == "__main__":
  absltest.main()
