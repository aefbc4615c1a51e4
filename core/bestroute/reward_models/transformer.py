"""A transformer reward model: sequence classification with one output, fine-tuned on pairs.

Torch, transformers and accelerate are imported only for training and scoring.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bestroute._utils.extras import need
from bestroute.encoders.training_loop import fit_model
from bestroute.encoders.transformers_hub import check_tokens, described, quietly, unreadable
from bestroute.errors import ArtifactError, ConfigError
from bestroute.reward_models.reward_settings import Layout, TransformerSettings
from bestroute.reward_models.samples import SampleTable
from bestroute.types.arrays import FloatArray, IntArray

_ENCODER, _TOKENIZER_CONFIG = "encoder", "tokenizer_config.json"
_WHAT = "a transformer reward model"
_SCORED_AT_ONCE = 32
_GAP = " ... "


class TransformerScorer:
    """Scores ``layout(query, text)`` with a sequence classifier.

    Args:
        model: A ``transformers`` model with one output.
        tokenizer: Its tokenizer.
        layout: How query and answer are joined to one text.
    """

    kind = "transformer"

    def __init__(self, model: Any, tokenizer: Any, layout: Layout) -> None:
        """Check that tokenizer and layout fit together."""
        if layout.keep == "ends" and not tokenizer.is_fast:
            raise ConfigError("keep='ends' needs a fast tokenizer, which has offsets; use keep='start'")
        self.model, self.tokenizer, self.layout = model, tokenizer, layout

    @classmethod
    def start(cls, encoder: str, layout: Layout) -> TransformerScorer:
        """Create a scorer with an untrained output on an encoder.

        Args:
            encoder: A folder, or a hub id.
            layout: How query and answer are joined to one text.

        Raises:
            ConfigError: If there is no such encoder.
        """
        need(_WHAT, "transformers", "torch", extra="train")
        try:
            scorer = cls._loaded(encoder, layout)
        except unreadable() as error:
            raise ConfigError(
                f"encoder {encoder!r} cannot be loaded: give 'light', a folder with a transformers model, or a hub id "
                f"({described(error)})"
            ) from error
        check_tokens(layout.max_tokens, scorer.model, encoder, least=16)
        return scorer

    @classmethod
    def open(cls, folder: Path, layout: Layout) -> TransformerScorer:
        """Read a trained scorer from a reward model's folder.

        Raises:
            ArtifactError: If it cannot be loaded.
        """
        need(_WHAT, "transformers", "torch", extra="train")
        where = folder / _ENCODER
        try:
            return cls._loaded(str(where), layout, is_ours=True)
        except unreadable() as error:
            raise ArtifactError(f"{where}: cannot be loaded ({described(error)})") from error

    @classmethod
    def _loaded(cls, source: str, layout: Layout, *, is_ours: bool = False) -> TransformerScorer:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        only_ours = {"local_files_only": True, "use_safetensors": True} if is_ours else {}
        with quietly():
            tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=is_ours)
            model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=1, **only_ours)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id
        model.eval()
        return cls(model, tokenizer, layout)

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        """Return a score for each text, shape ``(len(texts),)``."""
        return self.score_many([query] * len(texts), texts)

    def score_many(
        self, queries: Sequence[str], texts: Sequence[str], *, on_progress: Callable[[int, int], object] | None = None
    ) -> FloatArray:
        """Return a score for each pair of query and text; equal pairs are scored once, sorted by length."""
        import torch

        pairs = list(dict.fromkeys(zip(queries, texts, strict=True)))
        pairs.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
        scores: dict[tuple[str, str], float] = {}
        for start in range(0, len(pairs), _SCORED_AT_ONCE):
            part = pairs[start : start + _SCORED_AT_ONCE]
            with torch.inference_mode():
                out = self.model(**self.encode(part).to(self.model.device)).logits[:, 0]
            scores.update(zip(part, map(float, out.float().cpu()), strict=True))
            if on_progress is not None:
                on_progress(len(scores), len(pairs))
        return np.array([scores[pair] for pair in zip(queries, texts, strict=True)])

    def encode(self, pairs: Sequence[tuple[str, str]]) -> Any:
        """Return a padded batch of token ids of (query, text) pairs."""
        layout = self.layout
        texts = [self._composed(query, text) for query, text in pairs]
        return self.tokenizer(texts, truncation=True, max_length=layout.max_tokens, padding=True, return_tensors="pt")

    def _composed(self, query: str, text: str) -> str:
        layout = self.layout
        if layout.keep == "ends":
            around = self.tokenizer(layout.template.format(query="", text=""))["input_ids"]
            room = max(2, layout.max_tokens - len(around) - 2 * len(self._offsets(_GAP)) - 2)
            query_tokens, text_tokens = self._offsets(query), self._offsets(text)
            if len(query_tokens) + len(text_tokens) > room:
                for_text = min(len(text_tokens), max(room - len(query_tokens), 2 * room // 3))
                query = _cut(query, query_tokens, room - for_text, head=0.5)
                text = _cut(text, text_tokens, for_text, head=0.35)
        return layout.template.format(query=query, text=text)

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        with quietly():  # a text longer than the model reads is about to be cut
            encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return [(int(a), int(b)) for a, b in encoded["offset_mapping"]]

    def config(self) -> dict[str, Any]:
        """Return the scorer's part of the folder's configuration: its layout."""
        return {"layout": self.layout.to_json()}

    def tensors(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return no arrays: they are in its files."""
        return {}

    def files(self) -> dict[str, bytes]:
        """Return the files of model and tokenizer by their names in a reward model's folder.

        Equal models give equal files: the last batch's padding and the source of loading are left out.
        """
        if self.tokenizer.is_fast:
            self.tokenizer.backend_tokenizer.no_truncation()
            self.tokenizer.backend_tokenizer.no_padding()
        with tempfile.TemporaryDirectory() as folder, quietly():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
            found = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.is_file()}
        settings = json.loads(found[_TOKENIZER_CONFIG])
        kept = {name: value for name, value in settings.items() if name not in ("is_local", "local_files_only")}
        found[_TOKENIZER_CONFIG] = (json.dumps(kept, indent=1) + "\n").encode()
        return {f"{_ENCODER}/{name}": data for name, data in found.items()}


def fit_transformer(
    encoder: str,
    table: SampleTable,
    pairs: IntArray,
    choosing: IntArray,
    settings: TransformerSettings,
    *,
    seed: int = 0,
    on_progress: Callable[[int, int], object] | None = None,
) -> TransformerScorer:
    """Fine-tune an encoder by the pairwise ranking loss, ``-log sigmoid(better - worse)``.

    Under ``accelerate launch`` the processes share the batches.

    Args:
        encoder: A folder, or a hub id.
        table: The samples.
        pairs: Rows ``(better, worse)`` to learn from, shape ``(P, 2)``.
        choosing: Pairs of other groups; the checkpoint with the best accuracy on them is kept.
        settings: The training settings.
        seed: Seed of the new output, dropout and the order.
        on_progress: Called with the number of steps done and in total.

    Source:
        BEST-Route (arXiv:2506.22716): loss, layout and the choice of the checkpoint.
    """
    need(_WHAT, "transformers", "torch", "accelerate", extra="train")
    import torch
    from accelerate import Accelerator
    from accelerate.utils import set_seed
    from torch.utils.data import DataLoader

    set_seed(seed)
    accelerator = Accelerator(gradient_accumulation_steps=settings.accumulation)
    scorer = TransformerScorer.start(encoder, settings.layout)
    if settings.most_pairs is not None:
        rng = np.random.default_rng(seed)
        pairs, choosing = _some(pairs, settings.most_pairs, rng), _some(choosing, -(-settings.most_pairs // 4), rng)

    def batch_of(rows: Sequence[Any]) -> Any:
        samples = [int(row[side]) for side in (0, 1) for row in rows]
        return dict(scorer.encode([(table.queries[table.query_of[i]], table.texts[i]) for i in samples]))

    def loader(rows: IntArray, *, shuffle: bool) -> Any:
        return DataLoader(rows.tolist(), batch_size=settings.batch, shuffle=shuffle, collate_fn=batch_of)

    def margins(model: Any, batch: Any) -> Any:
        """Return the score difference, better less worse, of each pair; the batch has the better samples first."""
        better, worse = model(**batch).logits[:, 0].float().chunk(2)
        return better - worse

    scorer.model, _ = fit_model(
        accelerator,
        scorer.model,
        scorer.model.parameters(),
        loader(pairs, shuffle=True),
        loader(choosing, shuffle=False),
        settings,
        outputs=margins,
        loss=lambda gaps: -torch.nn.functional.logsigmoid(gaps).mean(),
        score=lambda gaps: float(((gaps > 0).float() + 0.5 * (gaps == 0).float()).mean()),
        on_progress=on_progress,
    )
    return scorer


def _some(pairs: IntArray, most: int, rng: np.random.Generator) -> IntArray:
    return pairs if len(pairs) <= most else pairs[rng.choice(len(pairs), most, replace=False)]


def _cut(text: str, offsets: list[tuple[int, int]], tokens: int, *, head: float) -> str:
    """Keep the beginning and the end of a text, ``tokens`` tokens in total."""
    if len(offsets) <= tokens:
        return text
    first = int(tokens * head)
    last = tokens - first
    return (text[: offsets[first - 1][1]] if first else "") + _GAP + (text[offsets[-last][0] :] if last else "")
