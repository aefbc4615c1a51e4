"""What is told of an LLM, or put into a pickle: never a secret, and never at the cost of the live object."""

from __future__ import annotations

import inspect
import pickle
from dataclasses import dataclass
from typing import Any

from llama_index.core.llms import LLM

from bestroute.adapters.description import described as described_of
from bestroute.errors import ConfigError
from bestroute.errors.credentials import without_secrets

_OF_A_PROCESS = ("callback_manager",)
"""Fields of a member that belong to a process, not to the member."""


def described(part: Any) -> Any:
    """Return what may be told of a part of the router, plain JSON."""
    return described_of(part, _of_llm)


def _of_llm(part: Any) -> Any:
    if not isinstance(part, LLM):
        return None
    model = next((v for n in ("model", "model_name") if isinstance(v := getattr(part, n, None), str)), None)
    return {"class_name": part.class_name(), "model": model}


@dataclass(frozen=True)
class StoredLLM:
    """A member in a pickle: its class and settings, without secrets; these it finds in the environment again."""

    cls: type[LLM]
    settings: dict[str, Any]

    def restore(self) -> LLM:
        """Make the member anew; what its constructor does not take is set afterwards."""
        taken = inspect.signature(self.cls.__init__).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
        member = self.cls(**{name: value for name, value in self.settings.items() if takes_any or name in taken})
        if not takes_any:
            for name in self.settings.keys() - taken.keys():
                setattr(member, name, self.settings[name])
        return member


def store(part: Any, where: str) -> Any:
    """Return what goes into a pickle in the place of a part of the router.

    Raises:
        ConfigError: If it cannot be kept; LlamaIndex's own pickling would leave it out with a warning, and take it
            from the live object too.
    """
    if isinstance(part, LLM):
        settings = {name: value for name, value in vars(part).copy().items() if name not in _OF_A_PROCESS}
        settings = without_secrets(settings)
        for name, value in settings.items():
            _try(value, f"{where}.{name}")
        return StoredLLM(type(part), settings)
    if isinstance(part, dict):
        return {name: store(value, f"{where}[{name!r}]") for name, value in part.items()}
    _try(part, where)
    return part


def restored(part: Any) -> Any:
    """Return what ``store`` was given."""
    if isinstance(part, dict):
        return {name: restored(value) for name, value in part.items()}
    return part.restore() if isinstance(part, StoredLLM) else part


def _try(value: Any, where: str) -> None:
    try:
        pickle.dumps(value)
    except Exception as error:  # whatever an object's own pickling raises
        raise ConfigError(
            f"BestRouteLLM cannot be pickled: {where} cannot ({type(error).__name__}: {error}); use a function or "
            "class of a module, or the folder of a trained router"
        ) from error
