"""Student's t against another implementation."""

import pytest
from scipy.stats import t

from pointsman.statistics import t_reach


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("degrees", [*range(1, 31), 50, 100, 1000])
def test_t_is_right_to_four_digits(degrees: int, confidence: float) -> None:
    assert t_reach(degrees, confidence=confidence) == pytest.approx(t.ppf(0.5 + confidence / 2, degrees), rel=2e-4)
