"""Flags: their defaults, what each does, and which wins over which."""

import dataclasses

import jax

import tasks
from dnc_jax import training
from scripts.presets import PRESETS
from scripts.saved import RunConfig
from tasks.repeat_copy import RepeatCopy
from tests import processes
from tests.script_case import ScriptTestCase


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
          preset["task"] in ("traversal", "shortest_path", "inference")
          and "memory_size" not in preset,
        )
        self.assertRegex(documents, rf"\b{name}\b")
