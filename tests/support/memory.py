"""A limit to the memory of this process, where the system knows one."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def limit_memory(room: int) -> tuple[int, int]:
    """Let this process have so many MB more than it has, on Linux; return its limits until then."""
    import resource  # of Unix

    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + room * 2**20, before[1]))
    return before


@contextmanager
def little_memory(room: int) -> Iterator[None]:
    """The same for the time being; no limit on other systems."""
    if sys.platform != "linux":
        yield
        return
    before = limit_memory(room)
    try:
        yield
    finally:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, before)
