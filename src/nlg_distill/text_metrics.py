"""Scores of written texts: pure functions of texts, their references and their sources.

A task names those that it is scored by. Each gives one number, or the signature that says how a
number was made. A word is what stands between spaces, where nothing else is said.
"""

import importlib.metadata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Literal

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from nlg_distill.errors import UserError

Texts = Sequence[str]


def bleu(texts: Texts, references: Texts, sources: Texts, *, tokenize: str = "13a") -> float:
    """BLEU of the whole corpus, 0 to 100: sacreBLEU with its defaults.

    Its usual tokenizer takes a text without spaces for one word: `char` is for such scripts.

    Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", 2002,
    https://aclanthology.org/P02-1040; Post, "A Call for Clarity in Reporting BLEU Scores", 2018,
    https://aclanthology.org/W18-6319.
    """
    metric = _bleu(tokenize)
    return float(metric.corpus_score(list(texts), [list(references)]).score)


def _bleu(tokenize: str) -> BLEU:
    if tokenize not in BLEU.TOKENIZERS:
        raise UserError(f"tokenize={tokenize} must be one of {', '.join(sorted(BLEU.TOKENIZERS))}")
    try:
        return BLEU(tokenize=tokenize)
    except (ImportError, RuntimeError) as error:  # of packages that some tokenizers need
        raise UserError(f"tokenize={tokenize}: {' '.join(str(error).split())}") from error


def chrf(texts: Texts, references: Texts, sources: Texts) -> float:
    """The F-score of characters, chrF2, 0 to 100: sacreBLEU with its defaults.

    Popović, "chrF: character n-gram F-score for automatic MT evaluation", 2015,
    https://aclanthology.org/W15-3049.
    """
    return float(CHRF().corpus_score(list(texts), [list(references)]).score)


def bleu_signature(
    texts: Texts, references: Texts, sources: Texts, *, tokenize: str = "13a"
) -> str:
    """How sacreBLEU made its BLEU."""
    metric = _bleu(tokenize)
    metric.corpus_score(list(texts), [list(references)])
    return str(metric.get_signature())


def chrf_signature(texts: Texts, references: Texts, sources: Texts) -> str:
    """How sacreBLEU made its chrF."""
    metric = CHRF()
    metric.corpus_score(list(texts), [list(references)])
    return str(metric.get_signature())


def length_ratio(texts: Texts, references: Texts, sources: Texts) -> float:
    """Words written over words of the references."""
    return sum(len(t.split()) for t in texts) / sum(len(t.split()) for t in references)


def repetition(texts: Texts, references: Texts, sources: Texts) -> float:
    """Share of word bigrams that occurred before in the same text, in [0, 1]."""
    repeated = total = 0
    for text in texts:
        words = text.split()
        bigrams = list(pairwise(words))
        total += len(bigrams)
        repeated += len(bigrams) - len(set(bigrams))
    return repeated / total if total else 0.0


def distinct(texts: Texts, references: Texts, sources: Texts, *, n: int) -> float:
    """Different n-grams of all texts together over all their words, in [0, 1].

    Li et al., "A Diversity-Promoting Objective Function for Neural Conversation Models", 2016,
    https://aclanthology.org/N16-1014: "scaled by total number of generated tokens", bigrams too,
    which others divide by the number of bigrams. The more texts there are, the lower it is: only
    scores on the same number of texts can be compared.
    """
    written = [text.split() for text in texts]
    total = sum(map(len, written))
    return len({gram for words in written for gram in _ngrams(words, n)}) / total if total else 0.0


def rouge(
    texts: Texts,
    references: Texts,
    sources: Texts,
    *,
    variant: Literal["rouge1", "rouge2", "rougeL"],
) -> float:
    """Mean F1 of ROUGE over the texts, 0 to 100: Google's rouge-score, with its Porter stemmer.

    Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004,
    https://aclanthology.org/W04-1013: of unigrams, of bigrams, or of the longest common subsequence
    of the whole text. Words are of the letters a to z and digits, lower-cased: for English.
    """
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import DefaultTokenizer

    scorer = RougeScorer([variant], tokenizer=DefaultTokenizer(use_stemmer=True))
    pairs = zip(references, texts, strict=True)
    return 100 * fmean(scorer.score(*pair)[variant].fmeasure for pair in pairs)


def rouge_signature(texts: Texts, references: Texts, sources: Texts) -> str:
    """How rouge-score made its numbers."""
    return f"rouge-score:{importlib.metadata.version('rouge-score')}|f1|stemmer:porter"


def sari(texts: Texts, references: Texts, sources: Texts) -> float:
    """Mean SARI of the texts, 0 to 100, with one reference: what they add, keep and delete.

    Xu et al., "Optimizing Statistical Machine Translation for Text Simplification", 2016,
    https://aclanthology.org/Q16-1029, which defines it: the mean of F1 of the n-grams added, F1 of
    those kept and precision of those deleted, where precision and recall are means over n = 1 to 4.
    With one reference, the paper's counts become sets. Words are sacreBLEU's (13a), lower-cased.

    The paper does not say what 0 / 0 is, where nothing is added, kept or deleted, or nothing should
    be: 0, as in the authors' script and in EASSE. So a copy of the source gains nothing by deleting
    nothing, and a copy of the reference has less than 100 where at some n there was nothing to do.
    The packages tensor2tensor and evaluate have 1. The authors' script averages F1 over n instead
    of precision and recall, and EASSE sums over the corpus: they may differ by some points.
    """
    triples = zip(sources, texts, references, strict=True)
    return 100 * fmean(_sari(*(_words(text) for text in triple)) for triple in triples)


def _sari(source: list[str], text: list[str], reference: list[str]) -> float:
    precisions: list[tuple[float, float, float]] = []
    recalls: list[tuple[float, float]] = []
    for n in range(1, 5):
        before, after, gold = (set(_ngrams(words, n)) for words in (source, text, reference))
        added, kept, deleted = after - before, after & before, before - after
        to_add, to_keep, to_delete = gold - before, gold & before, before - gold
        precisions.append(
            (_share(added, to_add), _share(kept, to_keep), _share(deleted, to_delete))
        )
        recalls.append((_share(to_add, added), _share(to_keep, kept)))
    add, keep, delete = (fmean(column) for column in zip(*precisions, strict=True))
    recall_add, recall_keep = (fmean(column) for column in zip(*recalls, strict=True))
    return (_f1(add, recall_add) + _f1(keep, recall_keep) + delete) / 3


def _share(found: set[tuple[str, ...]], right: set[tuple[str, ...]]) -> float:
    """The share of what was found that is right; 0 where nothing was."""
    return len(found & right) / len(found) if found else 0.0


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _words(text: str) -> list[str]:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tokenizer = Tokenizer13a()  # type: ignore[no-untyped-call]
    return list(tokenizer(text.lower()).split())


def _ngrams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return (tuple(words[i : i + n]) for i in range(len(words) - n + 1))
