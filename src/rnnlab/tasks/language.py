"""What the two language-modelling tasks share: loss over valid steps, scores, samples."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnlab.config import ModelConfig
from rnnlab.data.windows import Window
from rnnlab.errors import DivergedError
from rnnlab.evaluation.scores import CrossEntropy
from rnnlab.generation.choosing import NOT_FINITE
from rnnlab.generation.sampling import StepFunction, sample
from rnnlab.models import LanguageModel, State
from rnnlab.tasks.base import Task, stack_settings

NO_TARGET = -100


class LanguageScores:
    """Nats per token, and perplexity or bits per character."""

    def __init__(self, measure: Literal["perplexity", "bits_per_char"]) -> None:
        """Start empty."""
        self._measure = measure
        self._entropy = CrossEntropy()

    def add(self, outputs: Tensor, window: Window, nats: Tensor) -> None:
        """Count one window; its outputs were judged in `nats`."""
        self._entropy.add_sum(nats, window.num_targets)

    def results(self) -> dict[str, float]:
        """`loss` in nats per token, and the measure."""
        return {"loss": self._entropy.nats, self._measure: getattr(self._entropy, self._measure)}

    def details(self) -> dict[str, Any]:
        """How many predictions the scores sum over."""
        return {"targets": self._entropy.count}


def build_language_model(vocab_size: int, config: ModelConfig, token_counts: Tensor | None = None) -> LanguageModel:
    """Build a model that scores every token at every step.

    Args:
        vocab_size: V.
        config: settings.
        token_counts: how often each token is a target, (V,); needed with `config.sampled_words`.
    """
    return LanguageModel(
        vocab_size,
        embedding=config.embedding.value,
        embedding_size=config.embedding_size,
        tie_weights=config.tie_weights,
        decoder=config.decoder.value,
        cutoffs=config.cutoffs,
        sampled_words=config.sampled_words,
        token_counts=token_counts,
        **stack_settings(config),
    )


class LanguageTask(Task):
    """Predict each next token."""

    metric: ClassVar[Literal["perplexity", "bits_per_char"]]  # pyright: ignore[reportIncompatibleVariableOverride]
    higher_is_better = False

    def build_model(self, config: ModelConfig) -> nn.Module:
        """Build a language model for this vocabulary."""
        counts = None if config.sampled_words is None else self.token_counts()
        return build_language_model(len(self.vocabulary), config, counts)

    def forward(self, model: nn.Module, window: Window, state: State) -> tuple[Tensor, State]:
        """Run a model over a window: hidden states (T, B, H) of a LanguageModel, logits (T, B, V) of any other."""
        if isinstance(model, LanguageModel):
            return model.hidden(window.inputs, state, window.lengths)
        return super().forward(model, window, state)

    def nats(self, model: nn.Module, outputs: Tensor, window: Window) -> Tensor:
        """Summed cross-entropy of the valid targets; `outputs` as `forward` gives them."""
        targets = window.targets
        if window.lengths is not None:
            steps = torch.arange(targets.shape[0], device=targets.device)
            targets = targets.masked_fill(steps[:, None] >= window.lengths, NO_TARGET)
        if isinstance(model, LanguageModel):
            return model.nats(outputs, targets, NO_TARGET)
        return functional.cross_entropy(
            outputs.flatten(0, 1).float(), targets.flatten(), ignore_index=NO_TARGET, reduction="sum"
        )

    def new_scores(self) -> LanguageScores:
        """Empty scores."""
        return LanguageScores(self.metric)

    def hits(self, outputs: Tensor, window: Window) -> int:
        """Not asked for: perplexity and bits per character follow from the loss."""
        return 0

    def measures(self, loss: float, hit_share: float) -> dict[str, float]:
        """Perplexity or bits per character."""
        entropy = CrossEntropy()
        entropy.add_sum(loss, 1)
        return {self.metric: getattr(entropy, self.metric)}

    def generate(
        self,
        model: nn.Module,
        prompt: str,
        *,
        count: int,
        length: int,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
        seed: int,
    ) -> list[str]:
        """Continue a prompt; each text returned begins with it.

        Raises:
            DataError: the prompt holds a symbol the vocabulary does not have and cannot stand for.
            ValueError: a number is out of range for this vocabulary.
        """
        prompt_ids = self.encode_prompt(prompt)
        continuations = self.draw(
            model,
            prompt_ids,
            count=count,
            length=length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
        )
        return [self.decode(prompt_ids + ids) for ids in continuations]

    def draw(
        self,
        model: StepFunction,
        prompt_ids: list[int],
        *,
        count: int,
        length: int,
        temperature: float,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int,
    ) -> list[list[int]]:
        """Continue the ids of a prompt; each list returned holds what comes after it.

        Raises:
            ValueError: a number is out of range for this vocabulary.
        """
        return sample(
            model,
            prompt_ids,
            num_tokens=length,
            temperature=temperature,
            top_k=None if top_k is None else min(top_k, len(self.vocabulary)),
            top_p=top_p,
            count=count,
            generator=torch.Generator().manual_seed(seed),
            stop_id=self.stop_id,
            forbidden_ids=() if self.vocabulary.unk_id is None else (self.vocabulary.unk_id,),
        )

    @torch.no_grad()
    def predict_next(self, model: nn.Module, text: str, top: int) -> dict[str, Any]:
        """Say how a text is likely to go on.

        Returns:
            text, tokens read of it, how many of them are unknown, and `next`: the `top` likeliest next tokens with
            their probabilities, largest first.

        Raises:
            DataError: as `generate`.
            DivergedError: the model computes no numbers.
        """
        ids = self.encode_prompt(text)
        device = next(model.parameters()).device
        was_training = model.training
        model.eval()
        try:
            logits, _ = model(torch.tensor(ids, device=device)[:, None])
        finally:
            model.train(was_training)
        if not logits[-1].isfinite().all():
            raise DivergedError(NOT_FINITE)
        shares, tokens = logits[-1, 0].double().softmax(-1).topk(min(top, len(self.vocabulary)))
        likely = zip(self.vocabulary.decode(tokens.tolist()), shares.tolist(), strict=True)
        return {
            "text": text,
            "tokens": len(ids) - 1,  # without what stands before every text
            "unknown_tokens": len(self.unknown_in(text)),
            "next": [{"token": token, "probability": share} for token, share in likely],
        }

    def samples(self, model: nn.Module, count: int, length: int, seed: int) -> list[str]:
        """Draw texts from scratch."""
        return self.generate(model, "", count=count, length=length, temperature=1.0, top_k=None, top_p=None, seed=seed)

    def token_counts(self) -> Tensor | None:
        """How often each token stands in the training text, (V,); None where there is no corpus."""
        return None

    @property
    def stop_id(self) -> int | None:
        """The token that ends a text of its own; None: a text goes on for ever."""
        return None

    def unknown_in(self, prompt: str) -> list[str]:
        """What of a prompt is read as `<unk>`; a task without such a rule refuses it instead."""
        return []

    def encode_prompt(self, prompt: str) -> list[int]:
        """Ids that a model is fed before the first draw: what stands before every text, then the prompt."""
        raise NotImplementedError

    def decode(self, ids: list[int]) -> str:
        """Readable text."""
        raise NotImplementedError
