"""Keys and values of the scales already decoded: one preallocated block, owned by whoever samples.

The net never holds a cache. A caller makes one (`VAR.new_cache`), passes it to every step, and drops it when done, so
two samplings over one net cannot disturb each other.
"""

from __future__ import annotations

import torch
from torch import Tensor


class KVCache:
    """Storage for the keys and values of all blocks over all L tokens.

    Args:
        num_blocks: Blocks of the net.
        batch_size: B, rows decoded together; guidance counts its branches in.
        num_heads: N.
        num_tokens: L, how many tokens it can hold.
        head_dim: d, width of a head.
        dtype: Type of what is stored; that of the values the blocks compute (bfloat16 under autocast).
        device: Where it lives.
    """

    def __init__(
        self,
        num_blocks: int,
        batch_size: int,
        num_heads: int,
        num_tokens: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (num_blocks, batch_size, num_heads, num_tokens, head_dim)
        self._keys = torch.empty(shape, dtype=dtype, device=device)
        self._values = torch.empty(shape, dtype=dtype, device=device)
        self.length = 0
        """Tokens held so far, the same for every block."""

    @property
    def batch_size(self) -> int:
        """B, rows it was made for."""
        return self._keys.shape[1]

    @property
    def capacity(self) -> int:
        """L, tokens it can hold."""
        return self._keys.shape[3]

    @property
    def num_bytes(self) -> int:
        """Size of the storage."""
        return 2 * self._keys.numel() * self._keys.element_size()

    def extend(self, block: int, k_BNld: Tensor, v_BNld: Tensor) -> tuple[Tensor, Tensor]:
        """Store what one block computed for new tokens.

        The new tokens count only after `advance`, which the net calls once all blocks have stored theirs.

        Args:
            block: Index of the block.
            k_BNld: Keys of the new tokens.
            v_BNld: Values of the new tokens.

        Returns:
            Keys and values of all tokens up to and including the new ones, (B, N, length + l, d), as views.

        Raises:
            ValueError: When the new tokens do not fit.
        """
        stop = self.length + k_BNld.shape[2]
        if k_BNld.shape[0] != self.batch_size or stop > self.capacity:
            raise ValueError(
                f"{k_BNld.shape[2]} tokens of {k_BNld.shape[0]} rows do not fit a cache of {self.batch_size} rows "
                f"and {self.capacity} tokens, {self.length} of them taken"
            )
        self._keys[block, :, :, self.length : stop] = k_BNld
        self._values[block, :, :, self.length : stop] = v_BNld
        return self._keys[block, :, :, :stop], self._values[block, :, :, :stop]

    def advance(self, num_tokens: int) -> None:
        """Count the tokens that every block has stored."""
        self.length += num_tokens

    def rewind(self, length: int = 0) -> None:
        """Forget all tokens but the first `length`, and keep the storage."""
        if not 0 <= length <= self.capacity:
            raise ValueError(f"a cache of {self.capacity} tokens cannot hold {length}")
        self.length = length

    def clear(self) -> None:
        """Forget everything and keep the storage."""
        self.rewind()
