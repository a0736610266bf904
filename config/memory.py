"""How malloc keeps memory."""

import ctypes
from contextlib import suppress

# Parameters of glibc's mallopt (malloc.h) and the values they get.
_MALLOC_OPTIONS = {
    -3: 1 << 20,  # M_MMAP_THRESHOLD, bytes
    -1: 4 << 20,  # M_TRIM_THRESHOLD, bytes
    -8: 2,  # M_ARENA_MAX, heaps for all threads together
}


def return_memory() -> None:
    """Have malloc return a photo's memory to the system as soon as the photo is answered.

    By default, glibc begins to keep large buffers for later use once some have been freed, and
    gives each thread its own heap to keep them in.
    """
    with suppress(AttributeError):  # another libc
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _MALLOC_OPTIONS.items():
            mallopt(option, value)
