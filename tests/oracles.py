"""Every divergence again, from its paper, in plain Python on float64 numbers.

Written apart from the code: probabilities instead of log-probabilities, sums over tokens, one
position at a time. `student`, `teacher` are lists of logits; `p` is the teacher, `q` the student.
"""

import math


def softmax(logits, temperature=1.0):
    exact = [float(z) / temperature for z in logits]
    powers = [math.exp(z - max(exact)) for z in exact]
    return [power / math.fsum(powers) for power in powers]


def kl(p, q):
    return math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def both(student, teacher, temperature):
    return softmax(teacher, temperature), softmax(student, temperature)


def forward_kl(student, teacher, label, *, temperature=1.0):
    p, q = both(student, teacher, temperature)
    return temperature**2 * kl(p, q)


def reverse_kl(student, teacher, label, *, temperature=1.0):
    p, q = both(student, teacher, temperature)
    return temperature**2 * kl(q, p)


def jensen_shannon(student, teacher, label, *, beta, normalize=False, temperature=1.0):
    p, q = both(student, teacher, temperature)
    m = [beta * a + (1 - beta) * b for a, b in zip(p, q, strict=True)]
    value = beta * kl(p, m) + (1 - beta) * kl(q, m)
    return temperature**2 * (value / (beta * (1 - beta)) if normalize else value)


def skew_forward_kl(student, teacher, label, *, alpha, temperature=1.0):
    p, q = both(student, teacher, temperature)
    return temperature**2 * kl(p, [alpha * a + (1 - alpha) * b for a, b in zip(p, q, strict=True)])


def skew_reverse_kl(student, teacher, label, *, alpha, detach_mixture=False, temperature=1.0):
    p, q = both(student, teacher, temperature)
    return temperature**2 * kl(q, [(1 - alpha) * a + alpha * b for a, b in zip(p, q, strict=True)])


def total_variation(student, teacher, label, *, temperature=1.0):
    p, q = both(student, teacher, temperature)
    # the largest difference that any event can have: that of the tokens which p prefers
    return temperature**2 * math.fsum(a - b for a, b in zip(p, q, strict=True) if a > b)


def symmetric_kl(student, teacher, label, *, alpha, temperature=1.0):
    p, q = both(student, teacher, temperature)
    return temperature**2 * (alpha * kl(p, q) + (1 - alpha) * kl(q, p))


def head(p, mu):
    """Tokens of the head: the largest one by one, until their mass reaches mu."""
    chosen, mass = set(), 0.0
    while mass < mu:
        best = max((token for token in range(len(p)) if token not in chosen), key=lambda t: p[t])
        chosen.add(best)
        mass += p[best]
    return chosen


def adaptive_kl(student, teacher, label, *, mu, temperature=1.0):
    p, q = both(student, teacher, temperature)
    chosen = head(p, mu)
    gap_head = math.fsum(abs(p[t] - q[t]) for t in range(len(p)) if t in chosen)
    gap_tail = math.fsum(abs(p[t] - q[t]) for t in range(len(p)) if t not in chosen)
    gap = gap_head + gap_tail
    return temperature**2 * (gap_head / gap * kl(p, q) + gap_tail / gap * kl(q, p))


def alpha_beta(student, teacher, label, *, alpha, beta, temperature=1.0):
    p, q = both(student, teacher, temperature)
    total = math.fsum(
        a**alpha * b**beta
        - alpha / (alpha + beta) * a ** (alpha + beta)
        - beta / (alpha + beta) * b ** (alpha + beta)
        for a, b in zip(p, q, strict=True)
    )
    return -(temperature**2) / (alpha * beta) * total


def taid(student, teacher, label, *, t=0.4, temperature=1.0):
    between = [(1 - t) * s + t * z for s, z in zip(student, teacher, strict=True)]
    return temperature**2 * kl(softmax(between, temperature), softmax(student, temperature))


def decoupled_kl(student, teacher, label, *, alpha, beta, temperature=1.0):
    p, q = both(student, teacher, temperature)
    target = kl([p[label], 1 - p[label]], [q[label], 1 - q[label]])
    others = [token for token in range(len(p)) if token != label]
    non_target = kl(
        [p[token] / (1 - p[label]) for token in others],
        [q[token] / (1 - q[label]) for token in others],
    )
    return temperature**2 * (alpha * target + beta * non_target)


def top_k_kl(student, teacher, label, *, k):
    p, q = both(student, teacher, 1.0)
    kept = sorted(range(len(p)), key=lambda token: -p[token])[:k]
    outside = [token for token in range(len(p)) if token not in kept]
    merged = [
        [side[token] for token in kept] + [math.fsum(side[token] for token in outside)]
        for side in (p, q)
    ]
    return kl(*merged)


def sorted_wasserstein(student, teacher, label, *, temperature=1.0):
    p, q = sorted(softmax(teacher, temperature)), sorted(softmax(student, temperature))
    width = max(len(p), len(q))
    p, q = [0.0] * (width - len(p)) + p, [0.0] * (width - len(q)) + q
    return temperature**2 * math.fsum(abs(a - b) for a, b in zip(p, q, strict=True))


def product(rows, labels):
    """The probability of a text: rows are the distributions at each of its labels."""
    return math.prod(row[label] for row, label in zip(rows, labels, strict=True))


def span_kl(student, teacher, label):
    """Of a span of one token."""
    p, q = softmax(teacher)[label], softmax(student)[label]
    return kl([p, 1 - p], [q, 1 - q])
