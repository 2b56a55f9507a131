"""Logit objectives as their papers write them: NumPy, probabilities, nothing shared with limbeck.

Each takes the student's and the teacher's logits [N, C] and labels [N] and returns values [N], in nats.
"""

import numpy as np

from limbeck.objectives import (
    DIST,
    DKD,
    NKD,
    TTM,
    BernoulliTargets,
    BinaryCrossEntropy,
    CrossEntropy,
    HardTargets,
    LogitMSE,
    SoftTargets,
)


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


def jensen_shannon(temperature, beta):
    """Agarwal et al. 2024, equation 1, with the teacher's share beta of the mixture."""

    def define(student_NC, teacher_NC, labels_N):
        q_NC, p_NC = softmax(student_NC / temperature), softmax(teacher_NC / temperature)
        m_NC = beta * p_NC + (1 - beta) * q_NC
        of_p_N, of_q_N = ((x_NC * np.log(x_NC / m_NC)).sum(axis=1) for x_NC in (p_NC, q_NC))
        return temperature**2 * (beta * of_p_N + (1 - beta) * of_q_N)

    return define


def normalised_jensen_shannon(temperature, beta):
    """The same, divided by what it tends to 0 with."""
    define_plain = jensen_shannon(temperature, beta)
    return lambda *given: define_plain(*given) / (beta * (1 - beta))


def total_variation(temperature):
    """Wen et al. 2023: half the sum of absolute differences, times T^2."""

    def define(student_NC, teacher_NC, labels_N):
        difference_NC = softmax(student_NC / temperature) - softmax(teacher_NC / temperature)
        return temperature**2 * np.abs(difference_NC).sum(axis=1) / 2

    return define


def standardised(define):
    """Sun et al. 2024, section 3.3: (x - mean) / (std + 1e-7) of each row first; std with C - 1 as in their code."""

    def define_on_scores(student_NC, teacher_NC, labels_N):
        student_NC, teacher_NC = (
            (x_NC - x_NC.mean(axis=1, keepdims=True)) / (x_NC.std(axis=1, ddof=1, keepdims=True) + 1e-7)
            for x_NC in (student_NC, teacher_NC)
        )
        return define(student_NC, teacher_NC, labels_N)

    return define_on_scores


def each(define_one):
    """Of a definition of one labelled example, that of a batch: 0 where the label is -100."""

    def define(student_NC, teacher_NC, labels_N):
        rows = zip(student_NC, teacher_NC, labels_N, strict=True)
        return np.array([0.0 if label == -100 else define_one(s_C, t_C, label) for s_C, t_C, label in rows])

    return define


def target_and_others(logits_C, label):
    """The target's probability, that of all others together, and the others' among themselves [C - 1]."""
    powers_C = np.exp(logits_C)
    others = np.delete(powers_C, label)
    return powers_C[label] / powers_C.sum(), others.sum() / powers_C.sum(), others / others.sum()


def dkd(temperature, target_weight, non_target_weight):
    """Zhao et al. 2022, equation 7: alpha TCKD + beta NCKD, times T^2 as their code has it."""

    def define_one(student_C, teacher_C, label):
        q, not_q, h_student = target_and_others(student_C / temperature, label)
        p, not_p, h_teacher = target_and_others(teacher_C / temperature, label)
        target = p * np.log(p / q) + not_p * np.log(not_p / not_q)
        others = (h_teacher * np.log(h_teacher / h_student)).sum()
        return temperature**2 * (target_weight * target + non_target_weight * others)

    return each(define_one)


def nkd(temperature, non_target_weight):
    """Yang et al. 2023, equation 10: -p_y log q_y - gamma T^2 sum of h_t log h_s over the other classes."""

    def define_one(student_C, teacher_C, label):
        q, _, _ = target_and_others(student_C, label)
        p, _, _ = target_and_others(teacher_C, label)
        _, _, h_student = target_and_others(student_C / temperature, label)
        _, _, h_teacher = target_and_others(teacher_C / temperature, label)
        return -p * np.log(q) - non_target_weight * temperature**2 * (h_teacher * np.log(h_student)).sum()

    return each(define_one)


def ttm(exponent, weighted):
    """Zheng and Yang 2024: KL from the power transform of p; if weighted, times the sum of p^exponent."""

    def define(student_NC, teacher_NC, labels_N):
        q_NC, powers_NC = softmax(student_NC), softmax(teacher_NC) ** exponent
        transformed_NC = powers_NC / powers_NC.sum(axis=1, keepdims=True)
        values_N = (transformed_NC * np.log(transformed_NC / q_NC)).sum(axis=1)
        return powers_NC.sum(axis=1) * values_N if weighted else values_N

    return define


def correlation(a, b):
    """Pearson's, with the 1e-8 of the published code; 0 of a single number."""
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / (np.sqrt((a**2).sum()) * np.sqrt((b**2).sum()) + 1e-8)


def dist(temperature, inter_weight, intra_weight):
    """Huang et al. 2022, equations 8 and 9, times T^2."""

    def define(student_NC, teacher_NC, labels_N):
        q_NC, p_NC = softmax(student_NC / temperature), softmax(teacher_NC / temperature)
        inter_N = np.array([1 - correlation(*pair) for pair in zip(q_NC, p_NC, strict=True)])
        intra_C = np.array([1 - correlation(*pair) for pair in zip(q_NC.T, p_NC.T, strict=True)])
        return temperature**2 * (inter_weight * inter_N + intra_weight * intra_C.mean())

    return define


def logit_mse(student_NC, teacher_NC, labels_N):
    """Ba and Caruana 2014, equation 1, with a mean over the classes for their half sum."""
    return ((student_NC - teacher_NC) ** 2).mean(axis=1)


def centred_logit_mse(student_NC, teacher_NC, labels_N):
    """The same of logits less their means: the variance of the difference."""
    return (student_NC - teacher_NC).var(axis=1)


def sigmoid(logits_NC):
    return 1 / (1 + np.exp(-logits_NC))


def bernoulli_kl(temperature):
    """Yang et al. 2023, arXiv 2308.06453: of each class p log(p/q) + (1 - p) log((1 - p)/(1 - q)), times T^2."""

    def define(student_NC, teacher_NC, labels_N):
        s_NC, t_NC = student_NC / temperature, teacher_NC / temperature
        yes_NC = sigmoid(t_NC) * np.log(sigmoid(t_NC) / sigmoid(s_NC))
        no_NC = sigmoid(-t_NC) * np.log(sigmoid(-t_NC) / sigmoid(-s_NC))
        return temperature**2 * (yes_NC + no_NC).sum(axis=1)

    return define


def binary_cross_entropy(student_NC, teacher_NC, labels_N):
    """One class against the rest: -log q of the label, -log(1 - q) of each other class; 0 where the label is -100."""
    no_NC = -np.log(sigmoid(-student_NC))
    rows, known = np.arange(len(labels_N)), labels_N != -100
    labels_N = np.where(known, labels_N, 0)
    yes_N = -np.log(sigmoid(student_NC))[rows, labels_N]
    return np.where(known, yes_N + no_NC.sum(axis=1) - no_NC[rows, labels_N], 0.0)


DEFINED = [
    (CrossEntropy(), cross_entropy(0.0)),
    (CrossEntropy(smoothing=0.1), cross_entropy(0.1)),
    (BinaryCrossEntropy(), binary_cross_entropy),
    (SoftTargets(), forward_kl(4.0)),
    (SoftTargets(temperature=1.0), forward_kl(1.0)),
    (SoftTargets(temperature=20.0), forward_kl(20.0)),
    (SoftTargets(standardise=True, temperature=2.0), standardised(forward_kl(2.0))),
    (SoftTargets(divergence="reverse-kl"), reverse_kl(4.0)),
    (SoftTargets(divergence="reverse-kl", temperature=1.0), reverse_kl(1.0)),
    (SoftTargets(divergence="reverse-kl", temperature=20.0), reverse_kl(20.0)),
    (SoftTargets(divergence="jsd"), jensen_shannon(4.0, 0.5)),
    (SoftTargets(divergence="jsd", temperature=1.0, beta=0.1), jensen_shannon(1.0, 0.1)),
    (SoftTargets(divergence="jsd", temperature=20.0, beta=0.9), jensen_shannon(20.0, 0.9)),
    (SoftTargets(divergence="jsd", beta=0.0), forward_kl(4.0)),
    (SoftTargets(divergence="jsd", beta=1.0), reverse_kl(4.0)),
    (SoftTargets(divergence="normalised-jsd"), normalised_jensen_shannon(4.0, 0.5)),
    (SoftTargets(divergence="normalised-jsd", temperature=1.0, beta=0.2), normalised_jensen_shannon(1.0, 0.2)),
    (SoftTargets(divergence="normalised-jsd", beta=0.0), forward_kl(4.0)),
    (SoftTargets(divergence="normalised-jsd", beta=1.0), reverse_kl(4.0)),
    (SoftTargets(divergence="total-variation"), total_variation(4.0)),
    (SoftTargets(divergence="total-variation", temperature=1.0), total_variation(1.0)),
    (SoftTargets(divergence="total-variation", temperature=20.0), total_variation(20.0)),
    (HardTargets(), hard_targets),
    (BernoulliTargets(), bernoulli_kl(4.0)),
    (BernoulliTargets(temperature=1.0), bernoulli_kl(1.0)),
    (BernoulliTargets(temperature=20.0), bernoulli_kl(20.0)),
    (DKD(), dkd(4.0, 1.0, 8.0)),
    (DKD(temperature=1.0, target_weight=0.0, non_target_weight=2.0), dkd(1.0, 0.0, 2.0)),
    (DKD(temperature=20.0, target_weight=2.0, non_target_weight=0.0), dkd(20.0, 2.0, 0.0)),
    (DKD(standardise=True, temperature=2.0), standardised(dkd(2.0, 1.0, 8.0))),
    (DIST(), dist(1.0, 1.0, 1.0)),
    (DIST(temperature=4.0, inter_weight=2.0, intra_weight=0.0), dist(4.0, 2.0, 0.0)),
    (DIST(inter_weight=0.0, intra_weight=2.0), dist(1.0, 0.0, 2.0)),
    (DIST(temperature=2.0, inter_weight=0.5), dist(2.0, 0.5, 1.0)),
    (NKD(), nkd(1.0, 1.5)),
    (NKD(temperature=4.0, non_target_weight=3.5), nkd(4.0, 3.5)),
    (TTM(), ttm(0.1, weighted=False)),
    (TTM(exponent=0.2, weighted=True), ttm(0.2, weighted=True)),
    (TTM(exponent=1.0), ttm(1.0, weighted=False)),
    (LogitMSE(), logit_mse),
    (LogitMSE(centred=True), centred_logit_mse),
    (LogitMSE(standardise=True), standardised(logit_mse)),
]
