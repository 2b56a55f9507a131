"""What quantisation-aware distillation mends, whom it should hear, and whether the file is what was trained.

    python bench/quantisation_aware.py OUT

Students of the digits, one by one given a unit per layer that is so many times as large as its neighbours, and answers
as before: all its neighbours then share a few of the 256 values of int8.
"""

import copy
import sys
from dataclasses import replace
from pathlib import Path

import torch

import limbeck.export.quantisation_aware as aware
from limbeck.conversion.convert import running
from limbeck.conversion.fake_quantised import FakeQuantised
from limbeck.conversion.quantised import to_quantised_onnx
from limbeck.export.subject import Subject, subject_of
from limbeck.finished import Chosen, finished
from limbeck.measurement import parity
from limbeck.pipeline import Options, run
from limbeck.preparation import Materials
from limbeck.progress import unwatched
from limbeck.recipe import recipe_from_tree

FACTORS = (1, 10, 30, 100)
EPOCHS = (100, 10)
"""Of the students: one that has learnt what its teacher says, and one that has not yet."""
TEACHERS = (0.001, 0.1, 0.5, 0.999)
FIT = {"epochs": 100, "threads": 1, "optimizer": {"name": "adamw", "lr": 0.005}}
RECIPE = {
    "format": 1,
    "data": {"source": "digits"},
    "teacher": {"kind": "train", "model": {"name": "mlp", "hidden": [128]}, "fit": FIT},
    "student": {"model": {"name": "mlp", "hidden": [64, 32]}},
    "fit": FIT,
    "proof": {"seeds": [0, 1, 2], "arms": ["distilled"]},
}


def with_outliers(subject: Subject, factor: float) -> Subject:
    network = copy.deepcopy(subject.network)
    with torch.no_grad():
        for first, second, unit in ((network.linear1, network.linear2, 0), (network.linear2, network.head, 3)):
            first.weight[unit] *= factor
            first.bias[unit] *= factor
            second.weight[:, unit] /= factor
    return replace(subject, network=network)


def kept(subject: Subject, network: torch.nn.Module) -> str:
    """Agreement, divergence and drop of the int8 file of a network from the subject's student."""
    inputs = subject.preprocess(subject.run.data.measured.inputs)
    with running("onnx-int8", to_quantised_onnx(network, subject.calibration, {}).data) as answer:
        found = parity(subject.of_measured, torch.from_numpy(answer(inputs.numpy())), subject.run.data.measured.labels)
    return f"{100 * found.agreement:.1f} {found.divergence:.4f} {100 * found.drop:+.1f}"


def way_back(subject: Subject) -> str:
    """KL of the int8 file from the network with fake quantisation: with ranges cut off in the file, and found anew."""
    fake = FakeQuantised(subject.network, subject.calibration)
    plain = fake.plain()
    anew = copy.deepcopy(plain)
    for name, _ in list(anew.named_modules()):
        if name.endswith(".range"):
            anew.set_submodule(name, torch.nn.Identity())
    inputs, labels = subject.preprocess(subject.run.data.measured.inputs), subject.run.data.measured.labels
    with torch.no_grad():
        trained = fake(inputs)
    found = []
    for network in (plain, anew):
        with running("onnx-int8", to_quantised_onnx(network, subject.calibration, {}).data) as answer:
            found.append(parity(trained, torch.from_numpy(answer(inputs.numpy())), labels).divergence)
    return " ".join(f"{each:.5f}" for each in found)


def main(out: Path) -> None:
    print("agreement %, KL, drop in points; way back: KL with ranges cut off, with ranges found anew")
    for epochs in EPOCHS:
        place = out / f"epochs-{epochs}"
        tree = RECIPE | {"out": str(place), "fit": FIT | {"epochs": epochs}}
        run(recipe_from_tree(tree, {}, where="the bench"), Materials(), Options(resume=place.exists()))
        for seed in RECIPE["proof"]["seeds"]:
            student = subject_of(finished(place, Materials()), Chosen(seed=seed), None)
            for factor in FACTORS:
                print(
                    f"{epochs} epochs, seed {seed}, factor {factor} | {compared(with_outliers(student, factor))}",
                    flush=True,
                )


def compared(subject: Subject) -> str:
    line = [f"after training {kept(subject, subject.network)}"]
    for share in TEACHERS:
        aware.TEACHER, aware.AGREED = share, 0.0
        line.append(f"teacher {share} {kept(subject, aware.quantisation_aware(subject, unwatched))}")
    return " | ".join([*line, f"way back {way_back(subject)}"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
