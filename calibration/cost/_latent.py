"""Multi-head latent attention: keys and values as low-rank latents, shared by all heads."""

from dataclasses import dataclass

from policies import InvalidInputError

__all__ = ["LatentAttention"]


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Sizes of latent attention.

    The cache holds one latent and one rotary key per token. Engines run it in two ways with
    equal results: *expanded*, where a matrix makes every head's keys and values from the latents
    (prefill), and *absorbed*, where that matrix is applied to queries and outputs instead and
    heads look at the latents themselves (decode). Both multiply a token with equally many matrix
    entries, but a query-key pair costs several times more absorbed.

    Source: DeepSeek-V2, arXiv 2405.04434, section 2.1 and appendix C.

    Attributes:
        kv_rank: Width of a latent.
        q_rank: Width of the queries' own latent, 0 if they have none.
        nope_dim: Width of a head's query and key without position.
        rope_dim: Width of a head's query, and of the one shared key, with position.
        value_dim: Width of a head's value.

    Raises:
        InvalidInputError: A size is not positive.
    """

    kv_rank: int
    q_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int

    def __post_init__(self) -> None:
        """Check the sizes."""
        sizes = (self.kv_rank, self.nope_dim, self.rope_dim, self.value_dim)
        if min(sizes) < 1 or self.q_rank < 0:
            raise InvalidInputError(f"{self!r}: expected sizes >= 1, and q_rank >= 0")

    @property
    def n_cached_values(self) -> int:
        """Numbers that one token adds to the cache."""
        return self.kv_rank + self.rope_dim

    def expanded_pair_flops(self, n_heads: int) -> int:
        """Return the FLOPs of one query-key pair over expanded keys and values."""
        return 2 * n_heads * (self.nope_dim + self.rope_dim + self.value_dim)

    def absorbed_pair_flops(self, n_heads: int) -> int:
        """Return the FLOPs of one query-key pair over latents."""
        return 2 * n_heads * (2 * self.kv_rank + self.rope_dim)

    def n_expansion_params(self, n_heads: int) -> int:
        """Return the entries of the matrix that makes keys and values from a latent."""
        return n_heads * self.kv_rank * (self.nope_dim + self.value_dim)

    def n_matmul_params(self, hidden: int, n_heads: int) -> int:
        """Return the entries of all matrices that one token is multiplied with."""
        query_dim = n_heads * (self.nope_dim + self.rope_dim)
        query = self.q_rank * (hidden + query_dim) if self.q_rank else hidden * query_dim
        down = hidden * self.n_cached_values
        return query + down + self.n_expansion_params(n_heads) + n_heads * self.value_dim * hidden
