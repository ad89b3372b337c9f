"""Compiled kernels for a memory's steps on a CPU: `native_unroll`."""

from dnc_jax.native.unroll import check_machine, native_unroll

__all__ = ["check_machine", "native_unroll"]
