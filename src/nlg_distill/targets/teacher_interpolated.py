"""The teacher's text that is closest to the gold one: sequence-level interpolation (Seq-Inter).

Kim and Rush, "Sequence-Level Knowledge Distillation", 2016, https://arxiv.org/abs/1606.07947,
section 3.3: of the K best, the one with the highest sentence BLEU. The paper takes K = 35 and
smooths BLEU as in Chen and Cherry, "A Systematic Comparison of Smoothing Techniques for
Sentence-Level BLEU", 2014; here it is sacreBLEU's sentence BLEU with its default exponential
smoothing, the method 3 there.
"""

from collections.abc import Sequence

from sacrebleu.metrics.bleu import BLEU

from nlg_distill.data.batch import Author
from nlg_distill.data.corpus import Pair
from nlg_distill.targets.policy import Beam, TargetsPolicy, TeacherText


class TeacherInterpolated(TargetsPolicy):
    """Of the teacher's beam, the text closest to the gold target."""

    author = Author.TEACHER

    def __init__(self, *, writing: Beam) -> None:
        """`writing` is how the teacher writes; its `num_hypotheses` is the K of the paper."""
        super().__init__()
        self.writing = writing
        self._bleu = BLEU(effective_order=True)

    def pick(self, pair: Pair, hypotheses: Sequence[TeacherText]) -> str:
        """The closest text; the more probable one where two are equally close."""

        def closeness(hypothesis: TeacherText) -> float:
            return self._bleu.sentence_score(hypothesis.text, [pair.target]).score

        return max(hypotheses, key=closeness).text
