"""Limits of this process, where the system has them (not on Windows)."""


def forbid_core_dumps() -> None:
    """Leave no image of the memory, with visitors' photos, on the disk when the process crashes."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
