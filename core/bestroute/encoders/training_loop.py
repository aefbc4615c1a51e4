"""The training loop of every transformer here: through accelerate, the state that unseen groups like best is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Recipe(Protocol):
    """What the loop is told; the settings of a training run hold it."""

    @property
    def learning_rate(self) -> float:
        """Its peak."""
        ...

    @property
    def epochs(self) -> int:
        """How often everything is seen."""
        ...

    @property
    def accumulation(self) -> int:
        """Batches before a step."""
        ...

    @property
    def weight_decay(self) -> float:
        """Of AdamW."""
        ...

    @property
    def warmup(self) -> float:
        """Share of the steps in which the rate rises; then it falls to 0 in a line."""
        ...

    @property
    def checks(self) -> int:
        """Looks at the held-out part an epoch."""
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
    """Train a model and put it into the state of the best score.

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
    """Whether this process may write and print: the only one, or the first of an ``accelerate launch``."""
    import os

    return os.environ.get("RANK", "0") == "0"


class _Kept:
    """The best state so far."""

    def __init__(self, accelerator: Any, model: Any, checking: Any, outputs: Any, score: Any) -> None:
        self.accelerator, self.model, self.checking = accelerator, model, checking
        self.outputs, self.score = outputs, score
        self.scores: list[float] = []
        self.state: dict[str, Any] = {}
        self.since = 0
        """Checks since the best."""

    def check(self) -> None:
        """Score the held-out part, over all processes, and keep the state if it is the best."""
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
