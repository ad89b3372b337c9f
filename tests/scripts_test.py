"""Every script from the command line: what it does, and what it refuses."""

import dataclasses
import hashlib
import json
import math
import os
import pathlib

import jax
import numpy as np
from absl.testing import parameterized

import tasks
from dnc_jax import training
from scripts.presets import PRESETS
from scripts.saved import RunConfig, restore_params
from tasks.repeat_copy import RepeatCopy
from tests import processes

SCRIPTS = ("train", "evaluate", "ask", "export")
# Modules that those import.
PARTS = ("__init__", "flags", "measure", "presets", "progress", "run", "saved")

COPY = ("--checkpoint_dir=copy", *processes.SMALL_COPY)
WALK = (
  "--task=traversal",
  "--lessons=city",
  "--checkpoint_dir=walk",
  "--links=off",
  "--controller=gru",
  *processes.SMALL,
)


def files(folder):
  """Returns what a script could lose or leave behind: names and contents."""
  return {
    str(path.relative_to(folder)): path.is_file()
    and hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(folder.rglob("*"))
    if not path.name.startswith(".")
  }


class ScriptTestCase(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)

  def run_script(self, name, *flags):
    done = processes.run_script(name, *flags, folder=self.folder)
    self.assertEqual((done.status, done.stderr), (0, ""), done)
    return done.stdout

  def measured(self, *flags):
    stdout = self.run_script("evaluate", "--episodes=6", *flags)
    return json.loads(stdout.splitlines()[-1])

  def check_refusal(self, pattern, name, *flags):
    before = files(self.folder)
    done = processes.run_script(name, *flags, folder=self.folder)
    self.assertEqual(done.status, 1, done)
    self.assertStartsWith(done.stderr, "error: ")
    self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
    self.assertRegex(done.stderr, pattern)
    self.assertEqual(done.stdout, "")
    self.assertEqual(files(self.folder), before)


class SmokeTest(ScriptTestCase):
  def test_every_script_is_tested(self):
    paths = sorted((processes.ROOT / "scripts").glob("*.py"))
    self.assertSameElements([x.stem for x in paths], SCRIPTS + PARTS)
    runs = [x.stem for x in paths if '__name__ == "__main__"' in x.read_text()]
    # A new script gets a test here; a new module is named above.
    self.assertSameElements(runs, SCRIPTS)

  @parameterized.parameters(
    ("train", "task", "checkpoint_dir", "memory_size", "num_bits", "preset"),
    ("evaluate", "task", "checkpoint_dir", "num_bits", "map"),
    ("ask", "from", "then"),
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
    # Chance comes from the seed alone.
    self.assertEqual(self.measured("--checkpoint_dir=copy"), result)
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
    self.assertEqual(self.measured("--pretrained=mine"), result)
    names = [path.name for path in (self.folder / "pretrained/mine").iterdir()]
    self.assertCountEqual(names, ["config.json", "weights.npz"])

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

  def test_walks_of_the_underground(self):
    self.run_script("train", *WALK, "--num_training_iterations=1")
    stdout = self.run_script("train", *WALK, "--num_training_iterations=2")
    self.assertIn("resuming from step 1", stdout)
    self.assertRegex(stdout, r"answer \(\d{3},\d{3},\d{3}\)  network")
    result = self.measured(
      "--task=traversal",
      "--checkpoint_dir=walk",
      "--map=interchanges",
      "--path_length=3",
    )
    self.assertEqual(result["task"], "traversal")
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

    self.run_script("export", "--checkpoint_dir=walk", "--name=traversal")
    told = self.run_script(
      "ask",
      "--map=interchanges",
      "--from",
      "bond street",
      "--then",
      "Central E",
      "Central E",
    )
    self.assertRegex(told, r"(?m)^ +1\. Bond Street - Central E - ")
    self.assertRegex(told, r"(?m)^ +2\. .* - Central E - ")
    self.assertIn("of 2 steps right", told)

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
    ("map", ("--checkpoint_dir=a", "--map=mars"), "map=mars.*zone1"),
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

  def setUp(self):
    super().setUp()
    self.run_script("train", *COPY, "--num_training_iterations=2")

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
        r"copy holds weights of another model: .*word_size is 3 there, 5 here",
        *("train", *COPY[1:], "--word_size=5", "--initial_weights=copy"),
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


class FlagsTest(ScriptTestCase):
  def configs(self, *command_lines):
    found = processes.training_flags(*command_lines, folder=self.folder)
    return [RunConfig.from_dict(entry["config"]) for entry in found]

  def test_deepminds_flags_have_their_defaults(self):
    # google-deepmind/dnc, train.py.
    model = {
      "hidden_size": 64,
      "memory_size": 16,
      "word_size": 16,
      "num_write_heads": 1,
      "num_read_heads": 4,
      "clip_value": 20,
    }
    optimiser = {
      "max_grad_norm": 50,
      "learning_rate": 1e-4,
      "optimizer_epsilon": 1e-10,
    }
    task = {
      "num_bits": 4,
      "min_length": 1,
      "max_length": 2,
      "min_repeats": 1,
      "max_repeats": 2,
    }
    loop = {
      "num_training_iterations": 100_000,
      "report_interval": 100,
      "checkpoint_interval": -1,
    }
    batch = {"batch_size": 16}
    every = model | optimiser | task | batch | loop
    plain, spelt_out = processes.training_flags(
      [], [f"--{name}={value}" for name, value in every.items()],
      folder=self.folder,
    )  # fmt: skip
    for name, value in (model | optimiser | batch | loop).items():
      self.assertEqual(plain["flags"][name], value, name)
    for found in (plain, spelt_out):
      config = RunConfig.from_dict(found["config"])
      self.assertEqual(
        config.make_task(), dataclasses.replace(RepeatCopy(), **task)
      )
      renamed = {"num_writes": "num_write_heads", "num_reads": "num_read_heads"}
      for field in ("hidden_size", "memory_size", "word_size", "num_reads",
                    "num_writes", "clip_value"):  # fmt: skip
        self.assertEqual(
          getattr(config.model, field), model[renamed.get(field, field)]
        )
      self.assertEqual(
        config.model.to_dict()
        | {"controller": "lstm", "strength": "softplus", "links": "dense"}
        | {"usage_gradient": False, "content_mask": False, "deallocate": False},
        config.model.to_dict(),
      )
      self.assertEqual(
        config.optimiser,
        training.OptimiserConfig("rmsprop", 1e-4, 1e-10, 50.0, 0, 0),
      )
      self.assertEqual(config.batch_size, 16)
      self.assertFalse(config.slots_by_lesson)
    params = jax.eval_shape(
      lambda: training.init_state(config.model, config.optimiser, 6, 0)
    ).params
    # As DeepMind's network has them.
    self.assertEqual(training.num_params(params), 43_980)

  def test_each_of_deepminds_flags_does_its_part(self):
    table = {
      "hidden_size=32": ("model", "hidden_size", 32),
      "memory_size=8": ("model", "memory_size", 8),
      "word_size=8": ("model", "word_size", 8),
      "num_write_heads=2": ("model", "num_writes", 2),
      "num_read_heads=2": ("model", "num_reads", 2),
      "clip_value=5": ("model", "clip_value", 5.0),
      "clip_value=0": ("model", "clip_value", None),
      "max_grad_norm=1.5": ("optimiser", "max_grad_norm", 1.5),
      "learning_rate=0.25": ("optimiser", "learning_rate", 0.25),
      "optimizer_epsilon=1e-3": ("optimiser", "epsilon", 1e-3),
      "num_bits=6": ("task_options", "num_bits", 6),
      "min_length=2": ("task_options", "min_length", 2),
      "max_length=5": ("task_options", "max_length", 5),
      "min_repeats=2": ("task_options", "min_repeats", 2),
      "max_repeats=3": ("task_options", "max_repeats", 3),
    }
    plain, *found = processes.training_flags(
      [], *([f"--{flag}"] for flag in table), folder=self.folder
    )
    for (flag, (part, field, value)), entry in zip(table.items(), found):
      with self.subTest(flag):
        wanted = plain["config"]
        changes = {part: wanted[part] | {field: value}}
        if field == "num_bits":
          changes["model"] = wanted["model"] | {"output_size": value + 1}
        self.assertEqual(entry["config"], wanted | changes)

  def test_what_wins_over_what(self):
    (self.folder / "flags.json").write_text(
      '{"hidden_size": 10, "word_size": 11, "usage_gradient": true, '
      '"memory_size": 48}'
    )
    preset = PRESETS["copy"]
    line = ["--preset=copy", "--config=flags.json"]
    both, all_three, by_file = self.configs(
      line, ["--hidden_size=12", *line], ["--config=flags.json"]
    )
    self.assertEqual(both.task, preset["task"])
    self.assertEqual(both.model.hidden_size, 10)
    self.assertEqual(both.model.word_size, 11)
    self.assertEqual(both.model.memory_size, 48)
    self.assertEqual(both.model.num_reads, preset["num_read_heads"])
    self.assertEqual(both.optimiser.optimiser, preset["optimizer"])
    self.assertEqual(both.batch_size, 16)
    self.assertTrue(both.model.usage_gradient)
    self.assertIsNone(both.max_steps_per_lesson)
    self.assertEqual(all_three.model.hidden_size, 12)
    self.assertEqual(all_three.model.word_size, 11)
    self.assertEqual(by_file.task, "repeat_copy")
    self.assertEqual(by_file.model.hidden_size, 10)

  def test_a_default_that_is_given_wins_too(self):
    (self.folder / "preset.json").write_text('{"preset": "copy"}')
    given, named = self.configs(
      ["--preset=copy", "--hidden_size=64", "--nousage_gradient"],
      ["--config=preset.json"],
    )
    self.assertEqual(given.model.hidden_size, 64)
    self.assertEqual(named.model.hidden_size, PRESETS["copy"]["hidden_size"])

  def test_slots_of_traversal(self):
    own, given = self.configs(
      ["--task=traversal"], ["--task=traversal", "--memory_size=40"]
    )
    self.assertTrue(own.slots_by_lesson)
    self.assertFalse(given.slots_by_lesson)
    self.assertEqual(given.model.memory_size, 40)

  def test_presets(self):
    found = processes.training_flags(
      *([f"--preset={name}"] for name in PRESETS), folder=self.folder
    )
    documents = "".join(
      path.read_text() for path in (processes.ROOT / "docs").glob("*.md")
    )
    for (name, preset), entry in zip(PRESETS.items(), found, strict=True):
      with self.subTest(name):
        config = RunConfig.from_dict(entry["config"])
        for flag, value in preset.items():
          self.assertEqual(entry["flags"][flag], value, flag)
        task = config.make_task()
        self.assertIsInstance(task, tasks.TASKS[preset["task"]])
        self.assertEqual(config.model.output_size, task.output_size)
        self.assertEqual(
          config.slots_by_lesson,
          preset["task"] == "traversal" and "memory_size" not in preset,
        )
        self.assertRegex(documents, rf"\b{name}\b")
