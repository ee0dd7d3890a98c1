"""Simulated studies of a simulator and a robot: outcomes in pairs, with a known real rate, correlation and bias."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from vla_agent.evaluation.bridge.real_rate import Counts


@dataclass(frozen=True)
class Cell:
    """``real``: rate on the robot; ``bias``: simulated minus real rate; ``n``: trials; ``simulated``: episodes."""

    real: float
    bias: float
    correlation: float
    n: int
    simulated: int

    @property
    def both(self) -> float:
        """Probability that both outcomes are a success."""
        q = self.real + self.bias
        return self.real * q + self.correlation * math.sqrt(self.real * (1 - self.real) * q * (1 - q))

    @property
    def possible(self) -> bool:
        """Whether two outcomes of these rates can have this correlation."""
        q = self.real + self.bias
        return 0 < q < 1 and max(0.0, self.real + q - 1) <= self.both <= min(self.real, q)

    @property
    def name(self) -> str:
        """In words."""
        return (
            f"real {self.real:g}, simulated {self.real + self.bias:.2g}, correlation {self.correlation:g}, "
            f"{self.n} trials, {self.simulated} episodes"
        )

    def draw(self, rng: np.random.Generator) -> Counts:
        """The counts of one study."""
        import numpy as np

        from vla_agent.evaluation.bridge.real_rate import Counts

        q, both = self.real + self.bias, self.both
        chances = np.clip([both, self.real - both, q - both, 1 - self.real - q + both], 0, 1)
        k1, k0, failed1, failed0 = (int(x) for x in rng.multinomial(self.n, chances / chances.sum()))
        return Counts(k1, k1 + failed1, k0, k0 + failed0, int(rng.binomial(self.simulated, q)), self.simulated)


def width_alone(real: float, n: int) -> float:
    """Mean width of the exact interval (Clopper and Pearson) of ``n`` trials alone."""
    import numpy as np
    from scipy.special import betaincinv
    from scipy.stats import binom

    k = np.arange(n + 1)
    low = np.where(k == 0, 0.0, betaincinv(np.maximum(k, 1), n - k + 1, 0.025))
    high = np.where(k == n, 1.0, betaincinv(k + 1, np.maximum(n - k, 1), 0.975))
    return float(binom.pmf(k, n, real) @ (high - low))


def width_wilson(real: float, n: int) -> float:
    """Mean width of Wilson's interval of ``n`` trials alone, which is shorter and not exact."""
    import numpy as np
    from scipy.special import ndtri
    from scipy.stats import binom

    k, z = np.arange(n + 1), ndtri(0.975)
    return float(binom.pmf(k, n, real) @ (2 * z * np.sqrt(k * (n - k) / n + z * z / 4) / (n + z * z)))


def trials_for(width: float, real: float, mean_width: object, start: int) -> float:
    """The number of trials alone, between whole numbers where it falls there, whose mean width is ``width``."""
    assert callable(mean_width)
    n = start
    while n > 2 and mean_width(real, n) <= width:
        n -= 1
    while mean_width(real, n + 1) > width:
        n += 1
    wide, narrow = mean_width(real, n), mean_width(real, n + 1)
    return float(n + (wide - width) / (wide - narrow))
