"""Compiled kernels for a memory's steps on a CPU: `native_unroll`."""

from dnc_jax.native.unroll import check, native_unroll

__all__ = ["check", "native_unroll"]
