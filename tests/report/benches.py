"""Records of benches that are made up."""

from typing import Any


def times(p50: float, runs: int = 700) -> dict[str, Any]:
    return {"p50": p50, "p90": 1.5 * p50, "p99": 2 * p50, "mean": p50, "runs": runs, "turns": [p50] * 7}


def contender(name: str, runtime: str, p50: float, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "runtime": runtime,
        "parameters": 1000,
        "macs": 2000,
        "file_bytes": 5000,
        "latency": {"1": times(p50), "2": times(p50)},
        "with_preprocessing": times(2 * p50),
        "throughput": {"batch": 64, "threads": 2, "per_second": 10 / p50, "tried": [], **times(p50)},
        "cold": {"seconds": 0.05, "bare_bytes": 50 * 2**20, "peak_bytes": 60 * 2**20, "all_seconds": [0.05]},
        "cost": {"one_by_one": None, "in_batches": None},
        **changes,
    }


def compared(of: str, ratio: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"of": of, "threads": None if of == "throughput" else 1, "ratio": ratio, "low": low, "high": high, **more}


def attempt(students: int, p99: float | None, answered: int = 3000) -> dict[str, Any]:
    return {"students": students, "requests": 3000, "answered": answered, "p99": p99}


def fitting(fits: dict[str, Any] | None, fails: dict[str, Any] | None, by: str = "processes") -> dict[str, Any]:
    return {
        "teacher": {"runtime": "torch", "threads": 2, "rate": 40.0, "p99": 0.03},
        "student": {"runtime": "onnx", "processes": 2},
        "fits": fits,
        "fails": fails,
        "limit": {"students": 1000, "by": by},
        "seconds": 6.0,
    }


def bench(**changes: Any) -> dict[str, Any]:
    """Of a teacher that takes 20 ms and a student that takes one."""
    return {
        "student": {"arm": "distilled", "seed": 0, "files": {}},
        "device": {
            "processor": "Some CPU",
            "flags": ["avx512_vnni"],
            "cores": 2,
            "memory_bytes": 2**33,
            "governor": None,
            "power": None,
            "celsius": None,
            "platform": "Linux",
            "python": "3.11.7",
            "load": 0.1,
        },
        "versions": {"limbeck": "0.1.0", "torch": "2.13.0", "executorch": None},
        "method": {
            "turns": 7,
            "warm": 20,
            "enough": 300,
            "seconds": 20.0,
            "examples": 64,
            "input_shape": [1, 28, 28],
            "input_dtype": "uint8",
        },
        "price": None,
        "contenders": [contender("teacher", "torch", 0.02), contender("student", "torch", 0.001)],
        "left_out": [],
        "ratios": [],
        "int8": [],
        "capacity": None,
        **changes,
    }
