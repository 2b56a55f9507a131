import numpy as np
import pytest
import torch
from scipy import stats

from limbeck.data.draws import (
    beta_quantiles,
    beta_roots,
    draw_between,
    draw_from,
    draw_one_of,
    log_uniform_roots,
    uniform_roots,
)
from limbeck.data.randomness import random_bits, split_mix

COUNT = 20_000


@pytest.fixture(scope="module")
def bits():
    return random_bits(split_mix(torch.arange(COUNT)), 0, seed=5)


def ks(values, distribution):
    """The probability of a sample as far from the distribution as this one."""
    return stats.kstest(values.double().numpy(), distribution).pvalue


@pytest.mark.parametrize("a", [0.4, 0.8, 1.0, 4.0])
def test_shares_have_the_beta_distribution(bits, a):
    assert ks(draw_from(bits, 0, beta_quantiles(a)), stats.beta(a, a).cdf) > 0.01
    assert ks(1 - draw_from(bits, 1, beta_roots(a)).double() ** 2, stats.beta(a, a).cdf) > 0.01


def test_another_beta_is_told_apart(bits):
    assert ks(draw_from(bits, 0, beta_quantiles(0.8)), stats.beta(1.0, 1.0).cdf) < 1e-6


@pytest.mark.parametrize("a", [0.01, 0.1, 1.0, 1000.0])
def test_quantiles_are_those_at_the_middles_of_equal_shares(a):
    quantiles, roots = beta_quantiles(a).double(), beta_roots(a).double()
    shares = stats.beta(a, a).cdf(quantiles.numpy())
    inner = (quantiles > 1e-4) & (quantiles < 1 - 1e-4)  # at the ends float32 is too coarse for these slopes
    middles = (np.arange(len(quantiles)) + 0.5) / len(quantiles)
    assert np.abs(shares - middles)[inner.numpy()].max(initial=0) < 1e-4
    assert torch.allclose(roots.square(), quantiles.flip(0), atol=1e-6)  # Beta(a, a) is its own mirror


def test_areas_and_aspects_have_the_distributions_of_inception(bits):
    assert ks(draw_from(bits, 0, uniform_roots(0.25)).double() ** 2, stats.uniform(0.25, 0.75).cdf) > 0.01
    roots = draw_from(bits, 1, log_uniform_roots(4 / 3)).double()
    assert ks(roots**2, stats.loguniform(3 / 4, 4 / 3).cdf) > 0.01


def test_values_between_are_uniform_and_fields_have_nothing_in_common(bits):
    first, second = draw_between(bits, 0, 0.5, 1.5), draw_between(bits, 2, -1.0, 0.0)
    assert ks(first, stats.uniform(0.5, 1).cdf) > 0.01
    assert ks(second, stats.uniform(-1, 1).cdf) > 0.01
    assert abs(np.corrcoef(first, second)[0, 1]) < 3 / COUNT**0.5


def test_one_of_many_reaches_all_and_favours_none(bits):
    drawn = draw_one_of(bits, 50)
    counts = torch.bincount(drawn, minlength=50).double()
    # Chi-squared with 49 degrees of freedom exceeds 85.4 once in a thousand.
    assert ((counts - COUNT / 50) ** 2 / (COUNT / 50)).sum() < 85.4
    assert draw_one_of(torch.tensor([-1]), 300_000_000).item() == 299_999_999
