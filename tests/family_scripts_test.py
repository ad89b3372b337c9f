"""Families from the command line: measured, asked about, and refused."""

import json
import shutil

import numpy as np
from absl.testing import absltest

from dnc_jax.losses import Batch
from scripts import names, relatives
from scripts.saved import read_config
from tasks import graphs
from tasks.families import TREE
from tasks.inference import Inference
from tests import processes
from tests.script_case import ScriptTestCase

KIN = (
  "--task=inference",
  "--lessons=family",
  "--planning_steps=1",
  "--checkpoint_dir=kin",
  "--links=off",
  "--controller=gru",
  *processes.SMALL,
)
FAMILY = (
  "person,relation,relative\n"
  "Ann,Mother,Bea\nBea,Daughter1,Ann\nBea,Father,Cy\nCy,Daughter1,Bea\n"
)


class FamilyScriptsTest(ScriptTestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.trained = cls.run_once("train", *KIN, "--num_training_iterations=2")

  def setUp(self):
    super().setUp()
    shutil.copytree(self.trained / "kin", self.folder / "kin")

  def family(self, *flags):
    stdout = self.run_script(
      "evaluate", "--task=inference", "--checkpoint_dir=kin",
      "--memory_size=60", *flags
    )  # fmt: skip
    return stdout, json.loads(stdout.splitlines()[-1])

  def test_the_run(self):
    task = relatives.trained_task(read_config(self.folder / "kin"))
    self.assertEqual((task.planning_steps, task.num_queries), (1, 3))
    stdout = self.run_script("train", *KIN, "--num_training_iterations=3")
    self.assertIn("resuming from step 2", stdout)
    self.assertRegex(stdout, r"query  \(\d{3},\d{3},___\), edges \d")

  def test_evaluate_asks_every_relation(self):
    stdout, result = self.family("--family=tree")
    self.assertIn(
      "166 relations of 4 steps of tree (25 people, 54 edges)", stdout
    )
    self.assertEqual(result["task"], "inference")
    self.assertEqual(result["family"], "tree")
    self.assertEqual(result["relation_length"], 4)
    self.assertEqual((result["relations"], result["left_out"]), (166, 0))
    self.assertEqual(result["episodes"], 166)
    # Nine digits, each one in ten.
    self.assertEqual((result["accuracy"], result["unit_accuracy"]), (0, 0))
    self.assertBetween(result["loss"], 15, 30)
    self.assertEqual(self.family("--family=tree")[1], result)

    stdout, longer = self.family("--family=tree", "--relation_length=5")
    self.assertIn("more left out that have no label", stdout)
    self.assertEqual(longer["relations"] + longer["left_out"], 172)
    self.assertGreater(longer["left_out"], 10)

    _, thinking = self.family("--family=tree", "--planning_steps=3")
    self.assertNotEqual(thinking["loss"], result["loss"])

    (self.folder / "mine.csv").write_text(FAMILY)
    flags = ("--family=mine.csv", "--relation_length=2", "--episodes=5")
    stdout, result = self.family(*flags, "--show")
    self.assertIn("Graph of 4 edges:", stdout)
    self.assertEqual((result["relations"], result["episodes"]), (2, 5))

  def test_ask(self):
    flags = ("--checkpoint_dir=kin", "--memory_size=60", "--family", "tree")
    told = self.run_script(
      "ask", *flags, "--who", "Who is freya's maternal great uncle?"
    )
    lines = told.splitlines()
    self.assertEqual(lines[0], "tree: 25 people, 54 edges, 60 slots of memory")
    self.assertEqual(lines[1], "Freya's maternal great uncle:")
    self.assertEqual(
      lines[2],
      "  1. Freya - Mother - Mary - Father - Ian - Father - Hugh - Son1 - "
      "Fergus",
    )
    for line in lines[3::2][:2]:
      self.assertRegex(
        line, r"^     truth: Fergus   WRONG, network: .* sure\)$"
      )
    self.assertEqual(lines[-1], "0 of 2 ways right.")

  def test_refusals(self):
    where = "--checkpoint_dir=kin"
    ask = ("ask", where, "--memory_size=60")
    (self.folder / "mine.csv").write_text(FAMILY)
    (self.folder / "bad.csv").write_text(FAMILY + "Ann,Aunt,Dot\n")
    for pattern, name, *flags in (
      ("no person 'Freja' in the family tree. Nearest: Freya", *ask,
       "--who=Freja's mother"),
      ("no relation 'mothr'. Nearest: mother", *ask, "--who=Ian's mothr"),
      ("Nobody in the family tree is Hugh's father", *ask,
       "--who=Hugh's father"),
      ("Ask for a person's relation", *ask, "--who=Hugh"),
      ("Give a question, --who", *ask, "--family=tree"),
      ("Olive's second cousin is Tom, but the network has no label for the "
       "relation Mother Mother Mother Son1 Son1 Son1", *ask,
       "--who=Olive's second cousin"),
      ("bad.csv, line 6: the relation must be one of Father.*got 'Aunt'",
       *ask, "--family=bad.csv", "--who=Ann's mother"),
      ("54 edges.*trained with 4 slots.*--memory_size=88", *ask[:2],
       "--who=Freya's mother"),
      ("pretrained must be one of .*got 'none'", "ask", "--pretrained=none",
       "--who=Freya's mother"),
      ("no file 'mars'", "evaluate", where, "--task=inference",
       "--family=mars"),
      ("trained on 'inference'", "evaluate", where, "--family=tree"),
      ("The family tree has 54 edges.*--memory_size=88", "evaluate", where,
       "--task=inference", "--family=tree"),
      ("mine.csv has 0 relations of 4 steps", "evaluate", where,
       "--task=inference", "--family=mine.csv", "--memory_size=60"),
      ("relation_length=6", "evaluate", where, "--task=inference",
       "--family=tree", "--relation_length=6"),
      ("Give one of --map and --family", "evaluate", where, "--task=inference",
       "--family=tree", "--map=zone1"),
      ("--map is for traversal", "evaluate", where, "--task=inference",
       "--map=zone1"),
    ):  # fmt: skip
      with self.subTest(" ".join([name, *flags])):
        self.check_refusal(pattern, name, *flags)

  def test_a_network_of_another_task(self):
    self.run_script(
      "train", "--checkpoint_dir=copy", *processes.SMALL_COPY,
      "--num_training_iterations=1",
    )  # fmt: skip
    self.check_refusal(
      "trained on repeat_copy, not inference",
      *("ask", "--checkpoint_dir=copy", "--who=Freya's mother"),
    )
    self.check_refusal(
      "trained on inference, not on repeat_copy",
      *("evaluate", "--checkpoint_dir=copy", "--family=tree"),
    )


class TellTest(absltest.TestCase):
  """What people read, from answers made by hand."""

  def answers(self, *ends):
    question, walks = relatives.find_walks(TREE, "Freya's great uncle", 0)
    self.assertEqual(question, "Freya's great uncle")
    answers = []
    for walk, (start, label, end) in zip(walks, ends, strict=True):
      answers.append(relatives.Answer(walk, 42, start, label, end, 0.5))
    return relatives.tell(TREE, question, answers)

  def test_right_answers(self):
    lines = self.answers(("Freya", 42, "Fergus"), ("Freya", 42, "Fergus"))
    self.assertEqual(
      lines[4], "     truth: Fergus   network: Fergus  (50.0% sure)"
    )
    self.assertEqual(lines[-1], "2 of 2 ways right.")

  def test_wrong_answers_are_shown_as_wrong(self):
    lines = self.answers(("Freya", 42, "Ian"), ("Freya", 43, "Fergus"))
    self.assertIn("truth: Fergus   WRONG, network: Ian  (", lines[2])
    self.assertIn("WRONG, network: Freya - relation 43 - Fergus  (", lines[4])
    self.assertEqual(lines[-1], "0 of 2 ways right.")

  def test_questions_go_round(self):
    task = Inference(planning_steps=0)
    walks = TREE.walks(1)[:3]
    sample = relatives.family_sampler(TREE, walks, task)
    batch = sample(np.random.default_rng(0), 3, 5)
    assert isinstance(batch, Batch)
    edges = graphs.read_labels(np.asarray(batch.targets))[-1, :, 1]
    expected = [walks[x].labels[0] for x in (0, 1, 2, 0, 1)]
    self.assertEqual(edges.tolist(), expected)


class NamesTest(absltest.TestCase):
  def test_case_and_blanks_do_not_matter(self):
    self.assertEqual(names.find("person", " iAN ", TREE.people, "here"), 3)

  def test_an_unknown_name_is_answered_with_the_nearest(self):
    with self.assertRaisesRegex(
      ValueError, "no person 'Oliv' here. Nearest: Olive"
    ):
      names.find("person", "Oliv", TREE.people, "here")
    with self.assertRaisesRegex(ValueError, "Nearest: none"):
      names.find("person", "qqqq", TREE.people, "here")


if __name__ == "__main__":
  absltest.main()
