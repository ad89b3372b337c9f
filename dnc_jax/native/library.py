"""Compiles the kernels, once for a machine, and makes XLA know them."""

import ctypes
import functools
import hashlib
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import tempfile

import jax

# No more than what the source is written for: sums may be reordered, and what
# is not a number stays so.
_FLAGS = (
  "-std=c++17",
  "-O3",
  "-march=native",
  "-shared",
  "-fPIC",
  "-w",
  "-fno-math-errno",
  "-fno-trapping-math",
  "-fno-signed-zeros",
  "-fassociative-math",
  "-ffp-contract=fast",
)
_X86_FLAGS = ("-mprefer-vector-width=512",)
_TARGETS = {
  "dnc_jax_room": "DncJaxRoom",
  "dnc_jax_open": "DncJaxOpen",
  "dnc_jax_forward": "DncJaxForward",
  "dnc_jax_backward": "DncJaxBackward",
}
_SOURCES = pathlib.Path(__file__).parent


def compiler() -> list[str]:
  """Returns the C++ compiler's command: ``CXX``, or what is found.

  Raises:
    ValueError: There is none.
  """
  if command := os.environ.get("CXX"):
    return shlex.split(command)
  for name in ("c++", "g++", "clang++"):
    if shutil.which(name):
      return [name]
  raise ValueError(
    "native kernels need a C++ compiler, and there is no c++, g++ or clang++. "
    "Install one (Debian: apt install g++), or name one by CXX=..., or leave "
    "the kernels to XLA."
  )


def cache() -> pathlib.Path:
  """Returns the folder that what is compiled is kept in.

  ``DNC_JAX_CACHE``, or ``dnc_jax`` in the user's folder for caches.
  """
  if own := os.environ.get("DNC_JAX_CACHE"):
    return pathlib.Path(own)
  base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(base) / "dnc_jax"


def _processor() -> str:
  """Returns what `-march=native` depends on, as far as the system tells."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    return platform.processor()
  return "\n".join(
    sorted({x for x in lines if x.startswith(("model name", "flags"))})
  )


def _flags() -> tuple[str, ...]:
  is_x86 = platform.machine().lower() in ("x86_64", "amd64")
  return (*_FLAGS, *(_X86_FLAGS if is_x86 else ()))


def build() -> pathlib.Path:
  """Compiles the kernels unless they are, and returns the library.

  Raises:
    ValueError: There is no compiler, or it fails.
  """
  command, flags = compiler(), _flags()
  include = jax.ffi.include_dir()
  known = hashlib.sha256()
  for path in sorted(_SOURCES.iterdir()):
    if path.suffix in (".cc", ".h"):
      known.update(path.read_bytes())
  for text in (*command, *flags, jax.__version__, include, _processor()):
    known.update(text.encode() + b"\0")
  library = cache() / f"step-{known.hexdigest()[:16]}.so"
  if library.exists():
    return library
  try:
    library.parent.mkdir(parents=True, exist_ok=True)
    # Others may compile the same at this time: it appears whole or not at all.
    file, name = tempfile.mkstemp(suffix=".so", dir=library.parent)
    os.close(file)
  except OSError as error:
    raise ValueError(
      f"cannot keep compiled kernels in {str(library.parent)!r}: {error}. Name "
      "another folder by DNC_JAX_CACHE=..."
    ) from None
  try:
    source = str(_SOURCES / "step.cc")
    done = subprocess.run(
      [*command, *flags, f"-I{include}", source, "-o", name],
      capture_output=True,
      text=True,
      check=False,
    )
    if done.returncode:
      raise ValueError(
        f"{shlex.join(command)} could not compile the native kernels. Name "
        "another compiler by CXX=..., or leave the kernels to XLA. It said:\n"
        + done.stderr.strip()
      )
    os.replace(name, library)
  except OSError as error:
    raise ValueError(
      f"cannot run the C++ compiler {shlex.join(command)!r}: {error}. Name "
      "another by CXX=..., or leave the kernels to XLA."
    ) from None
  finally:
    pathlib.Path(name).unlink(missing_ok=True)
  return library


@functools.cache
def register() -> None:
  """Makes XLA know the kernels, compiling them first if need be.

  Raises:
    ValueError: As `build`.
  """
  library = ctypes.cdll.LoadLibrary(str(build()))
  for name, symbol in _TARGETS.items():
    jax.ffi.register_ffi_target(
      name, jax.ffi.pycapsule(getattr(library, symbol)), platform="cpu"
    )


def room(*shapes: jax.ShapeDtypeStruct) -> list[jax.Array]:
  """Returns arrays of any contents, to be written.

  Raises:
    ValueError: As `build`.
  """
  register()
  return list(jax.ffi.ffi_call("dnc_jax_room", shapes)())
