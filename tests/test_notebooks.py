"""Notebooks are kept without outputs, and run from beginning to end in a fresh kernel."""

import nbformat
import pytest
from nbclient import NotebookClient

from nlg_distill.config import ROOT

NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
assert NOTEBOOKS
SHORTER = ["logger=none", "teacher_training.max_steps=100", "student_training.max_steps=100"]
KEPT = {"kernelspec", "language_info"}  # of a notebook's metadata
SAID = {  # what a notebook's outputs must hold, beside having no error
    "add_your_own_loss": ["and by hand", " passed", "refused, as it should be", "train/hellinger"],
    "kim_and_rush": ["TeacherInterpolated", "teacher_text", "closest", "| Seq-KD |", "image/png"],
    "objectives": ["forward_kl", "image/png"],
    "quickstart": ["| Teacher |", "LSTMEncoderDecoder", "  Teacher: "],
}


def read(name):
    return nbformat.read(NOTEBOOKS[name], as_version=4)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_a_run_leaves_is_not_kept(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert set(notebook.metadata) <= KEPT
    assert list(notebook.metadata.language_info) == ["name"]
    for cell in notebook.cells:
        assert cell.metadata == {}
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where notebooks find and leave things, in place of the checkout; corpora are shared."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "docs").mkdir()
    (ROOT / "downloads").mkdir(exist_ok=True)
    (folder / "downloads").symlink_to(ROOT / "downloads")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_runs_in_a_fresh_kernel(name, home):
    notebook = read(name)
    for cell in notebook.cells:
        cell.source = cell.source.replace("FOLDER = ROOT ", f"FOLDER = ROOT / {str(home)!r}")
        cell.source = cell.source.replace('["logger=none"]', f"{SHORTER}")
    client = NotebookClient(notebook, kernel_name="python3", timeout=900)
    client.execute(cwd=home)
    outputs = str([cell.outputs for cell in notebook.cells if cell.cell_type == "code"])
    for words in SAID[name]:
        assert words in outputs
