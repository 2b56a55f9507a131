"""The catalogue's objectives as their papers write them: NumPy, probabilities, nothing shared with limbeck.

Each takes the student's and the teacher's logits [N, C] and labels [N] and returns values [N], in nats.
"""

import numpy as np


def softmax(logits_NC):
    powers_NC = np.exp(logits_NC)
    return powers_NC / powers_NC.sum(axis=1, keepdims=True)


def forward_kl(temperature):
    """Hinton, Vinyals and Dean 2015, section 2: T^2 sum_c p log(p/q)."""

    def define(student_NC, teacher_NC, labels_N):
        q_NC, p_NC = softmax(student_NC / temperature), softmax(teacher_NC / temperature)
        return temperature**2 * (p_NC * np.log(p_NC / q_NC)).sum(axis=1)

    return define


def reverse_kl(temperature):
    """Gu et al. 2024, equation 1: the student's expectation of log(q/p), times T^2."""

    def define(student_NC, teacher_NC, labels_N):
        q_NC, p_NC = softmax(student_NC / temperature), softmax(teacher_NC / temperature)
        return temperature**2 * (q_NC * np.log(q_NC / p_NC)).sum(axis=1)

    return define


def cross_entropy(smoothing):
    """Szegedy et al. 2016, section 7: targets (1 - e) onehot(y) + e / C; 0 where the label is -100."""

    def define(student_NC, teacher_NC, labels_N):
        count, classes = student_NC.shape
        targets_NC = np.full((count, classes), smoothing / classes)
        targets_NC[np.arange(count), np.where(labels_N == -100, 0, labels_N)] += 1 - smoothing
        values_N = -(targets_NC * np.log(softmax(student_NC))).sum(axis=1)
        return np.where(labels_N == -100, 0.0, values_N)

    return define


def hard_targets(student_NC, teacher_NC, labels_N):
    """-log q at the class the teacher finds likeliest."""
    return -np.log(softmax(student_NC)[np.arange(len(student_NC)), teacher_NC.argmax(axis=1)])
