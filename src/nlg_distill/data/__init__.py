"""Corpora, cleaning, tokenizers and batches.

Nothing here is imported ahead of time: a reader of a corpus must not wait for torch.
"""
