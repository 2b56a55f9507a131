"""Extract the vectors that the tests use from the folder of reference values.

    python tests/oracles/extract.py FOLDER

FOLDER holds INDEX.json and one .safetensors file per objective, made by running published implementations in
float64 and checking them against an independent 80-bit computation. Kept here: the cases of at most 100 classes
of the objectives of the catalogue, the tensors that a test reads (inputs in float32, which holds them exactly;
results in float64), and in index.json their parameters, tags, tolerances and origin.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).parent
MOST_CLASSES = 100
LOGITS = (
    "kd",
    "reverse_kl",
    "jsd",
    "total_variation",
    "hard_soft_mix",
    "dkd",
    "dist",
    "logit_standardisation",
    "nkd",
    "ttm",
    "logit_mse",
    "topk_tail_kl",
)
FEATURES = ("hint", "cosine", "attention_transfer", "vid", "vid_core", "review_hcl", "channel_wise")
RELATIONS = ("rkd_distance", "rkd_angle", "pkt", "similarity_preserving")
UNREAD = {
    "divergence",
    "teacher_entropy",
    "hard_per_example",
    "soft_per_example",
    "attention_student",
    "attention_teacher",
    "pred_mean",
    "pred_var",
    "topk_logprobs",
    "teacher_head_mass",
    "student_head_mass",
    "dense_kl",
    "biased_truncated",
    "biased_zero_tail",
    "biased_both_renormalised",
}
"""Values on the way, which no test reads."""

FACTS = ("tag", "params", "value_from", "float32_error_of_reference")
MADE = ("repository", "path", "symbol", "commit")


def single(key: str, values: np.ndarray) -> np.ndarray:
    if values.dtype != np.float64:
        return values
    smaller = values.astype(np.float32)
    assert (smaller == values).all(), f"{key} is not exact in float32"
    return smaller


def kept(tensors: dict[str, np.ndarray], cases: dict) -> dict[str, np.ndarray]:
    found = {}
    for full, values in tensors.items():
        case, key = full.split(".")
        if case in cases and key not in UNREAD:
            found[full] = single(full, values) if key in cases[case]["shapes"] else values
    return found


def small(name: str, facts: dict) -> bool:
    return name not in LOGITS or facts["shapes"]["student"][-1] <= MOST_CLASSES


def extract(folder: Path) -> None:
    index = json.loads((folder / "INDEX.json").read_text())
    about = {key: index["about"][key] for key in ("convention", "tolerances", "independent_computation")}
    objectives = {}
    for name in LOGITS + FEATURES + RELATIONS:
        source, entry = folder / f"{name}.safetensors", index["objectives"][name]
        cases = {case: facts for case, facts in entry["cases"].items() if small(name, facts)}
        save_file(kept(load_file(source), cases), HERE / f"{name}.safetensors")
        objectives[name] = {
            "formula": entry["formula"],
            "paper": entry["paper"],
            "implementations": [{key: made[key] for key in MADE} for made in entry["implementations"]],
            "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            "cases": {case: {fact: facts[fact] for fact in FACTS} for case, facts in cases.items()},
        }
    text = json.dumps({"about": about, "objectives": objectives}, indent=1, ensure_ascii=False)
    (HERE / "index.json").write_text(text + "\n")


if __name__ == "__main__":
    extract(Path(sys.argv[1]))
