"""Limits that the process that decodes sets for itself, where the system has them.

Linux has all. macOS does not hold processes to their address space, and Windows knows none of them:
there the estimate of `processing.memory` and the other process's clock hold.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_STATM = Path("/proc/self/statm")


def bound_process() -> int | None:
    """Forbid to write files, to open any, and to dump core.

    Returns:
        The bytes of address space in use now; None where the system does not tell.
    """
    if resource is None:
        return None
    at_rest = None
    with suppress(OSError):
        at_rest = int(_STATM.read_text().split()[0]) * resource.getpagesize()
    for name in ("RLIMIT_CORE", "RLIMIT_FSIZE", "RLIMIT_NOFILE"):
        resource.setrlimit(getattr(resource, name), (0, 0))
    return at_rest


def bound_memory(at_rest: int | None, max_bytes: int) -> None:
    """Have allocations fail that take more than `max_bytes` above the address space at rest."""
    if at_rest is not None:
        resource.setrlimit(resource.RLIMIT_AS, (at_rest + max_bytes, resource.RLIM_INFINITY))


@contextmanager
def bound_time(cpu_seconds: float) -> Iterator[None]:
    """End the process if all its threads together take more processor time than this."""
    if not hasattr(signal, "setitimer"):  # Windows
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)  # SIGPROF ends a process
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
