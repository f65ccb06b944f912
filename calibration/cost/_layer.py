"""One transformer layer: the sizes of its matrices."""

from dataclasses import dataclass

from policies import InvalidInputError

from ._latent import LatentAttention

__all__ = ["Layer"]


@dataclass(frozen=True, slots=True)
class Layer:
    """Sizes of one layer: grouped-query attention, then a feed-forward block.

    The feed-forward block is dense (`n_experts` is 0), a mixture of experts, or a mixture beside
    shared experts, which every token passes.

    Attributes:
        n_heads: Query heads; a multiple of `n_kv_heads`.
        n_kv_heads: Key/value heads.
        head_dim: Width of one head; not always hidden / n_heads.
        intermediate: Inner width that every token passes: of the dense block, or of all shared
            experts together; 0 if there is none.
        window: Most keys a query sees, its own among them; `None` sees all earlier ones.
        n_experts: Routed experts, 0 for a dense layer.
        top_k: Routed experts one token passes.
        moe_intermediate: Inner width of one routed expert.
        has_shared_gate: Whether a gate of one output weighs the shared experts.
        has_expert_bias: Whether routed experts have biases.
        latent: Sizes of latent attention, whose heads share no keys; `None` for grouped queries.
        is_gated: Whether feed-forward blocks have three matrices (SwiGLU and its like); else two.
        n_other_params: Parameters outside the matrices above: norms, other biases, sinks.

    Raises:
        InvalidInputError: The sizes contradict each other.
    """

    n_heads: int
    n_kv_heads: int
    head_dim: int
    intermediate: int
    window: int | None = None
    n_experts: int = 0
    top_k: int = 0
    moe_intermediate: int = 0
    has_shared_gate: bool = False
    has_expert_bias: bool = False
    latent: LatentAttention | None = None
    is_gated: bool = True
    n_other_params: int = 0

    def __post_init__(self) -> None:
        """Check the sizes."""
        if min(self.n_heads, self.n_kv_heads, self.head_dim) < 1:
            raise InvalidInputError("a layer needs at least one head and a head size of at least 1")
        if self.n_heads % self.n_kv_heads:
            raise InvalidInputError(
                f"{self.n_heads} query heads cannot share {self.n_kv_heads} key/value heads evenly"
            )
        if self.window is not None and self.window < 1:
            raise InvalidInputError(f"an attention window of {self.window} sees nothing")
        if min(self.intermediate, self.n_experts, self.n_other_params) < 0:
            raise InvalidInputError("sizes of a layer cannot be negative")
        if self.n_experts:
            if not 1 <= self.top_k <= self.n_experts:
                raise InvalidInputError(
                    f"top_k={self.top_k} of {self.n_experts} experts: expected 1..{self.n_experts}"
                )
            if self.moe_intermediate < 1:
                raise InvalidInputError("experts need a moe_intermediate of at least 1")
        elif self.intermediate < 1:
            raise InvalidInputError("a layer without experts needs an intermediate of at least 1")

    @property
    def attention_width(self) -> int:
        """Query heads x head size."""
        return self.n_heads * self.head_dim

    @property
    def prefill_pair_flops(self) -> int:
        """FLOPs of one query-key pair in prefill and training."""
        if self.latent is not None:
            return self.latent.expanded_pair_flops(self.n_heads)
        return 4 * self.attention_width

    @property
    def decode_pair_flops(self) -> int:
        """FLOPs of one query-key pair in decode."""
        if self.latent is not None:
            return self.latent.absorbed_pair_flops(self.n_heads)
        return 4 * self.attention_width

    @property
    def n_cached_values(self) -> int:
        """Numbers that one token adds to the cache."""
        if self.latent is not None:
            return self.latent.n_cached_values
        return 2 * self.n_kv_heads * self.head_dim

    @property
    def n_expansion_params(self) -> int:
        """Matrix entries that a cached token passes again when a prefill reads its latent."""
        return 0 if self.latent is None else self.latent.n_expansion_params(self.n_heads)

    def n_matmul_params(self, hidden: int) -> int:
        """Return the entries of the matrices that one token is multiplied with.

        Args:
            hidden: Width of the residual stream.
        """
        gate = hidden if self.has_shared_gate else 0
        dense = self.n_matrices * hidden * self.intermediate
        router = hidden * self.n_experts
        routed = self.top_k * self.n_expert_params(hidden)
        return self._attention_params(hidden) + dense + gate + router + routed

    @property
    def n_matrices(self) -> int:
        """Matrices of a feed-forward block."""
        return 3 if self.is_gated else 2

    def n_expert_params(self, hidden: int) -> int:
        """Return the entries of one routed expert's matrices."""
        return self.n_matrices * hidden * self.moe_intermediate

    def n_params(self, hidden: int, *, active_only: bool = False) -> int:
        """Return all parameters of the layer, or only those that one token passes."""
        n_idle = 0 if active_only else self.n_experts - self.top_k
        n_active = self.n_matmul_params(hidden) + self.n_other_params
        inner = (self.n_matrices - 1) * self.moe_intermediate
        bias = inner + hidden if self.has_expert_bias else 0
        return n_active + self.top_k * bias + n_idle * (self.n_expert_params(hidden) + bias)

    def _attention_params(self, hidden: int) -> int:
        if self.latent is not None:
            return self.latent.n_matmul_params(hidden, self.n_heads)
        key_value = 2 * self.n_kv_heads * self.head_dim
        return hidden * (self.attention_width + key_value) + self.attention_width * hidden
