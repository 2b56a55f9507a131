"""Feature objectives as their papers write them: NumPy, nothing shared with limbeck.

Each takes the student's and the teacher's features [N, ...] at the two taps and what is learnt, arrays by their names
in the state dict of what `build` gives, and returns values [N].
"""

import math

import numpy as np

from limbeck.objectives import HCL, VID, AttentionTransfer, ChannelWise, Feature, Hint


def averaged(maps_NCHW, height, width):
    """Each entry of the smaller map is the mean of the window that it stands for; windows may overlap by one."""
    count, channels, old_height, old_width = maps_NCHW.shape
    smaller_NCHW = np.zeros((count, channels, height, width))
    for row in range(height):
        for column in range(width):
            rows = slice(row * old_height // height, math.ceil((row + 1) * old_height / height))
            columns = slice(column * old_width // width, math.ceil((column + 1) * old_width / width))
            smaller_NCHW[:, :, row, column] = maps_NCHW[:, :, rows, columns].mean(axis=(2, 3))
    return smaller_NCHW


def of_one_size(student, teacher):
    if student.ndim < 4:
        return student, teacher
    height, width = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
    return averaged(student, height, width), averaged(teacher, height, width)


def channels_last(features):
    return np.moveaxis(features, 1, -1) if features.ndim == 4 else features


def of_one_shape(student, teacher, learnt):
    """Both, channels last, the student's through the learnt matrix if there is one."""
    student, teacher = map(channels_last, of_one_size(student, teacher))
    if learnt:
        weight = learnt["weight"].reshape(teacher.shape[-1], student.shape[-1])
        student = student @ weight.T
    return student, teacher


def mean(values):
    return values.reshape(len(values), -1).mean(axis=1)


def hint(student, teacher, learnt):
    """Romero et al. 2015, equation 3, with a linear regressor and a mean for half the sum."""
    student, teacher = of_one_shape(student, teacher, learnt)
    return mean((student - teacher) ** 2)


def absolute(student, teacher, learnt):
    student, teacher = of_one_shape(student, teacher, learnt)
    return mean(np.abs(student - teacher))


def cosine(student, teacher, learnt):
    """Sanh et al. 2019: the angle between two hidden vectors, here at every position."""
    student, teacher = of_one_shape(student, teacher, learnt)
    norms = np.sqrt((student**2).sum(axis=-1) * (teacher**2).sum(axis=-1))
    return mean(1 - (student * teacher).sum(axis=-1) / norms)


def attention_transfer(power):
    """Zagoruyko and Komodakis 2017, section 3.1, F^p_sum; the mean square that their code takes of the difference."""

    def attention(maps_NCHW):
        summed_NK = (np.abs(maps_NCHW) ** power).sum(axis=1).reshape(len(maps_NCHW), -1)
        return summed_NK / np.sqrt((summed_NK**2).sum(axis=1, keepdims=True))

    def define(student, teacher, learnt):
        student_NCHW, teacher_NCHW = of_one_size(student, teacher)
        return ((attention(student_NCHW) - attention(teacher_NCHW)) ** 2).mean(axis=1)

    return define


def vid(student, teacher, learnt):
    """Ahn et al. 2019: a Gaussian's negative logarithm without its constant, as a mean; their code's network."""
    hidden, teacher = map(channels_last, of_one_size(student, teacher))
    for layer in ("network.0.weight", "network.2.weight", "network.4.weight"):
        if layer != "network.0.weight":
            hidden = np.maximum(hidden, 0)
        hidden = hidden @ learnt[layer].reshape(teacher.shape[-1], hidden.shape[-1]).T
    variance_C = np.log(1 + np.exp(learnt["log_scale"])) + 1e-5
    return mean((hidden - teacher) ** 2 / (2 * variance_C) + np.log(variance_C) / 2)


def channel_wise(temperature):
    """Shu et al. 2021: softmax over the positions of each channel; T^2 / C sum_c KL."""

    def distributions(maps_NKC):
        powers_NKC = np.exp(maps_NKC / temperature - maps_NKC.max(axis=1, keepdims=True) / temperature)
        return powers_NKC / powers_NKC.sum(axis=1, keepdims=True)

    def define(student, teacher, learnt):
        student, teacher = of_one_shape(student, teacher, learnt)
        count, channels = len(student), student.shape[-1]
        q_NKC, p_NKC = (distributions(features.reshape(count, -1, channels)) for features in (student, teacher))
        return temperature**2 / channels * (p_NKC * (np.log(p_NKC) - np.log(q_NKC))).sum(axis=(1, 2))

    return define


def hcl(student, teacher, learnt):
    """Chen et al. 2021 and their code: levels 4, 2, 1 below the height, with 1/2, 1/4, 1/8 in that order."""
    student, teacher = (np.moveaxis(features, -1, 1) for features in of_one_shape(student, teacher, learnt))
    levels = [level for level in (4, 2, 1) if level < student.shape[2]]
    weights = [0.5 ** (1 + place) for place in range(len(levels))]
    pooled = [mean((averaged(student, q, q) - averaged(teacher, q, q)) ** 2) for q in levels]
    terms = [weight * values_N for weight, values_N in zip(weights, pooled, strict=True)]
    return (mean((student - teacher) ** 2) + sum(terms)) / (1 + sum(weights))


TAPS = {"student": "early", "teacher": "late"}

DEFINED = [
    (Hint(**TAPS), hint),
    (Feature(**TAPS), hint),
    (Feature(**TAPS, distance="l1"), absolute),
    (Feature(**TAPS, distance="cosine"), cosine),
    (AttentionTransfer(**TAPS), attention_transfer(2)),
    (AttentionTransfer(**TAPS, power=4), attention_transfer(4)),
    (AttentionTransfer(**TAPS, power=6), attention_transfer(6)),
    (VID(**TAPS), vid),
    (ChannelWise(**TAPS), channel_wise(1.0)),
    (ChannelWise(**TAPS, temperature=4.0), channel_wise(4.0)),
    (HCL(**TAPS), hcl),
]
