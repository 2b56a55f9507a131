"""Relation objectives as their papers write them: NumPy, nothing shared with limbeck.

Each takes the student's and the teacher's features [N, ...] at the two taps and what is learnt, arrays by their names
in the state dict of what `build` gives, and returns values [N].
"""

import numpy as np

from limbeck.objectives import PKT, InBatchContrastive, RKDAngle, RKDDistance, SimilarityPreserving


def rows(features):
    return features.reshape(len(features), -1)


def lengths(vectors):
    return np.sqrt((vectors**2).sum(axis=-1))


def huber(x):
    return np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5)


def rkd_distance(student, teacher, learnt):
    """Park et al. 2019, equations 3 to 5; the mean over all pairs, as in their code."""

    def normalised(x_ND):
        apart_NN = lengths(x_ND[:, None] - x_ND[None])
        return apart_NN / apart_NN[apart_NN > 0].mean() if (apart_NN > 0).any() else apart_NN

    return huber(normalised(rows(student)) - normalised(rows(teacher))).mean(axis=1)


def rkd_angle(student, teacher, learnt):
    """Park et al. 2019, equations 6 and 7; the mean over all triples, as in their code."""

    def cosines(x_ND):
        sides_NND = x_ND[None] - x_ND[:, None]
        units_NND = sides_NND / np.maximum(lengths(sides_NND), 1e-12)[..., None]
        return np.einsum("ijd,ikd->ijk", units_NND, units_NND)

    return huber(cosines(rows(student)) - cosines(rows(teacher))).mean(axis=(1, 2))


def pkt(student, teacher, learnt):
    """Passalis and Tefas 2018, equations 3 to 6, with the mean and the epsilons of their code."""

    def neighbours(x_ND):
        units_ND = x_ND / (lengths(x_ND) + 1e-7)[:, None]
        kernel_NN = (units_ND @ units_ND.T + 1) / 2
        return kernel_NN / kernel_NN.sum(axis=1, keepdims=True)

    q_NN, p_NN = neighbours(rows(student)), neighbours(rows(teacher))
    return (p_NN * np.log((p_NN + 1e-7) / (q_NN + 1e-7))).mean(axis=1)


def similarity_preserving(student, teacher, learnt):
    """Tung and Mori 2019, equations 1 to 4."""

    def similarities(x_ND):
        dots_NN = x_ND @ x_ND.T
        return dots_NN / lengths(dots_NN)[:, None]

    return ((similarities(rows(student)) - similarities(rows(teacher))) ** 2).mean(axis=1)


def in_batch_contrastive(temperature):
    """Van den Oord et al. 2018, equation 4, in both directions, of embeddings as Tian et al. 2020 have them."""

    def define(student, teacher, learnt):
        u_NE = rows(student) @ learnt["student.weight"].T + learnt["student.bias"]
        v_NE = rows(teacher) @ learnt["teacher.weight"].T + learnt["teacher.bias"]
        cosines_NN = u_NE @ v_NE.T / np.outer(lengths(u_NE), lengths(v_NE))
        powers_NN = np.exp(cosines_NN / temperature)
        own_N = np.diag(powers_NN)
        return -(np.log(own_N / powers_NN.sum(axis=1)) + np.log(own_N / powers_NN.sum(axis=0))) / 2

    return define


TAPS = {"student": "early", "teacher": "late"}

DEFINED = [
    (RKDDistance(**TAPS), rkd_distance),
    (RKDAngle(**TAPS), rkd_angle),
    (PKT(**TAPS), pkt),
    (SimilarityPreserving(**TAPS), similarity_preserving),
    (InBatchContrastive(**TAPS, width=32), in_batch_contrastive(0.07)),
    (InBatchContrastive(**TAPS, width=3, temperature=0.5), in_batch_contrastive(0.5)),
]
