"""The machine that is measured on."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from limbeck.record import cores, cpu_flags, environment, memory_bytes

_PACKAGES = ("torch", "onnxruntime", "onnx", "executorch", "numpy")
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm", "sve")
"""What the arithmetic of networks profits from, as Linux spells it."""
_CGROUP = Path("/sys/fs/cgroup")
_POWER, _THERMAL = Path("/sys/class/power_supply"), Path("/sys/class/thermal")


def device() -> dict[str, Any]:
    """Processor, cores, memory and system, and what makes the same machine slower on another day."""
    about = environment()
    return {
        "processor": about["processor"],
        "flags": [flag for flag in _FLAGS if flag in cpu_flags()],
        "cores": cores(),
        "memory_bytes": memory_bytes(),
        "governor": _line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "power": _power(),
        "celsius": _celsius(),
        "platform": about["platform"],
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def versions() -> dict[str, str | None]:
    """Of what computes."""
    return {"limbeck": environment()["limbeck"], **{name: _version(name) for name in _PACKAGES}}


def available_bytes() -> int:
    """The memory that may still be taken."""
    free = memory_bytes()
    for line in (_text(Path("/proc/meminfo")) or "").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    most, taken = _line(_CGROUP / "memory.max"), _line(_CGROUP / "memory.current")
    if most and taken and most.isdecimal() and taken.isdecimal():
        free = min(free, int(most) - int(taken))
    return max(free, 0)


def _power() -> str | None:
    """Mains or battery; None where the system does not say, as on most servers."""
    # The battery of a mouse is none of the machine's.
    supplies = [place for place in _POWER.glob("*") if _line(place / "scope") != "Device"]
    batteries = [place for place in supplies if _line(place / "type") == "Battery"]
    if any(_line(place / "online") == "1" for place in supplies if place not in batteries):
        return "mains"
    return "battery" if batteries else None


def _celsius() -> float | None:
    """Of the hottest of what the system has a thermometer on."""
    degrees = [int(text) / 1000 for place in _THERMAL.glob("thermal_zone*") if (text := _line(place / "temp"))]
    return max(degrees, default=None)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _line(path: Path) -> str | None:
    text = _text(path)
    return None if text is None else text.strip()


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
