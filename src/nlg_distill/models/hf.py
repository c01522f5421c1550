"""What Hugging Face models share: their parameters, their logits, their caches.

Wolf et al., "Transformers: State-of-the-Art Natural Language Processing", 2020,
https://aclanthology.org/2020.emnlp-demos.6. Nothing here knows an architecture.
"""

import copy
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nlg_distill.data.batch import SpecialIds
from nlg_distill.errors import UserError
from nlg_distill.hugging_face import fingerprint, read_config
from nlg_distill.models import hf_loading, hf_settings, hf_widths
from nlg_distill.models.generation_model import SHORTEN, GenerationModel
from nlg_distill.models.hf_adapters import with_adapters
from nlg_distill.models.hf_trial import Axes, with_larger_parameters
from nlg_distill.models.hf_writing import refuse_other_writing
from nlg_distill.models.output import ModelOutput, OutputProjection
from nlg_distill.models.widths import Axis

BOUNDS = ("max_position_embeddings", "max_decoder_position_embeddings", "max_seq_len")
"""Settings of transformers for the positions of a text; of each model at most one."""


class HFModel(GenerationModel):
    """A model of transformers behind this project's interface.

    Logits are of the tokenizer's pieces alone: rows of the output embeddings beyond them, with
    which some checkpoints are padded, get no probability.
    """

    LAYER = hf_loading.LAYER
    bounded = True
    AUTO: ClassVar[str]
    """The class of transformers that finds the architecture."""
    ENCODER_DECODER: ClassVar[bool]

    def __init__(
        self,
        vocab_size: int,
        *,
        path: str | None = None,
        config: Mapping[str, Any] | None = None,
        lora: Any = None,
        attentions: bool = False,
    ) -> None:
        """Loads a checkpoint, or makes a model at random.

        On the meta device, no parameter of a checkpoint is read.

        Args:
            vocab_size: pieces of the tokenizer; no more than the output embeddings have rows.
            path: a checkpoint's name, folder, or GGUF file.
            config: instead of `path`, settings of transformers and the `model_type` that they are
                of; parameters are random.
            lora: a `peft.LoraConfig`; then its adapters alone are trained. Saved, they are merged.
            attentions: whether `Features` has rows of attention, which takes slower attention.

        Raises:
            UserError: if the checkpoint or the settings do not fit.
        """
        super().__init__()
        if (path is None) == (config is None):
            raise UserError("give either path, of a checkpoint, or config, for random parameters")
        if path is None and lora is not None:
            raise UserError("lora adapts a checkpoint, and config makes a random model: give path")
        self.vocab_size, self.attentions = vocab_size, attentions
        self.pretrained = path is not None
        options = {"attn_implementation": "eager"} if attentions else {}
        self.network = self._network(path, config, options)
        self._refuse_other_head(path)
        self._computed = {f"network.{name}" for name in hf_loading.freeze_computed(self.network)}
        if lora is not None:
            self.network, self.adapted = with_adapters(self.network, lora), True
        if not self._is_empty:
            with torch.no_grad(), torch.autocast(self.inner.device.type, enabled=False):
                trial = (self if self.pretrained else with_larger_parameters(self)).eval()
                trial._refuse_other_arithmetic()
                refuse_other_writing(trial, self.inner.config)
        self.train()

    def _network(
        self, path: str | None, settings: Mapping[str, Any] | None, options: Mapping[str, Any]
    ) -> Any:
        if settings is not None:
            config = hf_loading.config_of(settings, self.vocab_size)
        else:
            assert path is not None
            config = read_config(path)
        if config.is_encoder_decoder != self.ENCODER_DECODER:
            kind = "an encoder-decoder" if config.is_encoder_decoder else "a decoder-only model"
            other = "hf_seq2seq" if config.is_encoder_decoder else "hf_causal"
            raise UserError(
                f"{path or 'config'} is {kind} ({config.model_type}), not what "
                f"{type(self).__name__} runs: choose {other}, by model@student_model={other} or "
                f"model@teacher_model={other}"
            )
        if path is not None:
            hf_loading.refuse_damaged(path)
        if path is None or torch.get_default_device().type == "meta":
            return hf_loading.build(self.AUTO, config, options, settings)
        return hf_loading.load(self.AUTO, path, options)

    def _refuse_other_head(self, path: str | None) -> None:
        head = self.inner.get_output_embeddings()
        if not isinstance(head, nn.Linear):
            raise UserError(f"{path or 'config'}: its logits are made by {type(head).__name__}")
        if len(head.weight) < self.vocab_size:
            raise UserError(
                f"{path or 'config'} has output embeddings of {len(head.weight)} tokens, but the "
                f"tokenizer has {self.vocab_size} pieces: data.tokenizer must be that of the "
                f"model, or tokenizer@teacher_tokenizer, of a teacher"
            )

    def _refuse_other_arithmetic(self) -> None:
        """Refuses a model whose logits would be others here."""
        hf_loading.refuse_other_arithmetic(self.inner, self._example(), self._extra_bias)

    @abstractmethod
    def _example(self) -> dict[str, Tensor]:
        """Inputs of a few tokens."""

    @property
    def inner(self) -> Any:
        """The model of transformers, inside its adapters if it has any."""
        return self.network.get_base_model() if self.adapted else self.network

    @property
    def projection(self) -> OutputProjection:
        """The output embeddings; a view of the model's own parameters."""
        head = self.inner.get_output_embeddings()
        return OutputProjection(head, self._extra_bias, self.vocab_size)

    @property
    def logit_weight(self) -> nn.Parameter:
        """The weight of the output embeddings."""
        weight: nn.Parameter = self.inner.get_output_embeddings().weight
        return weight

    @property
    def _extra_bias(self) -> Float[Tensor, "1 rows"] | None:
        """What some models add to their logits, and no linear map of theirs has."""
        return dict(self.inner.named_buffers(recurse=False)).get("final_logits_bias")

    @property
    def architecture(self) -> str:
        """The `model_type` of transformers, and the settings of `hf_settings.SILENT`."""
        settings = hf_settings.settings_of(self.inner.config)
        names = sorted(name for name in settings if hf_settings.SILENT.search(name))
        silent = [f"{name}={settings[name]}" for name in names]
        return f"{settings['model_type']} ({', '.join(silent)})"

    @property
    def heads(self) -> dict[str, int]:
        """Heads of its attentions, in encoder and decoder, by their settings."""
        names = (*hf_settings.QUERY_HEADS, *hf_settings.KEY_HEADS)
        return hf_settings.named(self.inner.config.to_dict(), names)

    @property
    def computed(self) -> set[str]:
        """Positions that no training changes, such as Marian's; see `freeze_computed`."""
        return self._computed

    @property
    def token_tables(self) -> list[str]:
        """Names of the embeddings, under each name that they have."""
        readers = [self.inner]
        if self.ENCODER_DECODER:
            readers += [self.inner.get_encoder(), self.inner.get_decoder()]
        tables = {id(reader.get_input_embeddings().weight) for reader in readers}
        parts = self.network.named_parameters(remove_duplicate=False)
        names = {f"network.{name}" for name, value in parts if id(value) in tables}
        return [name for name in self.state_dict() if name in names]

    def axes(self, name: str) -> tuple[Axis | None, ...]:
        """What the dimensions of a parameter count, found out by trying; see `hf_widths`."""
        return hf_widths.axes(self._small_axes, name.removeprefix("network."))

    @cached_property
    def _small_axes(self) -> Axes:
        return hf_widths.small_axes(self.AUTO, self.inner.config)

    def merged(self) -> "HFModel":
        """The model as it is stored: adapters are part of it."""
        if not self.adapted:
            return self
        model = copy.copy(self)
        model._modules = {"network": copy.deepcopy(self.network).merge_and_unload()}
        model.adapted = False
        return model

    @property
    def context(self) -> int | None:
        """The most positions of a text that it reads; None where its config sets no bound."""
        given = (getattr(self.inner.config, name, None) for name in BOUNDS)
        return next((bound for bound in given if bound is not None), None)

    @property
    def _is_empty(self) -> bool:
        return next(self.parameters()).is_meta

    def _read(self, **inputs: Any) -> tuple[Tensor, Any]:
        """What the output embeddings read, and all else that the model says but logits.

        The projection's input is caught where the model hands it over, scaled as some do. The model
        is left nothing to project, so that logits are made once, and elsewhere.
        """
        caught: list[Tensor] = []

        def catch(head: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
            caught.append(given[0])
            return (given[0][..., :0, :],)

        hook = self.inner.get_output_embeddings().register_forward_pre_hook(catch)
        try:
            said = self.inner(**inputs, return_dict=True)
        finally:
            hook.remove()
        (hidden,) = caught
        return hidden, said

    def _output(self, hidden: Float[Tensor, "*tokens hidden"], **features: Any) -> ModelOutput:
        return ModelOutput(hidden, self.projection, **features)

    def _refuse_beyond(self, context: int | None, length: int, what: str) -> None:
        if context is not None and length > context:
            raise UserError(
                f"{what} of {length} tokens are more than the {context} that this "
                f"{self.inner.config.model_type} reads: {SHORTEN}"
            )

    def refuse_other_tokens(self, special: SpecialIds) -> None:
        """Raises a UserError where the tokenizer is not that of the checkpoint."""
        if not self.pretrained:
            return
        config = self.inner.config
        own = {"end": config.eos_token_id}
        if self.ENCODER_DECODER:
            own["begin"] = getattr(config, "decoder_start_token_id", None)
        for part, ids in own.items():
            known = ids if isinstance(ids, list) else [ids]
            if ids is not None and getattr(special, part) not in known:
                raise UserError(
                    f"the {part} of a text is token {ids} of this {config.model_type}, but token "
                    f"{getattr(special, part)} of the tokenizer: data.tokenizer must be that of "
                    f"the model, or tokenizer@teacher_tokenizer, of a teacher"
                )

    def save(self, folder: Path, *, first: int | None = None) -> None:
        """Writes what `from_pretrained` of transformers reads; adapters are merged into it.

        With `first`, transformers' own `generate` begins every text with that token, too.
        """
        network = self.merged().network
        if first is not None:
            network.generation_config.forced_bos_token_id = first
        network.save_pretrained(folder)

    @classmethod
    def load(cls, settings: Mapping[str, Any], folder: Path, vocab_size: int) -> "HFModel":
        """The model that `save` wrote; its config is in the folder, too."""
        return cls(vocab_size, path=str(folder), attentions=settings.get("attentions", False))

    @classmethod
    def share(cls, settings: Mapping[str, Any], *, depth: float, width: float) -> dict[str, Any]:
        """The config of a random model with a share of the layers and widths; see `hf_settings`."""
        given = settings.get("config")
        if given is not None:
            config = hf_loading.config_of(given, vocab_size=1)  # which a share does not have
        elif settings.get("path") is not None:
            config = read_config(settings["path"])
        else:
            raise UserError("the teacher has neither path nor config, of which there is no share")
        sizes = hf_settings.share(config, depth=depth, width=width)
        return {**settings, "path": None, "lora": None, "config": sizes}

    @classmethod
    def content(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        """What stands at a local path; see `fingerprint`."""
        path = settings.get("path")
        return {} if path is None else fingerprint(path)
