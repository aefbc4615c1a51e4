"""Fine-tuning an encoder on what a router has to predict, and which queries may be trusted afterwards.

Embeddings of a query that the fine-tuning has seen are overfitted to it: regressions on them would take the encoder
for better than it is. So the training groups are split, by the order in which they are dealt to folds:

- half of them teach the encoder, an eighth more chooses the state that is kept;
- on the rest, which it has not seen, the heads on its embeddings are fitted, the learners are mixed, slopes, shrinkage
  and prices are chosen. Heads on light features learn from all groups as ever.

Every fold holds groups of each kind, since groups are dealt to the folds in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bestroute._utils.extras import need
from bestroute.encoders.encoder import Float32Array
from bestroute.encoders.export import as_encoder, load_transformer
from bestroute.encoders.onnx_encoder import FrozenEncoder
from bestroute.encoders.training_loop import fit_model
from bestroute.errors import RecordError
from bestroute.stats.label_directions import unit_directions
from bestroute.types.arrays import BoolArray, FloatArray, IntArray

TEACHING, CHOOSING = 0.5, 0.125
"""Shares of the groups for training, and for choosing the checkpoint."""
FEWEST_GROUPS = 20


@dataclass(frozen=True)
class FineTuneSettings:
    """Fine-tuning settings; the defaults train MiniLM on one processor core in minutes."""

    learning_rate: float = 1e-4
    head_rate: float = 1e-3
    """Learning rate of the new output layer, which starts at 0."""
    epochs: int = 6
    batch: int = 16
    """Queries per batch and device."""
    accumulation: int = 1
    weight_decay: float = 0.01
    warmup: float = 0.1
    checks: int = 1
    patience: int = 1
    """Evaluations without improvement after which training stops."""


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A fine-tuned encoder, and the queries it was not trained on."""

    encoder: FrozenEncoder
    trusted: BoolArray
    """Queries whose embeddings are unbiased, shape ``(Q,)``."""
    unexplained: tuple[float, ...]
    """Share of the labels' variance left unexplained on the choosing groups, before training and at each evaluation."""


def fine_tune(
    name: str,
    texts: Sequence[str],
    labels: FloatArray,
    scales: FloatArray,
    rank: IntArray,
    *,
    max_tokens: int,
    settings: FineTuneSettings = FineTuneSettings(),  # frozen
    seed: int = 0,
    on_progress: Callable[[int, int], object] | None = None,
) -> FineTuned:
    """Fine-tune a transformer to predict the leading directions of the labels, by squared error.

    Under ``accelerate launch`` every process takes its share of the batches.

    Args:
        name: A folder, or a hub id.
        texts: ``Q`` queries.
        labels: What the router's heads are to predict, shape ``(Q, H)``.
        scales: Weight of each label in the choice of directions, shape ``(H,)``.
        rank: Place of each query's group in the order in which groups are dealt to folds, shape ``(Q,)``.
        max_tokens: A longer text is cut.
        settings: The recipe.
        seed: Of dropout and of the order.
        on_progress: Told the batches done and all batches at most.

    Raises:
        RecordError: If there are fewer than ``FEWEST_GROUPS`` groups.
        ConfigError: If there is no such transformer, or it cannot be an encoder.
        ImportError: If torch, transformers, accelerate or onnx are missing.
    """
    groups = int(rank.max()) + 1
    if groups < FEWEST_GROUPS:
        raise RecordError(f"fine-tuning needs records of at least {FEWEST_GROUPS} groups, got {groups}")
    need("fine-tuning an encoder", "accelerate", extra="train")
    place = (rank + 0.5) / groups
    teaching, choosing = place < TEACHING, (place >= TEACHING) & (place < TEACHING + CHOOSING)
    model, tokenizer = load_transformer(name, max_tokens=max_tokens)
    targets = unit_directions(labels[teaching | choosing], scales)
    wanted = np.zeros((len(texts), targets.shape[1]), dtype=np.float32)
    wanted[teaching | choosing] = targets
    model, scores = _fit(model, tokenizer, texts, wanted, (teaching, choosing), max_tokens, settings, seed, on_progress)
    return FineTuned(
        as_encoder(model, tokenizer, max_tokens=max_tokens),
        place >= TEACHING + CHOOSING,
        tuple(-score for score in scores),
    )


def _fit(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    wanted: Float32Array,
    split: tuple[BoolArray, BoolArray],
    max_tokens: int,
    settings: FineTuneSettings,
    seed: int,
    on_progress: Callable[[int, int], object] | None,
) -> tuple[Any, list[float]]:
    """Train an output layer and the model; returns the model and minus the unexplained share at each evaluation."""
    import torch
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs, set_seed
    from torch.utils.data import DataLoader

    class Outputs(torch.nn.Module):
        """The encoder's mean of hidden states, and a linear layer."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = model
            self.layer = torch.nn.Linear(model.config.hidden_size, wanted.shape[1])
            torch.nn.init.zeros_(self.layer.weight)
            torch.nn.init.zeros_(self.layer.bias)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            hidden = self.inner(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            weights = attention_mask[..., None].to(hidden.dtype)
            mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
            return self.layer(torch.nn.functional.normalize(mean, dim=1) * np.sqrt(mean.shape[1]))

    def batch_of(rows: Sequence[int]) -> Any:
        batch = [texts[i] for i in rows]
        read = tokenizer(batch, truncation=True, max_length=max_tokens, padding=True, return_tensors="pt")
        inputs = {name: read[name] for name in ("input_ids", "attention_mask")}
        return {**inputs, "wanted": torch.from_numpy(wanted[list(rows)])}

    def squares(outputs: Any, batch: Any) -> Any:
        predicted = outputs(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        return ((predicted.float() - batch["wanted"]) ** 2).sum(dim=1)

    set_seed(seed)
    whole = Outputs()
    teaching, choosing = (np.flatnonzero(part).tolist() for part in split)
    loader: Any = DataLoader  # it takes any sequence
    size = max(float((wanted[choosing] ** 2).sum(axis=1).mean()), 1e-12)
    trained, scores = fit_model(
        Accelerator(
            gradient_accumulation_steps=settings.accumulation,
            # Many encoders have a pooler, which a mean of the hidden states leaves unused.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        ),
        whole,
        [
            {"params": whole.inner.parameters()},
            {"params": whole.layer.parameters(), "lr": settings.head_rate},
        ],
        loader(teaching, batch_size=settings.batch, shuffle=True, collate_fn=batch_of),
        loader(choosing, batch_size=settings.batch, collate_fn=batch_of),
        settings,
        outputs=squares,
        loss=lambda losses: losses.mean(),
        score=lambda losses: -float(losses.mean()) / size,
        patience=settings.patience,
        on_progress=on_progress,
    )
    return trained.inner.cpu(), scores
