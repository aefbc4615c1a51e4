"""The trained router: linear heads and trees on features of the query, or of an encoder; numpy at run time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bestroute._utils.text import utf8
from bestroute.artifacts import (
    ENCODER,
    ROUTER,
    damaged,
    from_tensors,
    packed,
    read_config,
    read_files,
    sha256,
    to_tensors,
    write_folder,
)
from bestroute.encoders.encoder import Encoder
from bestroute.encoders.onnx_encoder import GRAPH, TOKENIZER, FrozenEncoder
from bestroute.errors import ArtifactError, named
from bestroute.features.hash_rules import BUCKETS
from bestroute.features.hashing import featurise
from bestroute.features.query_statistics import STATISTICS
from bestroute.policies.policies import QualityPolicy, ReferencePolicy
from bestroute.policies.promises import Promise, read_promises, write_promises
from bestroute.records.seen import SeenRecords
from bestroute.router.familiarity import Familiarity, trust
from bestroute.router.feature_maps import FeatureMaps
from bestroute.router.forest import Forest
from bestroute.router.heads import HeadLayout, combine
from bestroute.router.train_settings import PoolChange, TrainSettings, policy_for
from bestroute.router.trained_on import TrainedOn
from bestroute.types.arrays import FloatArray
from bestroute.types.bases import RouterBase
from bestroute.types.plans import Plan, Step
from bestroute.types.pool import Pool
from bestroute.types.prediction import Prediction
from bestroute.types.query import Query

if TYPE_CHECKING:
    from bestroute.labels.tokens import TokenMeans

_WEIGHTS, _ENCODER = "router.safetensors", "encoder"
_FEATURES = [BUCKETS, *STATISTICS]
_SAVED_AS = {"projection": np.float16}


@dataclass(frozen=True, eq=False)
class MultiHeadRouter(RouterBase):
    """Predicts match probability, quality and draws of every plan, and output tokens of every model.

    A head is the training mean plus a deviation that is linear in the mapped features. Deviations of match
    probabilities are scaled to be calibrated; all others by one shrinkage factor, chosen by the value of the resulting
    decisions on held-out folds. With a shrinkage of 0 every query gets the same prediction.

    Args:
        pool: The pool that it was trained for.
        plans: ``P`` plans, candidates first, the reference's single sample among them.
        maps: Feature maps, from raw to mapped features.
        weights: From mapped features to ``R`` directions, shape ``(maps.width, R)``.
        offsets: Subtracted from the directions, shape ``(R,)``.
        forest: Adds to the directions.
        loadings: From directions to heads, shape ``(R, H)``; the heads are in the order of ``HeadLayout``.
        means: Training means of the heads, shape ``(H,)``.
        match_slopes: Scale of each match probability's deviation, shape ``(P,)``.
        shrinkage: Scale of all other deviations, in [0, 1].
        path: Prices of quality, USD, ascending: from the cheapest policy to the most careful. An evaluation's curve.
        frozen: For each target drop the price that met it on held-out folds; ``None``: only the reference meets it.
        fixed_plans: The best plans without a router at some price, on the training records.
        settings: The training settings.
        token_means: Mean tokens of the training records, for evaluation records without tokens.
        seen_records: The records that it was trained on.
        default_policy: The policy if the user names none.
        promises: Guarantees that tuning has established.
        changes: Members added and removed since training, in order; see ``bestroute.router.pool_changes``.
        quality_range: Smallest and largest quality of a training sample, to which predictions are clipped; ``None`` in
            folders of earlier versions.
        familiarity: Measures how typical a query is of training; predictions for unusual queries are drawn towards the
            training means. ``None`` in folders of earlier versions.
        encoder: Computes the embeddings that ``maps`` use; ``None`` if they use none.
        trained_on: Its record files, their judges, and its reward model; ``None`` if not recorded.
    """

    pool: Pool
    plans: tuple[Plan, ...] = field()
    maps: FeatureMaps
    weights: FloatArray
    offsets: FloatArray
    forest: Forest
    loadings: FloatArray
    means: FloatArray
    match_slopes: FloatArray
    shrinkage: float
    path: tuple[float, ...]
    frozen: dict[str, float | None]
    fixed_plans: tuple[Plan, ...]
    settings: TrainSettings
    token_means: TokenMeans = field(default_factory=dict)
    seen_records: SeenRecords = field(default_factory=SeenRecords)
    default_policy: QualityPolicy | ReferencePolicy | None = None
    promises: tuple[Promise, ...] = ()
    changes: tuple[PoolChange, ...] = ()
    encoder: Encoder | None = None
    quality_range: tuple[float, float] | None = None
    familiarity: Familiarity | None = None
    trained_on: TrainedOn | None = None

    def __post_init__(self) -> None:
        """Check that the arrays fit together."""
        heads, rank = self.layout.width, len(self.offsets)
        for name, array, shape in (
            ("projection", self.maps.projection, (BUCKETS, len(self.maps.center))),
            ("center", self.maps.center, (len(self.maps.center),)),
            ("mean", self.maps.mean, (len(STATISTICS),)),
            ("scale", self.maps.scale, (len(STATISTICS),)),
            ("text_landmarks", self.maps.text_landmarks, (len(self.maps.text_landmarks), len(self.maps.center))),
            (
                "statistics_landmarks",
                self.maps.statistics_landmarks,
                (len(self.maps.statistics_landmarks), len(STATISTICS)),
            ),
            (
                "embedding_landmarks",
                self.maps.embedding_landmarks,
                (len(self.maps.embedding_landmarks), self.maps.embedding_width),
            ),
            ("embedding_center", self.maps.embedding_center, (0 if self.encoder is None else self.encoder.width,)),
            ("weights", self.weights, (self.maps.width, rank)),
            ("offsets", self.offsets, (rank,)),
            ("loadings", self.loadings, (rank, heads)),
            ("means", self.means, (heads,)),
            ("match_slopes", self.match_slopes, (len(self.plans),)),
        ):
            if array.shape != shape:
                raise ArtifactError(f"router: {name} must have shape {shape}, got {array.shape}; train it again")
            if not np.isfinite(array).all():
                raise ArtifactError(f"router: {name} holds NaN or infinity; train it again")
        if not 0 <= self.shrinkage <= 1:  # NaN, too
            raise ArtifactError(f"router: shrinkage must be in [0, 1], got {self.shrinkage}; train it again")
        if problem := self.forest.problem(self.maps.forest_directions + len(STATISTICS), rank):
            raise ArtifactError(f"router: forest: {problem}; train it again")
        if self.familiarity is not None:
            width = self.maps.forest_directions + len(STATISTICS)
            if problem := self.familiarity.problem(width):
                raise ArtifactError(f"router: {problem}; train it again")
        if self.pool.reference_plan not in self.plans:
            raise ArtifactError(f"router: no head for the reference, '{self.pool.reference_plan}'; train it again")
        for plan in (*self.plans, *self.fixed_plans):
            self.pool.check_plan(plan)

    @cached_property
    def layout(self) -> HeadLayout:
        """The order of the heads."""
        layout = HeadLayout(self.plans, self.pool.models)
        return layout if self.quality_range is None else replace(layout, quality_range=self.quality_range)

    def predict(self, queries: Sequence[Query], features: np.ndarray[Any, Any] | None = None) -> Prediction:
        """Return predictions for queries; see ``Router.predict``.

        Args:
            queries: The queries.
            features: Their features (``featurise``), if they are computed already.
        """
        embeddings = None if self.encoder is None else self.encoder.encode([query.text for query in queries])
        blocks = self.maps.blocks(featurise(queries) if features is None else features, embeddings)
        directions = np.hstack(blocks) @ self.weights - self.offsets
        leading = self.maps.forest_inputs(blocks)
        directions = directions + self.forest.predict(leading)
        factors = np.full(len(self.means), self.shrinkage)
        factors[: len(self.plans)] = self.match_slopes
        deviations = combine(directions, self.loadings) * factors
        if self.familiarity is None:
            return self.layout.prediction(self.means + deviations, self.pool)
        familiarity = self.familiarity.of(leading)
        heads = self.means + deviations * trust(familiarity)[:, None]
        return replace(self.layout.prediction(heads, self.pool), familiarity=familiarity)

    @property
    def needs_reward(self) -> bool:
        """Whether some plan chooses among samples or accepts them, so that a reward model is needed."""
        return any(plan.candidate is None or plan.candidate.n > 1 for plan in self.plans)

    def steering_prices(self, drop: float) -> tuple[float, float | None, float]:
        """Return the lowest price of quality, the one frozen for a drop, and the highest frozen; USD per unit."""
        careful = [target for target in self.frozen if float(target) <= drop + 1e-12]
        price = self.frozen[max(careful, key=float)] if careful else None
        highest = max([p for p in self.frozen.values() if p is not None], default=self.path[len(self.path) // 2])
        return self.path[0], price, highest

    def check_pool(self, pool: Pool) -> None:
        """Refuse a pool that the router was not trained for.

        Raises:
            ArtifactError: If models, reference or ``max_n`` differ; prices may differ.
        """
        if set(pool.models) != set(self.pool.models):
            raise ArtifactError(
                f"this router was trained for the models {named(self.pool.models)}, the pool has "
                f"{named(pool.models)}; train it again"
            )
        if pool.models != self.pool.models or pool.reference != self.pool.reference:
            raise ArtifactError(
                f"this router was trained for the models {named(self.pool.models)} in this order with reference "
                f"{self.pool.reference!r}; got {named(pool.models)} with reference {pool.reference!r}"
            )
        most = max(step.n for plan in self.plans for step in plan.steps)
        if pool.max_n < most:
            raise ArtifactError(f"this router offers up to {most} samples, the pool's max_n is {pool.max_n}")

    @property
    def is_light(self) -> bool:  # type: ignore[override]
        """Whether it works without an encoder, in about a millisecond per query."""
        return self.encoder is None

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        """A hash that two routers share only if they predict the same."""
        digest = hashlib.sha256(utf8(repr((self.plans, self.shrinkage, str(self.default_policy)))))
        for _, array in sorted(self.tensors().items()):
            digest.update(np.ascontiguousarray(array).tobytes())
        if self.encoder is not None:
            digest.update(self.encoder.fingerprint.encode())
        return digest.hexdigest()[:16]

    def tensors(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the arrays by name, for saving."""
        own = ("weights", "offsets", "loadings", "means", "match_slopes")
        trees = {f"forest_{f.name}": getattr(self.forest, f.name) for f in fields(Forest)}
        known = {} if self.familiarity is None else self.familiarity.tensors()
        return {**{name: getattr(self, name) for name in own}, **self.maps.tensors(), **trees, **known}

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the router with its encoder and promises into a folder, atomically."""
        folder, encoder = Path(folder), self.encoder
        files: dict[str, bytes] = {}
        if encoder is not None:
            if not isinstance(encoder, FrozenEncoder):
                raise ArtifactError(
                    f"a {type(encoder).__name__} cannot be saved; train with an encoder of this library"
                )
            files = {f"{_ENCODER}/{name}": data for name, data in encoder.files().items()}
        own = packed(ROUTER, settings_of(self), {_WEIGHTS: to_tensors(_rounded(self.tensors()))})
        gone = [] if files else [f"{_ENCODER}/{name}" for name in (ENCODER.config, GRAPH, TOKENIZER)]
        write_folder(folder, {**files, **own}, gone=gone)
        write_promises(folder, self.promises, router=sha256(own[ROUTER.config]))

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> MultiHeadRouter:
        """Read a router's folder.

        Raises:
            ArtifactError: If it is missing, damaged, or of another version; names the file.
        """
        folder = Path(folder)
        with damaged(folder, ROUTER):
            config, data = read_config(folder, ROUTER)
            if "sha256" not in config:  # as written by the first version
                config["sha256"] = {_WEIGHTS: config["weights_sha256"]}
            tensors = from_tensors(read_files(folder, ROUTER, config)[_WEIGHTS])
            if config["features"] != _FEATURES:
                raise ArtifactError(
                    f"{folder / ROUTER.config}: made for other features than this version has; {ROUTER.remedy}"
                )
            maps = FeatureMaps.from_tensors(tensors)
            for name in maps.tensors():
                del tensors[name]
            forest = Forest(**{f.name: tensors.pop(f"forest_{f.name}") for f in fields(Forest)})
            familiarity = Familiarity.from_tensors(tensors)
            for name in () if familiarity is None else familiarity.tensors():
                del tensors[name]
            quality_range = config.get("quality_range")
            policy = config["default_policy"]
            settings = {**config["settings"], "blocks": tuple(config["settings"]["blocks"])}
            return cls(
                pool=Pool.from_dict(config["pool"], where=str(folder / ROUTER.config)),
                plans=tuple(map(_plan, config["plans"])),
                maps=maps,
                forest=forest,
                **{name: array.astype(np.float64) for name, array in tensors.items()},
                shrinkage=float(config["shrinkage"]),
                path=tuple(map(float, config["path"])),
                frozen={str(drop): None if price is None else float(price) for drop, price in config["frozen"].items()},
                fixed_plans=tuple(map(_plan, config["fixed_plans"])),
                settings=TrainSettings(**settings),
                token_means={
                    str(model): {name: None if mean is None else float(mean) for name, mean in means.items()}
                    for model, means in config["token_means"].items()
                },
                seen_records=SeenRecords(frozenset(map(str, config["seen"]))),
                default_policy=None if policy is None else policy_for(policy["price_usd"]),
                promises=read_promises(folder, router=sha256(data)),
                changes=tuple(PoolChange(**change) for change in config.get("changes", ())),
                quality_range=None if quality_range is None else (float(quality_range[0]), float(quality_range[1])),
                familiarity=familiarity,
                encoder=_encoder(config.get("encoder"), folder / _ENCODER),
                trained_on=TrainedOn.from_json(config["trained_on"]) if "trained_on" in config else None,
            )


def settings_of(router: MultiHeadRouter) -> dict[str, Any]:
    """Return the configuration of a router: everything that is not an array."""
    policy = router.default_policy
    return {
        "kind": "multi-head",
        "features": _FEATURES,
        "pool": router.pool.to_dict(),
        "plans": [plan.to_json() for plan in router.plans],
        "fixed_plans": [plan.to_json() for plan in router.fixed_plans],
        "shrinkage": router.shrinkage,
        "path": list(router.path),
        "frozen": router.frozen,
        "settings": router.settings.to_json(),
        "token_means": router.token_means,
        "seen": router.seen_records.to_json(),
        "changes": [asdict(change) for change in router.changes],
        "default_policy": None if policy is None else {"price_usd": _price_of(policy)},
        **({} if router.quality_range is None else {"quality_range": list(router.quality_range)}),
        **({} if router.encoder is None else {"encoder": router.encoder.fingerprint}),
        **({} if router.trained_on is None else {"trained_on": router.trained_on.to_json()}),
    }


def _rounded(tensors: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays in the precision in which they are saved."""
    return {
        name: array.astype(_SAVED_AS.get(name, np.float32)) if array.dtype.kind == "f" else array
        for name, array in tensors.items()
    }


def _plan(steps: Sequence[Mapping[str, Any]]) -> Plan:
    return Plan(tuple(Step(str(s["model"]), s["n"], s["accept"]) for s in steps))


def _price_of(policy: QualityPolicy | ReferencePolicy) -> float | None:
    return policy.price_usd if isinstance(policy, QualityPolicy) else None


def _encoder(fingerprint: str | None, folder: Path) -> FrozenEncoder | None:
    """Read the encoder whose fingerprint the configuration has."""
    if fingerprint is None:
        return None
    encoder = FrozenEncoder.from_pretrained(folder)
    if encoder.fingerprint != fingerprint:
        raise ArtifactError(
            f"{folder}: this is not the encoder that the router was trained with (fingerprint {encoder.fingerprint}, "
            f"{ROUTER.config} names {fingerprint}); copy the router's folder as a whole"
        )
    return encoder
