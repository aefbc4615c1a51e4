"""A reward model's folder: safetensors and JSON, nothing that runs code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from bestroute.artifacts import read_part, write_folder
from bestroute.errors import ArtifactError, BestRouteError
from bestroute.reward_models.calibration import Calibration
from bestroute.reward_models.light import LightScorer
from bestroute.reward_models.proxy import HeldOutRewards, ProxyRewardModel, Scorer, not_fitting
from bestroute.reward_models.statistics import ANSWER_STATISTICS, ASKS
from bestroute.router.features import BUCKETS
from bestroute.router.statistics import STATISTICS

FORMAT = 1
_CONFIG, _WEIGHTS = "reward.json", "reward.safetensors"
_LIGHT = ("query_mean", "query_scale", "answer_mean", "answer_scale", "weights")


def save(model: ProxyRewardModel, folder: Path) -> None:
    """Write a reward model, all of it or nothing; the configuration goes last and names the others' hashes."""
    files = to_files(model)
    write_folder(folder, files, gone=[name for name in _files_in(folder) if name not in files])


def _files_in(folder: Path) -> list[str]:
    """Return the files that the reward model in a folder names as its own; none if there is none, or a damaged one."""
    try:
        names = list(json.loads((folder / _CONFIG).read_bytes())["sha256"])
        return [name for name in names if _inside(folder, name)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ArtifactError):
        return []


def to_files(model: ProxyRewardModel) -> dict[str, bytes]:
    """Return the files of a folder by name, the configuration last."""
    from safetensors.numpy import save as to_bytes

    scorer = model.scorer
    tensors: dict[str, np.ndarray[Any, Any]] = {
        "calibration_knots": model.calibration.knots,
        "calibration_values": model.calibration.values,
        "held_out_keys": model.held_out.keys,
        "held_out_rewards": model.held_out.rewards.astype(np.float32),
    }
    files: dict[str, bytes] = {}
    if isinstance(scorer, LightScorer):
        tensors |= {name: getattr(scorer, name).astype(np.float32) for name in _LIGHT}
        told: dict[str, Any] = {"features": _features()}
    else:
        from bestroute.reward_models.transformer import TransformerScorer

        if not isinstance(scorer, TransformerScorer):
            raise ArtifactError(f"a {type(scorer).__name__} cannot be saved; use a scorer of this library")
        files, told = scorer.files(), {"layout": scorer.layout.to_json()}
    files[_WEIGHTS] = to_bytes({name: np.ascontiguousarray(array) for name, array in tensors.items()})
    config = {
        "format": FORMAT,
        "kind": scorer.kind,
        **told,
        "calibration": {"center": model.calibration.center, "scale": model.calibration.scale},
        "report": model.report,
        "seen": sorted(model.seen),
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    files[_CONFIG] = (json.dumps(config, indent=1) + "\n").encode()
    return files


def load(folder: Path) -> ProxyRewardModel:
    """Read a reward model's folder.

    Raises:
        ArtifactError: If it is missing, damaged, or of another version; names the file.
        ImportError: If it is a transformer and torch or transformers are missing; says what to install.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    where = folder / _CONFIG
    config = read_part(where, "a reward model")
    try:
        told = json.loads(config)
        if not isinstance(told, dict) or told.get("format") != FORMAT:
            version = told.get("format") if isinstance(told, dict) else None
            raise ArtifactError(
                f"{where}: format {version!r}, this version reads {FORMAT}; train the reward model again"
            )
        if _WEIGHTS not in told["sha256"]:
            raise ArtifactError(f"{where}: names no {_WEIGHTS}; the folder is damaged")
        for name, digest in told["sha256"].items():
            if hashlib.sha256(read_part(_inside(folder, name), "a reward model")).hexdigest() != digest:
                raise ArtifactError(f"{folder / name}: its hash is not the one in {_CONFIG}; the folder is damaged")
        tensors = from_bytes(read_part(folder / _WEIGHTS, "a reward model"))
        return ProxyRewardModel(
            scorer=_scorer(told, tensors, folder),
            calibration=Calibration(
                float(told["calibration"]["center"]),
                float(told["calibration"]["scale"]),
                tensors["calibration_knots"],
                tensors["calibration_values"],
            ),
            seen=frozenset(map(str, told["seen"])),
            held_out=HeldOutRewards(tensors["held_out_keys"], tensors["held_out_rewards"].astype(np.float64)),
            report=dict(told["report"]),
        )
    except ArtifactError:
        raise
    except (BestRouteError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{where}: damaged folder of a reward model ({type(error).__name__}: {error})") from error


def _scorer(told: dict[str, Any], tensors: dict[str, np.ndarray[Any, Any]], folder: Path) -> Scorer:
    if told["kind"] == "light":
        if told["features"] != _features():
            raise not_fitting("it was made for other features than this version has")
        scorer = LightScorer(**{name: tensors[name].astype(np.float64) for name in _LIGHT})
        if problem := scorer.problem():
            raise not_fitting(problem)
        return scorer
    if told["kind"] == "transformer":
        from bestroute.reward_models.settings import Layout
        from bestroute.reward_models.transformer import TransformerScorer

        return TransformerScorer.open(folder, Layout(**told["layout"]))
    raise not_fitting(f"its kind is {told['kind']!r}; this version knows 'light' and 'transformer'")


def _features() -> list[Any]:
    return [BUCKETS, *STATISTICS, *ASKS, *ANSWER_STATISTICS]


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ArtifactError(f"{folder / _CONFIG}: names a file outside the folder, {name!r}; the folder is damaged")
    return path
