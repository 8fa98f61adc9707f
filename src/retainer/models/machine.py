"""What this machine offers a model: memory and cores, containers' limits included."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_CPUS = Path("/sys/devices/system/cpu")


def memory_total() -> int:
    """Bytes of memory this process may ever use."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _number(_CGROUP / "memory.max")
    return min(total, limit) if limit else total


def memory_free() -> int:
    """Bytes that a new process may take without swapping, as far as the system tells."""
    free = _meminfo("MemAvailable") or memory_total() // 2
    limit = _number(_CGROUP / "memory.max")
    if limit:
        used = _number(_CGROUP / "memory.current") or 0
        free = min(free, max(0, limit - used + _inactive_file()))
    return free


def physical_cores() -> int:
    """Cores this process may run on: hyper-threads counted once, a container's CPU quota respected, at least 1."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # not on every system
        return max(1, os.cpu_count() or 1)
    cores = set()
    for cpu in allowed:
        siblings = _CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        cores.add(_text(siblings) or str(cpu))
    return max(1, min(len(cores), _cpu_quota() or len(cores)))


def _cpu_quota() -> int | None:
    quota, _, period = _text(_CGROUP / "cpu.max").partition(" ")
    if not quota.isdigit() or not period.isdigit() or not int(period):
        return None
    return max(1, int(quota) // int(period))


def _meminfo(name: str) -> int | None:
    for line in _text(Path("/proc/meminfo")).splitlines():
        key, _, rest = line.partition(":")
        if key == name:
            return int(rest.split()[0]) * 1024
    return None


def _inactive_file() -> int:
    for line in _text(_CGROUP / "memory.stat").splitlines():
        key, _, value = line.partition(" ")
        if key == "inactive_file":
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
