"""How a CPU process keeps the memory that tensors leave behind."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from malloc.h
LARGEST_INT, LARGEST_KEPT = 2**31 - 1, 32 << 20  # bytes; glibc takes no larger threshold


def keep_freed_memory() -> None:
    """Lets glibc reuse the blocks of freed tensors instead of returning them to the kernel.

    A training step frees and asks for the same large blocks again. Returned ones come back as pages
    of zeros, one fault each, which costs a small model a fifth of its step
    (`benchmarks/training_speed.py`). Blocks beyond 32 MiB are returned all the same: logits of
    large vocabularies, of another size in each batch, would leave holes that nothing fits into. It
    is a matter of speed alone: elsewhere than on glibc nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for parameter, value in [(M_MMAP_THRESHOLD, LARGEST_KEPT), (M_TRIM_THRESHOLD, LARGEST_INT)]:
        assert libc.mallopt(parameter, value) == 1


def return_freed_memory() -> None:
    """Gives what freed tensors have left behind back to the kernel, on glibc."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
