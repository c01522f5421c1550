"""What a teacher's tokens mean in a student's, counted in text that both have read.

That a distribution goes over from one vocabulary to another token by token is after Wan et al.,
"Knowledge Fusion of Large Language Models", 2024, https://arxiv.org/abs/2401.10491, section 3.3,
where each token goes to the one of the least edit distance. Here it goes to what stands in its
place.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nlg_distill.data.batch import Example
from nlg_distill.data.spans import Alignment
from nlg_distill.distributions import log_probs


class PieceMapping(nn.Module):
    r"""A distribution over the teacher's next token as one over the student's.

    $$q(s) = \sum_t p(t) \, c(t, s) / c(t)$$

    $c(t, s)$ is how often, where both sides go on from the same text, the teacher's next token is
    $t$ and the student's $s$; $c(t)$ is their sum over $s$. A teacher's token may go over to
    several of the student's: its `un` to `un`, and to the `under` that it begins. What the text
    never has in such a place is left out of $p$, and the rest made to sum to 1.
    """

    shares: Tensor

    def __init__(
        self, pairs: Int[Tensor, "2 places"], *, student_size: int, teacher_size: int
    ) -> None:
        """Counts.

        Args:
            pairs: of every place where both go on from the same text, the student's token and the
                teacher's; at least one place.
            student_size: of its vocabulary.
            teacher_size: of its vocabulary.
        """
        super().__init__()
        kinds, counts = torch.unique(pairs, dim=1, return_counts=True)
        shares = counts / pairs[1].bincount()[kinds[1]]
        size = (student_size, teacher_size)
        self.register_buffer(
            "shares", torch.sparse_coo_tensor(kinds, shares, size, check_invariants=True)
        )

    @classmethod
    def of(
        cls,
        ours: Sequence[Example],
        theirs: Sequence[Example],
        alignments: Sequence[Alignment],
        *,
        ends: tuple[int, int],
        sizes: tuple[int, int],
    ) -> "PieceMapping":
        """Counts in the targets of examples; end tokens and sizes are the student's first."""
        pairs = [
            (our_ids[i], their_ids[j])
            for our, their, alignment in zip(ours, theirs, alignments, strict=True)
            for our_ids in [[*our.target_ids, ends[0]]]
            for their_ids in [[*their.target_ids, ends[1]]]
            for i, j, alike in zip(alignment.ours, alignment.theirs, alignment.alike, strict=True)
            if alike
        ]
        return cls(torch.tensor(pairs).T, student_size=sizes[0], teacher_size=sizes[1])

    def forward(
        self, logits: Float[Tensor, "positions teacher_vocab"]
    ) -> Float[Tensor, "positions vocab"]:
        """Log-probabilities of the student's tokens, each at least float32's rounding.

        A probability of 0 would make KL(q || p) as large as `LOWEST`. They sum to 1 but for that;
        where the teacher gives next to nothing to tokens that are known, all are as small.
        """
        with torch.autocast(logits.device.type, enabled=False):
            mapped: Tensor = torch.sparse.mm(self.shares, log_probs(logits).exp().float().T).T
        limits = torch.finfo(mapped.dtype)
        whole = mapped.sum(dim=-1, keepdim=True).clamp(min=limits.tiny)
        return (mapped / whole).clamp(min=limits.eps).log()
