"""The training loop of all transformers: runs on accelerate, and keeps the checkpoint with the best held-out score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Recipe(Protocol):
    """Settings of the loop, which are part of a training run's settings."""

    @property
    def learning_rate(self) -> float:
        """Peak learning rate."""
        ...

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        ...

    @property
    def accumulation(self) -> int:
        """Batches per step."""
        ...

    @property
    def weight_decay(self) -> float:
        """Weight decay of AdamW."""
        ...

    @property
    def warmup(self) -> float:
        """Share of the steps in which the learning rate rises, before it falls linearly to 0."""
        ...

    @property
    def checks(self) -> int:
        """Evaluations per epoch on held-out data."""
        ...


def fit_model(
    accelerator: Any,
    model: Any,
    parameters: Any,
    training: Any,
    checking: Any,
    recipe: Recipe,
    *,
    outputs: Callable[[Any, Any], Any],
    loss: Callable[[Any], Any],
    score: Callable[[Any], float],
    patience: int | None = None,
    on_progress: Callable[[int, int], object] | None = None,
) -> tuple[Any, list[float]]:
    """Train a model and load the checkpoint with the best score.

    Under ``accelerate launch`` every process takes its share of the batches.

    Args:
        accelerator: Made with the recipe's ``accumulation``.
        model: A module.
        parameters: Its parameters, or groups of them, as an optimizer takes them.
        training: Loader of batches to learn from.
        checking: Loader of those that the state is chosen by.
        recipe: Rates and lengths.
        outputs: From model and batch to one number per row.
        loss: From those numbers to what is minimised.
        score: From those of the whole held-out part to what is maximised.
        patience: Checks without a better score before it ends; then the untrained state is a candidate too.
            ``None``: all epochs are run.
        on_progress: Told the batches done and all batches.

    Returns:
        The model and every score, in order.
    """
    import torch

    steps = recipe.epochs * -(-len(training) // recipe.accumulation)
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    rising = max(1, int(recipe.warmup * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rising, max(0.0, (steps - step) / max(1, steps - rising)))
    )
    model, optimizer, training, checking, schedule = accelerator.prepare(model, optimizer, training, checking, schedule)
    kept = _Kept(accelerator, model, checking, outputs, score)
    total, every = recipe.epochs * len(training), max(1, len(training) // recipe.checks)
    if patience is not None:
        kept.check()
    model.train()
    for epoch in range(recipe.epochs):
        for i, batch in enumerate(training, start=1):
            with accelerator.accumulate(model):
                accelerator.backward(loss(outputs(model, batch)))
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            if on_progress is not None:
                on_progress(epoch * len(training) + i, total)
            if i % every == 0 or i == len(training):
                kept.check()
        if patience is not None and kept.since > patience:
            break
    plain = accelerator.unwrap_model(model)
    plain.load_state_dict(kept.state)
    plain.eval()
    accelerator.free_memory()
    return plain, kept.scores


def is_main_process() -> bool:
    """Return whether this process may write and print: the first of an ``accelerate launch``, or the only one."""
    import os

    return os.environ.get("RANK", "0") == "0"


class _Kept:
    """The best checkpoint so far."""

    def __init__(self, accelerator: Any, model: Any, checking: Any, outputs: Any, score: Any) -> None:
        self.accelerator, self.model, self.checking = accelerator, model, checking
        self.outputs, self.score = outputs, score
        self.scores: list[float] = []
        self.state: dict[str, Any] = {}
        self.since = 0
        """Evaluations since the best one."""

    def check(self) -> None:
        """Evaluate on held-out data, over all processes, and keep the checkpoint if it is the best."""
        import torch

        self.model.eval()
        with torch.inference_mode():
            outputs = [self.accelerator.gather_for_metrics(self.outputs(self.model, batch)) for batch in self.checking]
        self.model.train()
        score = self.score(torch.cat(outputs))
        self.since += 1
        if not self.scores or score > max(self.scores):
            self.since = 0
            state = self.accelerator.get_state_dict(self.model)
            self.state = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        self.scores.append(score)
