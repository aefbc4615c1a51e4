"""The configuration of ``bestroute serve``: a YAML file, and flags that override it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bestroute._utils.text import brief
from bestroute.billing.budget import Budget
from bestroute.billing.store_url import MEMORY, SQLITE, store_url
from bestroute.engine.rollout import Rollout, check_share
from bestroute.errors import ConfigError, did_you_mean, named
from bestroute.policies.parsing import parse_policy
from bestroute.reward_models.by_name import REWARDS
from bestroute.server.keys import ApiKey, read_keys
from bestroute.server.own_functions import is_function, load_function
from bestroute.server.telemetry import TelemetrySettings, read_telemetry
from bestroute.types.pool import Pool
from bestroute.types.pool_file import read_yaml
from bestroute.types.settings import check_amount, check_count

_MB = 2**20


@dataclass(frozen=True)
class BudgetSettings:
    """A limit on the spending of all calls together."""

    usd: float
    per: Any = None
    """``"hour"``, ``"day"`` or ``"month"``; ``None`` is all time."""

    def open(self, store: str | None, name: str = "server") -> Budget:
        """Return the budget, shared by all processes if there is a database.

        Args:
            store: The database's URL.
            name: Name of the budget in the database.

        Raises:
            ConfigError: If a value is out of range, or the store cannot be opened.
        """
        return Budget(self.usd, per=self.per, store=store, name=name)


@dataclass(frozen=True)
class ServerConfig:
    """The validated configuration of a server. Paths are absolute."""

    pool: Pool
    router: Path | None = None
    """The folder of a trained router."""
    reward: str | None = None
    """``majority``, ``logprobs``, ``agreement``, ``confidence``, a trained one's folder, or ``module:function``."""
    judge: str | None = None
    """Judge of audits: the folder of a trained reward model, or ``module:function``."""
    policy: str | None = None
    """Policy of the model name ``auto``: ``threshold:0.8``, ``quality:0.02``, ``max_drop:0.01``, ``follow:0.01``."""
    policies: Mapping[str, str] = field(default_factory=dict)
    """Additional model names, each with its policy."""
    ledger: str | None = None
    """URL of the ledger; ``None`` is memory."""
    keep_notes: bool = False
    """Whether comments of feedback are stored."""
    budget: BudgetSettings | None = None
    audit: float = 0.0
    audit_budget: BudgetSettings | None = None
    """What audits together may spend."""
    tracing: TelemetrySettings | None = None
    """Tracing; ``None``: as set for the process."""
    mode: Any = "on"
    share: float = 1.0
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    keys: tuple[ApiKey, ...] = ()
    keys_file: Path | None = None
    """The file with the keys, which is read again when it changes."""
    max_request_mb: float = 32.0
    timeout_s: float = 600.0
    """Time limit of one call, seconds; then the best sample so far is the answer."""
    stop_s: float = 30.0
    """How long calls in progress may take when the server is stopped, seconds."""
    source: str = "bestroute serve"
    """Beginning of error messages."""
    folder: Path = Path()
    """Folder in which user modules may be."""

    def __post_init__(self) -> None:
        """Check what no other part checks.

        Raises:
            ConfigError: If a field is invalid; names it, what was expected and what was found.
        """
        if self.policy is not None:
            parse_policy(self.policy)
        for name, policy in self.policies.items():
            if not name or name in self.pool.models:
                raise ConfigError(f"policies: {name!r} is a member of the pool; give the policy another name")
            parse_policy(policy)
        if self.router is None and (self.policy or self.policies):
            raise ConfigError("policy chooses among a router's predictions, and there is no router; leave it out")
        check_share(self.audit, "audit")
        Rollout(self.mode, self.share)
        check_count(self.workers, "workers")
        if not isinstance(self.keep_notes, bool):
            raise ConfigError(f"keep_notes must be true or false, got {brief(self.keep_notes)}")
        for name in ("max_request_mb", "timeout_s", "stop_s"):
            check_amount(getattr(self, name), name, "seconds" if name.endswith("_s") else "MB")
        if type(self.port) is not int or not 0 <= self.port < 65536:
            raise ConfigError(f"port must be a whole number in 0..65535, got {brief(self.port)}")
        if not isinstance(self.host, str) or not self.host:
            raise ConfigError(f"host must be an address, for example 127.0.0.1, got {brief(self.host)}")
        if self.workers > 1 and self.ledger is None:
            raise ConfigError(
                f"workers: {self.workers} of them share ledger and budgets by a database; give ledger, "
                "for example bills.db"
            )

    @property
    def most_bytes(self) -> int:
        """Most bytes of a request's body."""
        return int(self.max_request_mb * _MB)


_FIELDS = tuple(f.name for f in fields(ServerConfig) if f.name not in ("keys_file", "source", "folder"))


def read_config(path: Path | None, flags: Mapping[str, Any] | None = None) -> ServerConfig:
    """Read a configuration.

    Args:
        path: The file; ``None``: only the flags.
        flags: Values by name that override the file's, unless ``None``. Their paths are relative to the working
            directory.

    Raises:
        ConfigError: If it is invalid; names the file and the field.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    in_file = {} if path is None else read_yaml(path, "server's configuration", "at least 'pool'")
    where = "bestroute serve" if path is None else str(path)
    if unknown := [str(name) for name in in_file if name not in _FIELDS]:
        raise ConfigError(
            f"{where}: unknown field {named(unknown[:1])}; known fields are {named(_FIELDS)}."
            f"{did_you_mean(unknown[0], _FIELDS)}"
        )
    base = Path() if path is None else path.parent
    values = {**_read(in_file, base, where), **_read(given, Path(), "bestroute serve")}
    if "pool" not in values:
        raise ConfigError(f"{where}: 'pool' is missing; give a pool file, or its mapping")
    if values.get("keys_file") is None and "keys" in values:
        values["keys_file"] = path
    try:
        return replace(ServerConfig(values["pool"]), **values, source=where, folder=base.absolute())
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def read_keys_again(path: Path) -> tuple[ApiKey, ...]:
    """Return the keys in a file: a configuration, or a file of keys alone.

    Raises:
        ConfigError: If it cannot be read.
    """
    return read_keys(read_yaml(path, "file of keys", "'keys'").get("keys") or [], str(path))


def _read(values: Mapping[str, Any], base: Path, where: str) -> dict[str, Any]:
    """Return the fields with absolute paths and parsed values."""
    read = {name: value for name, value in values.items() if value is not None}
    readers: Mapping[str, Callable[[Any, Path, str], Any]] = {
        "pool": _pool,
        "router": _path,
        "reward": _reward,
        "judge": _judge,
        "policy": _text,
        "policies": _policies,
        "mode": _mode,
        "ledger": _ledger,
        "budget": _budget,
        "audit_budget": _budget,
        "tracing": lambda value, base, where: read_telemetry(value, where),
    }
    for name, reader in readers.items():
        if name in read:
            read[name] = reader(read[name], base, f"{where}: {name}")
    for name in ("audit", "share", "max_request_mb", "timeout_s", "stop_s"):
        if name in read and (isinstance(read[name], bool) or not isinstance(read[name], int | float)):
            raise ConfigError(f"{where}: {name} must be a number, got {brief(read[name])}")
    if "keys" in read:
        read |= _keys(read["keys"], base, where)
    return read


def _text(value: Any, base: Path, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where} must be a text, got {brief(value)}")
    return value


def _mode(value: Any, base: Path, where: str) -> Any:
    """Return a mode by its name; unquoted ``on`` and ``off`` are booleans in YAML."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def _path(value: Any, base: Path, where: str) -> Path:
    return (base / _text(str(value) if isinstance(value, Path) else value, base, where)).absolute()


def _pool(value: Any, base: Path, where: str) -> Pool:
    if isinstance(value, Mapping):
        return Pool.from_dict(dict(value), where=where)
    return Pool.from_file(_path(value, base, where))


def _reward(value: Any, base: Path, where: str) -> str:
    name = _text(value, base, where)
    if name in REWARDS:
        return name
    return _scorer(name, base, where, f"{named(REWARDS)}, ")


def _judge(value: Any, base: Path, where: str) -> str:
    name = _text(value, base, where)
    if name in REWARDS:
        raise ConfigError(
            f"{where}: {name!r} cannot compare two answers; give the folder of a trained reward model, or "
            "module:function, or leave it out: then their form is compared"
        )
    return _scorer(name, base, where)


def _scorer(name: str, base: Path, where: str, others: str = "") -> str:
    """Return the absolute path of a trained reward model's folder, or the name of a function unchanged."""
    folder = _path(name, base, where)
    if (folder / "reward.json").exists():
        return str(folder)
    if is_function(name):
        load_function(name, base.absolute(), where)
        return name
    raise ConfigError(
        f"{where} must be {others}the folder of a trained reward model or module:function, and {folder} holds none"
    )


def _policies(value: Any, base: Path, where: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} must be a mapping of names to policies, got {brief(value)}")
    return {_text(name, base, where): _text(policy, base, f"{where}.{name}") for name, policy in value.items()}


def _ledger(value: Any, base: Path, where: str) -> str:
    url = store_url(value, where)
    if url.startswith(SQLITE) and url != MEMORY:
        return SQLITE + str(_path(url.removeprefix(SQLITE), base, where))
    return url


def _budget(value: Any, base: Path, where: str) -> BudgetSettings:
    settings = value if isinstance(value, Mapping) else {"usd": value}
    if not {"usd"} <= set(settings) <= {"usd", "per"} or isinstance(settings["usd"], str | bool):
        raise ConfigError(
            f"{where} must be a number of USD, or usd and per, for example {{usd: 5, per: day}}, got {brief(value)}"
        )
    try:
        Budget(settings["usd"], per=settings.get("per"))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return BudgetSettings(**settings)


def _keys(value: Any, base: Path, where: str) -> dict[str, Any]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return {"keys": read_keys(list(value), where)}
    path = _path(value, base, f"{where}: keys")
    return {"keys": read_keys_again(path), "keys_file": path}
