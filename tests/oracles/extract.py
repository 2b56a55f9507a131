"""Extract the small vectors that the tests use from the folder of reference values.

    python tests/oracles/extract.py FOLDER

FOLDER holds INDEX.json and one .safetensors file per objective, made by running published implementations in
float64 and checking them against an independent 80-bit computation. Kept here: the cases of at most 100 classes
of three objectives, the tensors that a test reads (inputs in float32, which holds them exactly; results in
float64), and in index.json their parameters, tags, tolerances and origin.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).parent
MOST_CLASSES = 100
KEPT = {
    "kd": ("student", "teacher", "per_example", "loss", "grad_student"),
    "reverse_kl": ("student", "teacher", "per_example", "loss", "grad_student"),
    "hard_soft_mix": ("student", "teacher", "labels", "hard", "soft", "loss", "grad_student"),
}
FACTS = ("tag", "params", "value_from", "float32_error_of_reference")


def smallest(key: str, values: np.ndarray) -> np.ndarray:
    if not key.endswith((".student", ".teacher")):
        return values
    single = values.astype(np.float32)
    assert (single == values).all(), f"{key} is not exact in float32"
    return single


def extract(folder: Path) -> None:
    index = json.loads((folder / "INDEX.json").read_text())
    about = {key: index["about"][key] for key in ("convention", "tolerances", "independent_computation")}
    objectives = {}
    for name, kept in KEPT.items():
        source, entry = folder / f"{name}.safetensors", index["objectives"][name]
        tensors = load_file(source)
        cases = {
            case: {fact: facts[fact] for fact in FACTS}
            for case, facts in entry["cases"].items()
            if facts["shapes"]["student"][-1] <= MOST_CLASSES
        }
        chosen = {f"{case}.{key}": tensors[f"{case}.{key}"] for case in cases for key in kept}
        save_file({key: smallest(key, values) for key, values in chosen.items()}, HERE / f"{name}.safetensors")
        objectives[name] = {
            "formula": entry["formula"],
            "paper": entry["paper"],
            "implementations": [
                {key: made[key] for key in ("repository", "path", "symbol", "commit")}
                for made in entry["implementations"]
            ],
            "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            "cases": cases,
        }
    text = json.dumps({"about": about, "objectives": objectives}, indent=1, ensure_ascii=False)
    (HERE / "index.json").write_text(text + "\n")


if __name__ == "__main__":
    extract(Path(sys.argv[1]))
