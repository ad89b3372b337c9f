"""The texts say what is so: their Python runs, their flags and files exist."""

import contextlib
import pathlib
import re
import tempfile

import jax
import numpy as np
from absl.testing import absltest, parameterized

ROOT = pathlib.Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
TEXTS = [README, *sorted(DOCS.glob("*.md"))]
WITH_EXAMPLES = [README, DOCS / "adding-a-task.md", DOCS / "adding-a-core.md"]

every_text = parameterized.named_parameters(
  (path.stem.replace("-", "_"), path) for path in TEXTS
)


def python_blocks(path):
  """Returns the Python blocks of a text, each on the lines it has there."""
  text = path.read_text()
  return [
    "\n" * text[: block.start(1)].count("\n") + block[1]
    for block in re.finditer(r"^```python\n(.*?)^```$", text, re.M | re.S)
  ]


def defined_flags(*names):
  """Returns the names of the flags that scripts define."""
  paths = [ROOT / "scripts" / name for name in names]
  return {
    name
    for path in paths or (ROOT / "scripts").glob("*.py")
    for name in re.findall(r'DEFINE_\w+\(\s*"(\w+)"', path.read_text())
  }


def write_deepmind_variables(path):
  """Writes what DeepMind's code would have saved of a trained model."""
  golden = ROOT / "tests" / "goldens" / "dnc_one_write_head.npz"
  with np.load(golden) as file:
    variables = {
      name.removeprefix("params/"): file[name].astype(np.float32)
      for name in file.files
      if name.startswith("params/")
    }
  np.savez(path, **variables)


class ReadmeTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    # Compiling is most of what the examples do.
    jax.config.update("jax_disable_most_optimizations", True)
    self.addCleanup(jax.config.update, "jax_disable_most_optimizations", False)

  @every_text
  def test_python_runs(self, path):
    if path in WITH_EXAMPLES:
      self.assertNotEmpty(python_blocks(path))
    namespace = {"__name__": path.stem}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
      write_deepmind_variables("deepmind.npz")
      for block in python_blocks(path):
        exec(compile(block, str(path), "exec"), namespace)

  @every_text
  def test_flags_exist(self, path):
    # Commands of this project; an option of pip or mkdocs is not ours.
    commands = re.findall(
      r"(?:python -m scripts|ipython scripts)[^`]*?(?=\n\n|`|$)",
      path.read_text().replace("\\\n", " "),
    )
    told = {
      flag.removeprefix("no") if flag.startswith("no") else flag
      for command in commands
      for flag in re.findall(r"--(\w+)", command)
    }
    both = defined_flags() | {"help", "helpfull"}
    self.assertEmpty({flag for flag in told if flag not in both})

  def test_every_flag_of_training_is_explained(self):
    text = (DOCS / "training.md").read_text()
    for name in defined_flags(
      "flags.py", "task_flags.py", "train.py", "devices.py"
    ):
      with self.subTest(name):
        self.assertIn(f"`--{name}`", text)

  def test_map_of_the_tree_has_every_file(self):
    text = README.read_text()
    for folder in ("dnc_jax", "tasks", "scripts"):
      for path in (ROOT / folder).glob("*.py"):
        if not path.name.startswith("_"):
          with self.subTest(path.name):
            self.assertIn(path.name, text)

  @every_text
  def test_linked_files_exist(self, path):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
    for link in links:
      with self.subTest(link):
        self.assertTrue((path.parent / link).exists())


if __name__ == "__main__":
  absltest.main()
