"""Betting against "nothing has changed": evidence that may be looked at after every observation.

A gambler starts with 1 and bets on each observation at odds that are fair (or worse) as long as
nothing has changed. Then the chance that the wealth *ever* reaches 1/alpha is at most alpha
(Ville's inequality), however often one looks and whenever one stops.

Several experts bet side by side. A reserve bets nothing; at every step a small part of all wealth
is dealt out anew, so that the wealth is never spent before a change comes and an expert who is
right from some day on soon leads.

Source:
    Ville (1939); test martingales and e-processes: Ramdas, Grunwald, Vovk and Shafer, Statistical
    Science 38 (2023), 576-601. Dealing out anew is the fixed share of Herbster and Warmuth,
    Machine Learning 32 (1998), 151-178; the rate `1 / (t + 50)` is ours. Dealing out keeps the
    sum, so the wealth stays a martingale for any rate.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["BinBets", "MeanBets"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_RESERVE = 0.5
_DELAY = 50.0
_MEMORIES = np.array([30.0, 100.0, 400.0, 3000.0])
_PRIOR_WEIGHT = 15.0
_STAKES = np.array([0.03, 0.06, 0.12, 0.24, 0.48])


class _Wealth:
    """Wealth of experts and a reserve in several games at once."""

    def __init__(self, n_games: int, n_experts: int) -> None:
        self.log_wealth: Floats = np.zeros(n_games)
        """Natural logarithm of the present wealth of each game."""
        self.n: Ints = np.zeros(n_games, dtype=np.int64)
        """Observations of each game."""
        # The reserve comes first.
        self._prior = np.full(1 + n_experts, (1.0 - _RESERVE) / n_experts)
        self._prior[0] = _RESERVE
        self._shares = np.tile(self._prior, (n_games, 1))

    def multiply(self, games: Ints, factors: Floats) -> None:
        """Settle one bet of each expert in some games; factors `(n_games, n_experts)`."""
        shares = self._shares[games]
        shares[:, 1:] *= factors
        total = shares.sum(axis=1)
        self.log_wealth[games] += np.log(total)
        self.n[games] += 1
        rate = (1.0 / (self.n[games] + _DELAY))[:, np.newaxis]
        self._shares[games] = (1.0 - rate) * (shares / total[:, np.newaxis]) + rate * self._prior


class BinBets:
    """Bets that values fall into the bins of a reference sample otherwise than its own would.

    The bins of a game lie between order statistics of a sample of n values. If further values
    come from the same continuous distribution, the shares of the bins are Dirichlet distributed
    with the numbers of spacings in each bin, whatever the distribution. So the odds are those of
    Polya's urn, `(spacings + values so far) / (n + 1 + all so far)`, and they are exactly fair:
    that the reference is only a sample is part of the odds. Each expert bets the frequencies of
    the last values, 30 to 3,000 of them by its memory, mixed with the fair odds.

    Source:
        Spacings: David and Nagaraja, Order Statistics, 3rd ed. (2003), section 2.5 and 7.2
        (Wilks' tolerance regions); the urn: Blackwell and MacQueen, Annals of Statistics 1
        (1973), 353-355. Betting on plug-in frequencies: Vovk, Gammerman and Shafer, Algorithmic
        Learning in a Random World, 2nd ed. (2022), chapter 8.
    """

    def __init__(self, spacings: Floats) -> None:
        """Begin all games with a wealth of 1.

        Args:
            spacings: Number of spacings of the reference sample in each bin, shape
                `(n_games, n_bins)`; 0 for bins that a game does not have.
        """
        self._urn = spacings.astype(np.float64)
        self._total = self._urn.sum(axis=1)
        self._recent = np.zeros((len(spacings), len(_MEMORIES), spacings.shape[1]))
        self._wealth = _Wealth(len(spacings), len(_MEMORIES))
        self._decays = (1.0 - 1.0 / _MEMORIES)[:, np.newaxis]

    @property
    def log_wealth(self) -> Floats:
        """Natural logarithm of the present wealth, shape `(n_games,)`."""
        return self._wealth.log_wealth

    @property
    def n(self) -> Ints:
        """Values of each game, shape `(n_games,)`."""
        return self._wealth.n

    @property
    def counts(self) -> Floats:
        """Decaying counts of the latest (about 400) values, shape `(n_games, n_bins)`."""
        return self._recent[:, 2]

    def update(self, games: Ints, bins: Ints) -> None:
        """Settle the bets on one more value of some games.

        Args:
            games: The games, each at most once, shape `(k,)`.
            bins: The bin of each one's value, shape `(k,)`.
        """
        fair = self._urn[games, bins] / self._total[games]
        recent = self._recent[games]
        seen = recent[np.arange(len(games)), :, bins]  # (k, n_experts)
        bet = (seen + _PRIOR_WEIGHT * fair[:, np.newaxis]) / (recent.sum(axis=2) + _PRIOR_WEIGHT)
        self._wealth.multiply(games, bet / fair[:, np.newaxis])
        recent *= self._decays
        recent[np.arange(len(games)), :, bins] += 1.0
        self._recent[games] = recent
        self._urn[games, bins] += 1.0
        self._total[games] += 1.0


class MeanBets:
    """Bets that a mean of bounded values is positive.

    An expert with stake s multiplies its wealth by `1 + s * value`; the stakes, 0.03 to 0.48, do
    not depend on the values. Fair or worse for the gambler whenever each value's mean, given the
    past, is at most 0.

    Source:
        Waudby-Smith and Ramdas, JRSS-B 86 (2024), 1-27, section 4, with fixed stakes.
    """

    def __init__(self, n_games: int) -> None:
        """Begin all games with a wealth of 1."""
        self._wealth = _Wealth(n_games, len(_STAKES))

    @property
    def log_wealth(self) -> Floats:
        """Natural logarithm of the present wealth, shape `(n_games,)`."""
        return self._wealth.log_wealth

    @property
    def n(self) -> Ints:
        """Values of each game, shape `(n_games,)`."""
        return self._wealth.n

    def update(self, games: Ints, values: Floats) -> None:
        """Settle the bets on one more value of some games.

        Args:
            games: The games, each at most once, shape `(k,)`.
            values: Their values, in [-2, 2], shape `(k,)`.
        """
        self._wealth.multiply(games, 1.0 + values[:, np.newaxis] * _STAKES)
