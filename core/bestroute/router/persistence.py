"""A router's folder: safetensors and JSON, nothing that runs code."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bestroute.artifacts import read_part, write_folder
from bestroute.errors import ArtifactError, BestRouteError
from bestroute.plans import Plan, Step
from bestroute.pool_file import pool_from_dict, pool_to_dict
from bestroute.promises import read_promises, router_hash, write_promises
from bestroute.router.features import BUCKETS
from bestroute.router.forest import Forest
from bestroute.router.maps import FeatureMaps
from bestroute.router.statistics import STATISTICS

if TYPE_CHECKING:
    from bestroute.encoders.frozen import FrozenEncoder
    from bestroute.router.multi_head import MultiHeadRouter

FORMAT = 4
_ENCODER = "encoder"
_CONFIG, _WEIGHTS = "router.json", "router.safetensors"
_SAVED_AS = {"projection": np.float16}


def save(router: MultiHeadRouter, folder: Path) -> None:
    """Write a router, all of it or nothing; the configuration goes last and names the weights' hash."""
    from safetensors.numpy import save as to_bytes

    from bestroute.encoders.persistence import FILES
    from bestroute.router.multi_head import settings_of

    files, told = _encoder_files(router)
    tensors = {
        name: np.ascontiguousarray(
            array, dtype=_SAVED_AS.get(name, np.float32 if array.dtype.kind == "f" else array.dtype)
        )
        for name, array in router.tensors().items()
    }
    data = to_bytes(tensors)
    config = {
        "format": FORMAT,
        "kind": "multi-head",
        "features": [BUCKETS, *STATISTICS],
        "weights_sha256": _sha256(data),
        "pool": pool_to_dict(router.pool),
        **settings_of(router),
        **told,
    }
    written = (json.dumps(config, indent=1) + "\n").encode()
    gone = [] if files else [f"{_ENCODER}/{name}" for name in FILES]
    write_folder(folder, {**files, _WEIGHTS: data, _CONFIG: written}, gone=gone)
    write_promises(folder, router.promises, router=router_hash(written))


def load(folder: Path) -> MultiHeadRouter:
    """Read a router's folder.

    Raises:
        ArtifactError: If it is missing, damaged, or of another version; names the file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    from bestroute.router.multi_head import MultiHeadRouter
    from bestroute.router.settings import PoolChange, TrainSettings, policy_for

    config, data = read_part(folder / _CONFIG, "a router"), read_part(folder / _WEIGHTS, "a router")
    where = folder / _CONFIG
    try:
        told = json.loads(config)
        if not isinstance(told, dict) or told.get("format") != FORMAT:
            version = told.get("format") if isinstance(told, dict) else None
            raise ArtifactError(f"{where}: format {version!r}, this version reads {FORMAT}; train the router again")
        if told["weights_sha256"] != _sha256(data):
            raise ArtifactError(f"{folder / _WEIGHTS}: its hash is not the one in {_CONFIG}; the folder is damaged")
        if told["features"] != [BUCKETS, *STATISTICS]:
            raise ArtifactError(f"{where}: made for other features than this version has; train the router again")
        tensors = from_bytes(data)
        maps = FeatureMaps.from_tensors(tensors)
        for name in maps.tensors():
            del tensors[name]
        forest = Forest(**{f.name: tensors.pop(f"forest_{f.name}") for f in fields(Forest)})
        policy = told["default_policy"]
        settings = {**told["settings"], "blocks": tuple(told["settings"]["blocks"])}
        return MultiHeadRouter(
            pool=pool_from_dict(told["pool"], where=str(where)),
            plans=tuple(_plan(steps) for steps in told["plans"]),
            maps=maps,
            forest=forest,
            **{name: array.astype(np.float64) for name, array in tensors.items()},
            shrinkage=float(told["shrinkage"]),
            path=tuple(map(float, told["path"])),
            frozen={str(drop): None if price is None else float(price) for drop, price in told["frozen"].items()},
            fixed_plans=tuple(_plan(steps) for steps in told["fixed_plans"]),
            settings=TrainSettings(**settings),
            token_means={
                str(model): {name: None if mean is None else float(mean) for name, mean in means.items()}
                for model, means in told["token_means"].items()
            },
            seen=frozenset(map(str, told["seen"])),
            default_policy=None if policy is None else policy_for(policy["price_usd"]),
            promises=read_promises(folder, router=router_hash(config)),
            changes=tuple(PoolChange(**change) for change in told.get("changes", ())),
            encoder=_encoder(told.get("encoder"), folder / _ENCODER),
        )
    except ArtifactError:
        raise
    except (BestRouteError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{where}: damaged router folder ({type(error).__name__}: {error})") from error


def _encoder_files(router: MultiHeadRouter) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the files of the router's encoder, and what the configuration says of it; nothing if it has none."""
    from bestroute.encoders.frozen import FrozenEncoder
    from bestroute.encoders.persistence import to_files

    if router.encoder is None:
        return {}, {}
    if not isinstance(router.encoder, FrozenEncoder):
        raise ArtifactError(f"a {type(router.encoder).__name__} cannot be saved; train with an encoder of this library")
    files = {f"{_ENCODER}/{name}": data for name, data in to_files(router.encoder).items()}
    return files, {"encoder": router.encoder.fingerprint}


def _encoder(fingerprint: Any, folder: Path) -> FrozenEncoder | None:
    """Read the encoder that the configuration names."""
    if fingerprint is None:
        return None
    from bestroute.encoders.frozen import FrozenEncoder

    encoder = FrozenEncoder.from_pretrained(folder)
    if encoder.fingerprint != fingerprint:
        raise ArtifactError(
            f"{folder}: this is not the encoder that the router was trained with (fingerprint {encoder.fingerprint}, "
            f"{_CONFIG} names {fingerprint}); copy the router's folder as a whole"
        )
    return encoder


def _plan(steps: Any) -> Plan:
    return Plan(tuple(Step(str(s["model"]), s["n"], s["accept"]) for s in steps))


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()
