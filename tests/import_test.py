"""Who imports whom: scripts, tasks, dnc_jax, in this order and never back."""

import ast
import functools
import pathlib
import re
import subprocess
import sys
import tomllib

from absl.testing import absltest, parameterized

ROOT = pathlib.Path(__file__).parent.parent
OPTIONAL = ("orbax", "matplotlib", "rich", "IPython", "flax", "tensorflow")

# Distributions that import under another name than their own.
IMPORTED_AS = {"absl-py": "absl", "dm-haiku": "haiku"}


@functools.cache
def files(folder):
  """Returns the Python files below a folder, by their paths from the root."""
  return {
    path.relative_to(ROOT).as_posix(): path
    for path in sorted((ROOT / folder).rglob("*.py"))
  }


@functools.cache
def imports(path):
  """Returns the full names of all modules that a file imports anywhere."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      if node.level:
        raise AssertionError(f"{path} has a relative import.")
      found |= {f"{node.module}.{alias.name}" for alias in node.names}
      found.add(str(node.module))
  return found


def packages(path):
  """Returns the top-level packages that a file imports."""
  return {name.partition(".")[0] for name in imports(path)}


def importers(folder, package):
  return [
    name for name, path in files(folder).items() if package in packages(path)
  ]


class ImportTest(parameterized.TestCase):
  def test_importing_the_library_imports_nothing_optional(self):
    modules = [
      name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
      for name in files("dnc_jax")
      if name != "dnc_jax/checkpoint.py"
    ]
    self.assertGreater(len(modules), 5)
    unwanted = [*OPTIONAL, "tasks", "scripts", "tests"]
    code = "\n".join(
      [
        "import importlib, sys",
        f"for name in {modules}: importlib.import_module(name)",
        "loaded = {name.partition('.')[0] for name in sys.modules}",
        f"print(sorted(loaded & set({unwanted})))",
      ]
    )
    result = subprocess.run(
      [sys.executable, "-c", code],
      cwd=ROOT,
      capture_output=True,
      text=True,
      check=False,
    )
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertEqual(result.stdout, "[]\n")

  def test_only_checkpoint_imports_orbax(self):
    self.assertEqual(importers("dnc_jax", "orbax"), ["dnc_jax/checkpoint.py"])
    self.assertEqual(importers("tasks", "orbax"), [])
    self.assertEqual(importers("scripts", "orbax"), [])

  def test_imports_run_one_way(self):
    for folder, above in (
      ("dnc_jax", ("tasks", "scripts", "tests")),
      ("tasks", ("scripts", "tests")),
      ("scripts", ("tests",)),
    ):
      for package in above:
        self.assertEqual(importers(folder, package), [], f"{folder}, {package}")
    self.assertNotEmpty(importers("tasks", "dnc_jax"))

  def test_equations_know_no_haiku(self):
    addressing = files("dnc_jax")["dnc_jax/addressing.py"]
    parts = {x for x in imports(addressing) if x.startswith("dnc_jax.")}
    private = ("_allocation", "_links", "_products")
    self.assertEqual(parts, {f"dnc_jax.{name}" for name in private})
    for name in ("addressing", *private):
      used = packages(files("dnc_jax")[f"dnc_jax/{name}.py"])
      self.assertIn("jax", used)
      allowed = {"jax", "chex", "dnc_jax", "collections", "typing"}
      self.assertLessEqual(used, allowed)

  def test_nobody_reaches_into_private_parts_of_others(self):
    for folder in ("dnc_jax", "tasks", "scripts"):
      for name, path in files(folder).items():
        for module in imports(path):
          if not module.startswith(f"{folder}."):
            self.assertNotRegex(module, r"(^|\.)_(?!_)", name)

  def test_the_library_imports_what_it_declares_and_nothing_else(self):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def declared(requirements):
      names = (re.split(r"[^\w-]", line)[0] for line in requirements)
      return {IMPORTED_AS.get(name, name) for name in names}

    used = set()
    for name, path in files("dnc_jax").items():
      if name != "dnc_jax/checkpoint.py":
        used |= packages(path)
    used -= {*sys.stdlib_module_names, "dnc_jax"}
    self.assertTrue(
      used <= declared(project["dependencies"]),
      used - declared(project["dependencies"]),
    )


if __name__ == "__main__":
  absltest.main()
