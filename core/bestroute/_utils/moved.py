"""Old paths of inner modules: still found, with a warning that says where what stood there stands now.

Modules have moved into rooms. Whoever imports by an old path gets a module that hands on the names of the new ones, the
very same objects. ``docs/stability.md`` lists them and says for how long.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from bestroute._utils.renamed import warn_renamed

_SAME_NAME: Mapping[str, str] = {
    "bestroute._utils": "extras files interruptions text threads",
    "bestroute.adapters": "capabilities known_prices",
    "bestroute.billing": "budget ledger_rows ledger_writer",
    "bestroute.engine": "attempts decision fallbacks result run_bills streaming",
    "bestroute.errors": "facts quotations redaction",
    "bestroute.faults": "paid_errors refusals",
    "bestroute.generators": "replay",
    "bestroute.labels": "reward_kinds",
    "bestroute.policies": "promises",
    "bestroute.records": "collect exports seen",
    "bestroute.stats": "calibration_error label_directions vote_posterior",
    "bestroute.types": "arrays plans prediction prices query settings usage",
}
"""By package: modules of the core that moved into it under the same name."""

_RENAMED: Mapping[str, tuple[str, ...]] = {
    "bestroute.allowance": (
        "bestroute.engine.spending",
        "bestroute.types.query",
    ),
    "bestroute.blas": ("bestroute.stats.single_thread",),
    "bestroute.breaker": ("bestroute.engine.circuit_breaker",),
    "bestroute.call_ids": ("bestroute.adapters.tool_call_ids",),
    "bestroute.calls": ("bestroute.engine.call_context",),
    "bestroute.cli.learning": ("bestroute.cli.learning_commands",),
    "bestroute.cli.pool_changes": ("bestroute.cli.pool_commands",),
    "bestroute.cli.rewards": ("bestroute.cli.reward_commands",),
    "bestroute.cli.tuning": ("bestroute.cli.tuning_commands",),
    "bestroute.context": ("bestroute.adapters.retrieval_context",),
    "bestroute.cost": ("bestroute.billing.expected_cost",),
    "bestroute.credentials": (
        "bestroute.errors.credentials",
        "bestroute.errors.held_secrets",
    ),
    "bestroute.curves": ("bestroute.stats.hull",),
    "bestroute.database": ("bestroute.billing.database",),
    "bestroute.database.address": ("bestroute.billing.database.address",),
    "bestroute.database.budget_account": ("bestroute.billing.database.budget_account",),
    "bestroute.database.connection": ("bestroute.billing.database.connection",),
    "bestroute.database.ledger_tables": ("bestroute.billing.database.ledger_tables",),
    "bestroute.database.writer": ("bestroute.billing.database.writer",),
    "bestroute.deciding": (
        "bestroute.engine.decider",
        "bestroute.engine.day_one",
    ),
    "bestroute.drawing": ("bestroute.engine.sampler",),
    "bestroute.encoders.frozen": (
        "bestroute.encoders.onnx_encoder",
        "bestroute.encoders.loading",
    ),
    "bestroute.encoders.hub": (
        "bestroute.encoders.transformers_hub",
        "bestroute._utils.extras",
    ),
    "bestroute.encoders.loop": ("bestroute.encoders.training_loop",),
    "bestroute.evaluation.bootstrap": ("bestroute.stats.bootstrap",),
    "bestroute.evaluation.render": ("bestroute.evaluation.tables", "bestroute.evaluation.plots"),
    "bestroute.execution": (
        "bestroute.engine.plan_executor",
        "bestroute.types.sample",
    ),
    "bestroute.flaws": ("bestroute.selection.empty_reply",),
    "bestroute.gate": ("bestroute.engine.concurrency",),
    "bestroute.jsonl": (
        "bestroute.records.jsonl",
        "bestroute._utils.files",
    ),
    "bestroute.labels.arrays": ("bestroute.labels.sample_arrays",),
    "bestroute.labels.plays": ("bestroute.labels.simulation",),
    "bestroute.labels.subsets": ("bestroute.labels.enumeration",),
    "bestroute.labels.table": ("bestroute.labels.plan_labels",),
    "bestroute.labels.urns": ("bestroute.labels.fixed_rewards",),
    "bestroute.ledger": (
        "bestroute.billing.ledger",
        "bestroute.billing.ledger_rows",
    ),
    "bestroute.local": ("bestroute.generators.local_server",),
    "bestroute.openai_generator": ("bestroute.generators.openai",),
    "bestroute.parts": ("bestroute.adapters.engine_fields",),
    "bestroute.plain": ("bestroute.adapters.plain_member",),
    "bestroute.pool": (
        "bestroute.types.endpoint",
        "bestroute.types.pool",
    ),
    "bestroute.pool_file": ("bestroute.types.pool_file",),
    "bestroute.process_state": ("bestroute._utils.fork_safe",),
    "bestroute.protocols": (
        "bestroute.types.protocols",
        "bestroute.types.sample",
        "bestroute.types.arrays",
    ),
    "bestroute.reward_models.render": ("bestroute.reward_models.summary",),
    "bestroute.reward_models.scoring": ("bestroute.reward_models.record_rewards",),
    "bestroute.reward_models.settings": ("bestroute.reward_models.reward_settings",),
    "bestroute.reward_models.statistics": ("bestroute.features.answer_statistics",),
    "bestroute.rewards": (
        "bestroute.reward_models.untrained",
        "bestroute.types.bases",
        "bestroute.reward_models.conversion",
        "bestroute.reward_models.verifier",
        "bestroute.reward_models.majority_vote",
        "bestroute.labels.reward_kinds",
        "bestroute.stats.vote_posterior",
    ),
    "bestroute.router.calibration": (
        "bestroute.router.held_out_calibration",
        "bestroute.stats.calibration_error",
    ),
    "bestroute.router.choosing": ("bestroute.router.shrinkage",),
    "bestroute.router.features": ("bestroute.features.hashing",),
    "bestroute.router.groups": ("bestroute.stats.folds",),
    "bestroute.router.maps": ("bestroute.router.feature_maps",),
    "bestroute.router.settings": ("bestroute.router.train_settings",),
    "bestroute.router.statistics": ("bestroute.features.query_statistics",),
    "bestroute.scoring": ("bestroute.engine.scorer",),
    "bestroute.script": ("bestroute.engine.run",),
    "bestroute.search": (
        "bestroute.router.plan_search",
        "bestroute.labels.plan_labels",
    ),
    "bestroute.selection.calls": (
        "bestroute.selection.tool_calls",
        "bestroute.selection.call_forms",
    ),
    "bestroute.selection.demand": ("bestroute.selection.output_spec",),
    "bestroute.selection.judging": ("bestroute.selection.checks",),
    "bestroute.selection.validation": ("bestroute.selection.json_schema",),
    "bestroute.testing.records": ("bestroute.testing.synthetic_records",),
    "bestroute.tuning.floor": ("bestroute.tuning.sample_size",),
    "bestroute.tuning.parts": ("bestroute.tuning.splits",),
    "bestroute.tuning.procedure": ("bestroute.tuning.certify",),
    "bestroute.tuning.sequence": ("bestroute.tuning.fixed_sequence",),
    "langchain_bestroute.asking": (
        "langchain_bestroute.tools",
        "langchain_bestroute.structured",
        "langchain_bestroute.members",
        "langchain_bestroute.messages",
    ),
    "langchain_bestroute.binding": ("langchain_bestroute.tools",),
    "langchain_bestroute.carried": ("langchain_bestroute.tools",),
    "langchain_bestroute.chunks": ("langchain_bestroute.streaming",),
    "langchain_bestroute.constructor": ("langchain_bestroute.members",),
    "langchain_bestroute.fingerprint": ("bestroute.adapters.fingerprint",),
    "langchain_bestroute.identity": ("bestroute.adapters.fingerprint",),
    "langchain_bestroute.membership": (
        "bestroute.adapters.framework",
        "langchain_bestroute.members",
        "bestroute.adapters.known_prices",
    ),
    "langchain_bestroute.portability": ("langchain_bestroute.messages",),
    "langchain_bestroute.profiles": ("bestroute.adapters.capabilities",),
    "langchain_bestroute.retries": ("langchain_bestroute.members",),
    "langchain_bestroute.schemas": (
        "bestroute.adapters.response_schemas",
        "langchain_bestroute.structured",
    ),
    "langchain_bestroute.sharing": ("bestroute.adapters.shared_members",),
    "langchain_bestroute.telling": ("langchain_bestroute.description",),
    "llamaindex_bestroute.asked": ("llamaindex_bestroute.rag_query",),
    "llamaindex_bestroute.calling": ("llamaindex_bestroute.members",),
    "llamaindex_bestroute.dialects": (
        "llamaindex_bestroute.providers",
        "llamaindex_bestroute.members",
    ),
    "llamaindex_bestroute.events": ("llamaindex_bestroute.tracing",),
    "llamaindex_bestroute.membership": (
        "bestroute.adapters.known_prices",
        "bestroute.adapters.framework",
    ),
    "llamaindex_bestroute.methods": ("llamaindex_bestroute.member_request",),
    "llamaindex_bestroute.pickling": ("llamaindex_bestroute.description",),
    "llamaindex_bestroute.raw": ("llamaindex_bestroute.responses",),
    "llamaindex_bestroute.stored": (
        "llamaindex_bestroute.description",
        "bestroute.errors.credentials",
    ),
    "llamaindex_bestroute.streams": ("llamaindex_bestroute.streaming",),
}
"""By old path: the new homes of its names."""

_NAMES: Mapping[str, Mapping[str, str]] = {
    "bestroute.billing": {
        "bestroute.billing.sample_bills": "bill cancelled",
        "bestroute.engine.bills": "ledger_row reference_cost",
    },
    "bestroute.engine": {
        "bestroute.engine.engine": "BestRoute",
    },
    "bestroute.faults": {
        "bestroute.faults.error_rules": "Action RULES Rule UNKNOWN mark_foreign_turn rule_for",
        "bestroute.errors.facts": "Facts retry_after_s",
    },
    "bestroute.policies": {
        "bestroute.policies.policies": (
            "BudgetPolicy QualityPolicy ReferencePolicy ThresholdPolicy check_threshold not_tuned "
            "promise_of reference_column"
        ),
    },
    "bestroute.records": {
        "bestroute.records.records": (
            "Judged ModelSamples Record extra_fields judged_only parse_head parse_record read_records write_records"
        ),
    },
}
"""By module that became a package: its former names, by their new homes."""

MOVED: Mapping[str, tuple[str, ...]] = {
    **{f"bestroute.{name}": (f"{room}.{name}",) for room, names in _SAME_NAME.items() for name in names.split()},
    **_RENAMED,
}
"""By old path: the modules that have its names now, the main one first."""


class _OldPath(Loader, MetaPathFinder):
    """Import finder for old module paths, used after all others."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of an old path, if it is one of ours."""
        if fullname not in MOVED:
            return None
        is_package = any(other.startswith(f"{fullname}.") for other in MOVED)
        return ModuleSpec(fullname, self, is_package=is_package)

    def create_module(self, spec: ModuleSpec) -> None:
        """Use the default module creation."""

    def exec_module(self, module: ModuleType) -> None:
        """Warn, and let the module forward to the new homes of its names."""
        old = module.__name__
        targets = [import_module(name) for name in MOVED[old]]
        warn_renamed(f"the module {old}", " and ".join(MOVED[old]))

        def hand_on(name: str) -> Any:
            for target in targets:
                if name in vars(target):
                    return vars(target)[name]
            raise AttributeError(f"module {old!r} has no attribute {name!r}; it is {MOVED[old][0]} now")

        module.__dict__.update(
            __getattr__=hand_on,
            __doc__=targets[0].__doc__,
            __all__=[name for name in vars(targets[0]) if not name.startswith("_")],
        )


def names_that_stood_in(package: str) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for a module that became a package, which finds its former names."""
    homes = {name: home for home, names in _NAMES[package].items() for name in names.split()}

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        warn_renamed(f"{package}.{name}", f"{homes[name]}.{name}")
        return value

    return find


def find_old_paths() -> None:
    """Install the finder, after all others so that other imports are not slowed down."""
    if not any(isinstance(finder, _OldPath) for finder in sys.meta_path):
        sys.meta_path.append(_OldPath())
