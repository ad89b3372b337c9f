"""Every script from the command line: what it does, and what it refuses."""

import json
import math
import os
import shutil

import jax
import numpy as np
from absl.testing import parameterized

from scripts.saved import restore_params
from tests import processes
from tests.script_case import ScriptTestCase

SCRIPTS = (
  "train",
  "evaluate",
  "look",
  "ask",
  "compare",
  "benchmark",
  "feed",
  "scaling",
  "export",
)
# Modules that those import.
PARTS = (
  "__init__",
  "ahead",
  "ask_route",
  "comparison",
  "costs",
  "counts",
  "devices",
  "flags",
  "grid",
  "inside",
  "limits",
  "loop",
  "markdown",
  "measure",
  "names",
  "network",
  "panels",
  "peers",
  "plain",
  "presets",
  "progress",
  "relatives",
  "run",
  "saved",
  "scaled",
  "task_flags",
)

COPY = ("--checkpoint_dir=copy", *processes.SMALL_COPY)
WALK = (
  "--task=traversal",
  "--lessons=city",
  "--checkpoint_dir=walk",
  "--links=off",
  "--controller=gru",
  *processes.SMALL,
)


class SmokeTest(ScriptTestCase):
  def test_every_script_is_tested(self):
    paths = sorted((processes.ROOT / "scripts").glob("*.py"))
    self.assertSameElements([x.stem for x in paths], SCRIPTS + PARTS)
    runs = [x.stem for x in paths if '__name__ == "__main__"' in x.read_text()]
    # A new script gets a test here; a new module is named above.
    self.assertSameElements(runs, SCRIPTS)

  @parameterized.parameters(
    ("train", "task", "checkpoint_dir", "memory_size", "num_bits", "preset"),
    ("evaluate", "task", "checkpoint_dir", "pretrained", "num_bits", "map"),
    ("evaluate", "family"),
    ("look", "task", "checkpoint_dir", "pretrained", "num_bits", "index"),
    ("look", "picture", "arrays"),
    ("ask", "from", "then", "to", "family", "who"),
    ("compare", "folder", "jobs"),
    ("benchmark", "cores", "memory_sizes", "clock", "most_bytes"),
    ("benchmark", "sizes", "peer", "at_least"),
    ("feed", "task", "num_steps", "prefetch"),
    ("scaling", "fit", "traffic"),
    ("export", "checkpoint_dir", "name"),
  )
  def test_help_lists_the_flags(self, name, *flags):
    done = processes.run_script(name, "--help", folder=self.folder)
    self.assertEqual(done.stderr, "")
    for flag in flags:
      self.assertRegex(done.stdout, rf"(?m)^  --(\[no\])?{flag}:")

  def test_train_then_evaluate_then_export(self):
    first = self.run_script("train", *COPY, "--num_training_iterations=2")
    self.assertIn("starting anew, to step 2", first)
    self.assertRegex(first, r"(?m)^repeat_copy on .*\d+ parameters, in copy$")
    # A new sequence with the network's answer.
    self.assertIn("Targets:", first)
    self.assertIn("Model Output:", first)
    second = self.run_script(
      "train", *COPY, "--num_training_iterations=4", "--report_interval=1"
    )
    self.assertIn("resuming from step 2, to step 4", second)
    self.assertRegex(second, r"(?m)^step 3  loss \d")
    self.assertIn("Done: 4 steps, saved in copy.", second)

    result = self.measured("--checkpoint_dir=copy")
    self.assertEqual(result["task"], "repeat_copy")
    self.assertEqual(result["episodes"], 6)
    self.assertBetween(result["accuracy"], 0, 1)
    self.assertBetween(result["unit_accuracy"], 0.1, 0.9)
    # Guessing costs log 2 a bit, of which a step has 2 and a sequence 4 or 6.
    self.assertBetween(result["loss"], 2 * math.log(2), 9 * math.log(2))
    other = self.measured("--checkpoint_dir=copy", "--seed=1")
    self.assertNotEqual(other["loss"], result["loss"])
    longer = self.run_script(
      "evaluate",
      *("--checkpoint_dir=copy", "--min_length=7", "--max_length=7", "--show"),
    )
    self.assertIn("Model Output:", longer)
    longer = json.loads(longer.splitlines()[-1])
    self.assertEqual(longer["episodes"], 1000)
    self.assertGreater(longer["loss"], 2 * result["loss"])

    self.run_script(
      "export", "--checkpoint_dir=copy", "--name=mine", "--folder=pretrained"
    )
    # Chance comes from the seed alone.
    self.assertEqual(self.measured("--pretrained=mine"), result)
    names = [path.name for path in (self.folder / "pretrained/mine").iterdir()]
    self.assertCountEqual(names, ["config.json", "weights.npz"])
    self.run_script("export", "--checkpoint_dir=copy", "--name=half", "--half")
    half = self.measured("--pretrained=half")
    self.assertNotEqual(half["loss"], result["loss"])
    self.assertAlmostEqual(half["loss"], result["loss"], delta=0.05)
    weights = np.load(self.folder / "pretrained/half/weights.npz")
    self.assertEqual({x.dtype for x in weights.values()}, {np.dtype("f2")})

    # A run that starts from these weights, and hardly moves them.
    self.run_script(
      "train",
      *COPY[1:],
      "--checkpoint_dir=next",
      "--initial_weights=pretrained/mine",
      "--num_training_iterations=1",
      "--learning_rate=1e-30",
    )
    _, weights, _ = restore_params(self.folder / "copy")
    _, started, _ = restore_params(self.folder / "next")
    for x, y in zip(jax.tree.leaves(weights), jax.tree.leaves(started)):
      np.testing.assert_allclose(y, x, rtol=0, atol=1e-25)

    # Longer words keep what the shorter ones held.
    self.run_script(
      "train",
      *COPY[1:],
      "--checkpoint_dir=longer",
      "--word_size=5",
      "--initial_weights=copy",
      "--num_training_iterations=1",
      "--learning_rate=1e-30",
    )
    config, longer, _ = restore_params(self.folder / "longer")
    self.assertEqual(config.model.word_size, 5)
    name = "dnc/output_linear"
    expected = np.zeros_like(longer[name]["w"])
    expected[:7] = weights[name]["w"]
    np.testing.assert_allclose(longer[name]["w"], expected, rtol=0, atol=1e-25)

  def test_walks_of_the_underground(self):
    self.run_script("train", *WALK, "--num_training_iterations=1")
    stdout = self.run_script("train", *WALK, "--num_training_iterations=2")
    self.assertIn("resuming from step 1", stdout)
    self.assertRegex(stdout, r"answer \(\d{3},\d{3},\d{3}\)  network")
    walk = ("--task=traversal", "--checkpoint_dir=walk", "--path_length=3")
    self.check_refusal(
      "102 edges.*trained with 4 slots.*give --memory_size=160",
      *("evaluate", *walk, "--map=interchanges"),
    )
    result = self.measured(*walk, "--map=interchanges", "--memory_size=160")
    self.assertEqual(result["task"], "traversal")
    self.assertEqual(result["memory_size"], 160)
    self.assertEqual((result["map"], result["path_length"]), (
      "interchanges", 3
    ))  # fmt: skip
    # Three of nine digits a triple, each one in ten.
    self.assertEqual((result["accuracy"], result["unit_accuracy"]), (0, 0))
    self.assertBetween(result["loss"], 15, 30)
    first = self.measured(
      "--task=traversal", "--checkpoint_dir=walk", "--lesson=1"
    )
    self.assertEqual(first["lesson"], 1)
    (self.folder / "town.csv").write_text(
      "from,to,line,direction\nAlpha,Beta,Red,E\nBeta,Alpha,Red,W\n"
    )
    result = self.measured(*walk, "--map=town.csv")
    self.assertEqual((result["map"], result["memory_size"]), ("town.csv", 4))

    self.run_script("export", "--checkpoint_dir=walk", "--name=traversal")
    told = self.run_script(
      "ask",
      "--map=interchanges",
      "--memory_size=160",
      "--from",
      "bond street",
      "--then",
      "Central E",
      "Central E",
    )
    self.assertRegex(told, r"(?m)^ +1\. Bond Street - Central E - ")
    self.assertRegex(told, r"(?m)^ +2\. .* - Central E - ")
    self.assertIn("of 2 steps right", told)
    told = self.run_script(
      "ask", "--map=town.csv", "--from=beta", "--then", "Red W"
    )
    self.assertIn("town.csv: 2 stations, 2 edges, 4 slots of memory", told)
    self.assertRegex(told, r"(?m)^ +1\. Beta - Red W - Alpha ")

  def test_a_loss_that_is_not_finite(self):
    flags = (*COPY, "--num_training_iterations=9", "--report_interval=1")
    done = processes.run_script(
      "train", *flags, "--learning_rate=1e30", folder=self.folder
    )
    self.assertEqual(done.status, 1, done)
    self.assertRegex(done.stderr, r"^error: .*step 2 .*not finite")
    self.assertEqual(done.stderr.count("\n"), 1)
    _, _, step = restore_params(self.folder / "copy")
    self.assertEqual(step, 1)
    rows = (self.folder / "copy/metrics.csv").read_text().splitlines()
    self.assertLen(rows, 2)
    self.assertStartsWith(rows[1], "1,")


class RefusalTest(ScriptTestCase):
  @parameterized.named_parameters(
    ("unknown_task", "--task=chess", "task=chess.*repeat_copy"),
    ("unknown_flag", "--memroy_size=4", "memroy_size"),
    ("no_flag", "memory_size=4", "'memory_size=4' is not a flag"),
    ("no_number", "--batch_size=many", "batch_size=many"),
    ("slots", "--memory_size=0", "memory_size must be at least 1, got 0"),
    ("words", "--word_size=-2", "word_size must be at least 1, got -2"),
    ("heads", "--num_read_heads=0", "num_read.* must be at least 1, got 0"),
    ("cells", "--hidden_size=0", "hidden_size must be at least 1, got 0"),
    ("layers", "--num_layers=2", "num_layers must be 1 .*got 2.*deep_lstm"),
    ("controller", "--controller=rnn", "controller=rnn.*deep_lstm"),
    ("skip", "--skip_size=-1", "skip_size must be at least 0, got -1"),
    ("skips", "--skip_layers=0", "skip_layers must be at least 1, got 0"),
    ("buckets", "--num_buckets=4", "num_buckets .* 0 for repeat_copy, got 4"),
    ("clip", "--clip_value=-1", "clip_value must be at least 0, got -1"),
    ("clip_nan", "--clip_value=nan", "clip_value .*got nan"),
    ("bits", "--num_bits=0", "num_bits must be at least 1, got 0"),
    ("length", "--min_length=3", "max_length must be at least .*3, got 2"),
    ("repeats", "--min_repeats=3", "max_repeats must be at least .*3, got 2"),
    ("batch", "--batch_size=0", "batch_size must be at least 1, got 0"),
    ("seed", "--seed=-1", "seed must be at least 0, got -1"),
    ("rate", "--learning_rate=0", "learning_rate must be more than 0, got 0"),
    ("rate_nan", "--learning_rate=nan", "learning_rate .* got nan"),
    ("norm", "--max_grad_norm=-1", "max_grad_norm must be more than 0, got -1"),
    ("warmup", "--warmup_steps=-1", "warmup_steps must be at least 0, got -1"),
    ("threshold", "--advance_threshold=90", "threshold must be .*got 90"),
    ("interval", "--advance_interval=0", "interval must be at least 1, got 0"),
    ("multiple", "--length_multiple=-8", "length_multiple must be .*got -8"),
    ("iterations", "--num_training_iterations=-1", "num_training_iterations"),
    ("reports", "--report_interval=0", "report_interval"),
    ("others_option", "--lessons=city", "--lessons is not an option of .*copy"),
    ("preset", "--preset=mine", "preset=mine.*paper_traversal"),
    ("config", "--config=none.json", "config=none.json cannot be read"),
    ("config_folder", "--config=.", "config=. cannot be read"),
    ("weights", "--initial_weights=none", "no folder none"),
    ("kept", "--kept_heads=1", "kept_heads is for .* reset_read_heads"),
    ("kept_words", "--kept_heads=a,b", "kept_heads must be numbers.*got a,b"),
    ("long_name", "--checkpoint_dir=" + 300 * "x", "xxx"),
  )
  def test_train(self, flag, pattern):
    self.check_refusal(pattern, "train", flag)

  def test_an_option_of_another_task(self):
    self.check_refusal(
      "--num_bits is not an option .*traversal",
      "train",
      "--task=traversal",
      "--num_bits=4",
    )

  @parameterized.named_parameters(
    ("broken", '{"batch_size": ', "cannot be read"),
    ("list", "[1, 2]", "must be an object"),
    ("unknown", '{"memroy_size": 4}', "'memroy_size', which is no flag"),
    ("type", '{"batch_size": "many"}', "batch_size=many"),
    ("fraction", '{"batch_size": 2.5}', "batch_size=2.5"),
    ("nothing", '{"batch_size": null}', "batch_size"),
    ("range", '{"batch_size": 0}', "batch_size must be at least 1, got 0"),
    ("preset", '{"preset": "mine"}', "preset=mine"),
    ("bytes", "\xff", "cannot be read"),
  )
  def test_configs(self, text, pattern):
    (self.folder / "flags.json").write_bytes(text.encode("latin-1"))
    self.check_refusal(pattern, "train", "--config=flags.json")

  @parameterized.parameters("run", "run/below/it")
  def test_a_folder_that_is_a_file(self, folder):
    (self.folder / "run").write_text("mine")
    self.check_refusal("run is a file", "train", f"--checkpoint_dir={folder}")

  @parameterized.named_parameters(
    ("none", (), "one of --checkpoint_dir and --pretrained"),
    ("two", ("--checkpoint_dir=a", "--pretrained=b"), "Give one of"),
    ("missing", ("--checkpoint_dir=none",), "no folder none"),
    ("empty", ("--checkpoint_dir=empty",), "empty holds no run"),
    ("file", ("--checkpoint_dir=file",), "folder file"),
    ("pretrained", ("--pretrained=none",), "pretrained must be one of"),
    ("episodes", ("--checkpoint_dir=a", "--episodes=0"), "episodes=0"),
    ("seed", ("--checkpoint_dir=a", "--seed=-1"), "seed=-1"),
    (
      "map",
      ("--checkpoint_dir=a", "--map=mars"),
      "map must be one of .*'mars'",
    ),
  )
  def test_evaluate(self, flags, pattern):
    (self.folder / "empty").mkdir()
    (self.folder / "file").write_text("mine")
    self.check_refusal(pattern, "evaluate", *flags)

  @parameterized.named_parameters(
    ("name", ("--checkpoint_dir=none",), "--name"),
    ("missing", ("--checkpoint_dir=none", "--name=a"), "no folder none"),
  )
  def test_export(self, flags, pattern):
    self.check_refusal(pattern, "export", *flags)

  @parameterized.named_parameters(
    ("start", (), "--from"),
    ("steps", ("--from=Bank",), "at least one step"),
    ("station", ("--from=Bnak", "Central E"), "no station 'Bnak'.*Bank"),
    ("line", ("--from=Bank", "Centrl E"), "no line.*'Centrl E'.*Central E"),
    ("edge", ("--from=Bank", "Victoria N"), "Victoria N does not leave Bank"),
    (
      "weights",
      ("--from=Bank", "Central E", "--pretrained=none"),
      "pretrained must be one of",
    ),
  )
  def test_ask(self, flags, pattern):
    self.check_refusal(pattern, "ask", *flags)


class RunRefusalTest(ScriptTestCase):
  """What is refused with a run at hand, which must come to no harm."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.trained = cls.run_once("train", *COPY, "--num_training_iterations=2")

  def setUp(self):
    super().setUp()
    shutil.copytree(self.trained / "copy", self.folder / "copy")

  def test_of_a_run(self):
    where = "--checkpoint_dir=copy"
    table = "copy/metrics.csv"
    for pattern, name, *flags in (
      ("seed is 0 in the folder and 1 now", "train", *COPY, "--seed=1"),
      (
        "hidden_size is 4 in the folder and 64 now",
        *("train", where, *processes.SMALL_COPY[1:]),
      ),
      (
        r"copy holds weights of another model: .*word_size is 3 there, 2 here",
        *("train", *COPY[1:], "--word_size=2", "--initial_weights=copy"),
      ),
      ("trained on 'repeat_copy'", "evaluate", where, "--task=traversal"),
      ("--map is for traversal", "evaluate", where, "--map=zone1"),
      ("lesson must be from 1 to 1, got 2", "evaluate", where, "--lesson=2"),
      ("lesson.* got 0|lesson=0", "evaluate", where, "--lesson=0"),
      ("memory_size must be", "evaluate", where, "--memory_size=0"),
      ("max_length must be", "evaluate", where, "--min_length=9"),
      ("num_bits", "evaluate", where, "--num_bits=5"),
      ("not an option", "evaluate", where, "--lessons=city"),
      ("cannot be written", "export", where, "--name=a", f"--folder={table}"),
    ):
      with self.subTest(" ".join([name, *flags])):
        self.check_refusal(pattern, name, *flags)

  def test_of_a_run_whose_files_were_changed(self):
    path = self.folder / "copy/config.json"
    text = path.read_text()
    for changed, pattern in (
      (text.replace('"hidden_size": 4', '"hidden_size": 6'), "another|shape"),
      (text.replace('"hidden_size": 4', '"hidden_size": 0'), "hidden_size"),
      (text.replace('"hidden_size"', '"size"'), "'size' is not a field"),
      (text.replace('"batch_size": 2', '"batch_size": "2"'), "config.json"),
      (text.replace('"repeat_copy"', '"chess"'), "chess"),
      (text[: len(text) // 2], "config.json cannot be read"),
      ("[]", "config.json cannot be read"),
    ):
      path.write_text(changed)
      for name in ("train", "evaluate"):
        with self.subTest(f"{name}: {pattern}"):
          flags = COPY if name == "train" else COPY[:1]
          self.check_refusal(pattern, name, *flags)
    path.write_text(text)
    for kept in (self.folder / "copy/checkpoints").rglob("*.json"):
      os.truncate(kept, 7)
    done = processes.run_script("evaluate", COPY[0], folder=self.folder)
    self.assertEqual(done.status, 1)
    self.assertRegex(done.stderr, r"(?m)^error: no whole checkpoint")
    self.assertNotIn("Traceback", done.stderr)
