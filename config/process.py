"""Limits of this process, where the system has them (not on Windows)."""

from contextlib import suppress
from pathlib import Path


def forbid_core_dumps() -> None:
    """Leave no image of the memory, with visitors' photos, on the disk when the process crashes."""
    _limit(RLIMIT_CORE=0)


def limit_process(memory_bytes: int, cpu_seconds: int, file_bytes: int) -> None:
    """Bound what this process may take, and be the first to end where memory runs out.

    Args:
        memory_bytes: of its address space.
        file_bytes: of each file that it writes.
    """
    forbid_core_dumps()
    _limit(RLIMIT_AS=memory_bytes, RLIMIT_CPU=cpu_seconds, RLIMIT_FSIZE=file_bytes)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _limit(**limits: int) -> None:
    try:
        import resource
    except ImportError:
        return
    for name, limit in limits.items():
        with suppress(ValueError, OSError):  # macOS does not take each of them
            resource.setrlimit(getattr(resource, name), (limit, limit))
