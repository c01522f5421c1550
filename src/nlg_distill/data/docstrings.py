"""Docstrings of published Python packages: what comes after the first line, and the first line.

The source of the packages is parsed, never imported or run, and never taken from what is installed.
"""

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

from nlg_distill.data.corpus import Pair
from nlg_distill.data.packages import Package, read_members
from nlg_distill.data.pieces import first_piece
from nlg_distill.errors import require_positive

PACKAGES = {  # all BSD-3-Clause
    r"networkx/.*\.py": Package(
        name="networkx",
        version="3.6.1",
        filename="networkx-3.6.1-py3-none-any.whl",
        sha256="d47fbf302e7d9cbbb9e2555a0d267983d2aa476bac30e90dfbe5669bd57f3762",
    ),
    r"sympy/.*\.py": Package(
        name="sympy",
        version="1.14.0",
        filename="sympy-1.14.0-py3-none-any.whl",
        sha256="e091cc3e99d2141a0ba2847328f5479b05d94a6635cb96148ccb3f34671bd8f5",
    ),
    r"numpy-2\.4\.6/numpy/.*\.py": Package(
        name="numpy",
        version="2.4.6",
        filename="numpy-2.4.6.tar.gz",
        sha256="f3a3570c4a2a16746ac2c31a7c7c7b0c186b95ce902e33db6f28094ed7387dda",
    ),
    r"scipy-1\.17\.1/scipy/.*\.py": Package(
        name="scipy",
        version="1.17.1",
        filename="scipy-1.17.1.tar.gz",
        sha256="95d8e012d8cb8816c226aef832200b1d45109ed4464303e997c5b13122b297c0",
    ),
}


class Docstrings:
    """The body of a docstring, and its first line."""

    def __init__(self, *, max_words: int) -> None:
        """Of a body, the first sentences or lines of at most `max_words` words are read."""
        require_positive(max_words=max_words)
        self.max_words = max_words

    def read(self, downloads: Path) -> Iterator[Pair]:
        """Modules, classes and functions, in the order of the files, without those of tests.

        A docstring counts that has a summary as PEP 257 wants it, one line and a blank one, and a
        body behind it.
        """
        for pattern, package in PACKAGES.items():
            for member, content in read_members(package.fetch(downloads), pattern):
                if "/tests/" in member:
                    continue
                for line, docstring in docstrings(content, member):
                    summary, _, body = docstring.partition("\n\n")
                    if body.strip() and "\n" not in summary:
                        source = first_piece(body.strip(), self.max_words)
                        yield Pair(source, summary, f"{member}:{line}")


def docstrings(code: bytes, name: str) -> Iterator[tuple[int, str]]:
    """Line and text of the docstrings in a file, without their indentation."""
    with warnings.catch_warnings(action="ignore"):  # about the code that is read
        tree = ast.parse(code, name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield node.body[0].lineno, docstring
