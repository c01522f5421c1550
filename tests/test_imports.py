"""What the core does without: the extras, and whatever is slow to import."""

import re
import subprocess
import sys
import tomllib

import pytest
from hf_checkpoints import make_gguf, quantisable
from transformers.utils.import_utils import is_gguf_available

from nlg_distill.config import ROOT, check, compose
from nlg_distill.errors import UserError
from nlg_distill.extras import install
from nlg_distill.models import HFCausal

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
QUICK = {"hydra_core", "omegaconf", "PyYAML", "rich", "typer"}


def packages(requirements):
    return {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in requirements}


CORE = packages(PROJECT["dependencies"])
EXTRAS = {name: packages(of) for name, of in PROJECT["optional-dependencies"].items()}
OPTIONAL = set().union(*(of for name, of in EXTRAS.items() if name != "dev")) - CORE
assert {"torch", "lightning", "wandb"} < CORE
assert {"transformers", "peft", "datasets", "fastapi"} < OPTIONAL


@pytest.mark.parametrize("package", sorted(OPTIONAL))
def test_a_package_of_an_extra_is_installed_by_one_that_brings_it(package):
    extra = re.fullmatch(r"pip install -e '\.\[(\w+)\]'", install(package))[1]
    assert extra != "dev"
    assert package in EXTRAS[extra]


AS_IF_NOT_INSTALLED = f"""
import sys
from importlib import metadata

optional, installed = {sorted(OPTIONAL)}, metadata.Distribution.from_name

def from_name(cls, name):
    if name.replace("-", "_") in optional:
        raise metadata.PackageNotFoundError(name)
    return installed(name)

metadata.Distribution.from_name = classmethod(from_name)
for name in optional:
    sys.modules[name] = None
"""


def without_extras(program):
    """Runs it where no package of an extra can be imported."""
    return subprocess.run(
        [sys.executable, "-c", AS_IF_NOT_INSTALLED + program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


HELP = {
    "import nlg_distill": "",
    "nlg-distill --help": "from nlg_distill.cli import main; main()",
    "train.py --help": "import runpy; runpy.run_path('train.py', run_name='__main__')",
}


@pytest.mark.parametrize("command", HELP)
def test_what_is_asked_for_help_imports_nothing_heavy(command):
    heavy = sorted(CORE - QUICK)
    done = without_extras(
        f"import nlg_distill\nsys.argv = {command.split()}\n"
        f"try:\n    {HELP[command] or 'pass'}\n"
        f"finally:\n    print('heavy:', [name for name in {heavy} if name in sys.modules])\n"
    )
    assert done.stdout.strip().endswith("heavy: []"), done.stderr
    if command == "train.py --help":
        assert "targets: black_box, contrastive, gold" in done.stdout
    if command == "nlg-distill --help":
        assert "generate" in done.stdout


def test_every_module_is_imported_without_the_extras():
    done = without_extras(
        "import importlib, pkgutil, nlg_distill\n"
        "found = [m.name for m in pkgutil.walk_packages(nlg_distill.__path__, 'nlg_distill.')]\n"
        "print(len([importlib.import_module(name) for name in found]))\n"
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) > 100


def test_an_adapter_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    lora = "student_model.lora={_target_: peft.LoraConfig, r: 2}"
    cfg = compose(["model@student_model=hf_causal", "student_model.path=my_gpt", lora])
    with pytest.raises(UserError, match=r"(?s)student_model\.lora.* pip install -e '\.\[hf\]'"):
        check(cfg)


def test_a_gguf_file_without_its_package_names_the_extra(tmp_path, monkeypatch):
    make_gguf(tmp_path / "tiny.gguf", quantisable())
    is_gguf_available.cache_clear()
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UserError, match=r"tiny\.gguf .* pip install -e '\.\[hf\]'"):
        HFCausal(20, path=str(tmp_path / "tiny.gguf"))
    is_gguf_available.cache_clear()  # for whoever reads such a file next


@pytest.mark.parametrize("choice", ["hydra/launcher=ray", "hydra/launcher=submitit", "sweep=gkd"])
def test_a_launcher_that_is_not_installed_names_the_extra(choice):
    done = without_extras(
        "import runpy\n"
        "sys.modules['hydra_plugins'] = None\n"
        f"sys.argv = ['train.py', '-m', '{choice}']\n"
        "runpy.run_path('train.py', run_name='__main__')\n"
    )
    assert done.returncode == 1
    assert "pip install -e '.[sweep]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_package_of_no_extra_names_none():
    lora = "student_model.lora={_target_: no_such_package.Thing}"
    cfg = compose(["model@student_model=hf_causal", "student_model.path=my_gpt", lora])
    with pytest.raises(UserError, match=r"no_such_package\.Thing cannot be imported") as caught:
        check(cfg)
    assert "pip install" not in str(caught.value)
