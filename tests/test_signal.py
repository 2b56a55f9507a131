"""The signal: logits and features go together."""

import torch

from limbeck.signal import Signal, raised


def test_features_follow_the_logits_to_a_device():
    signal = Signal(torch.zeros(2, 3), {"a": torch.ones(2, 4), "b": torch.ones(2, 1, 5)})
    moved = signal.to(torch.device("meta"))
    assert {values.device.type for values in (moved.logits, *moved.features.values())} == {"meta"}
    assert {tap: tuple(values.shape) for tap, values in moved.features.items()} == {"a": (2, 4), "b": (2, 1, 5)}
    assert signal.logits.device.type == "cpu"


def test_a_signal_has_no_features_unless_they_are_given():
    assert Signal(torch.zeros(2, 3)).features == {}
    assert Signal(torch.zeros(2, 3)).to(torch.device("cpu")).features == {}


def test_half_precision_alone_is_raised():
    kinds = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    assert [raised(torch.zeros(1, dtype=kind)).dtype for kind in kinds] == [torch.float32] * 3 + [torch.float64]
