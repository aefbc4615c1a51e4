"""BestRoute: which model to ask, how many samples to draw, and the proof of what it saved.

>>> from bestroute import BestRoute, MajorityVote, Pool, Price
>>> from bestroute.testing import FakeGenerator
>>> pool = Pool(["small", "large"], {"small": Price(0.1, 0.4), "large": Price(2.5, 10.0)}, "large")
>>> members = {"small": FakeGenerator(["4", "5", "4"]), "large": FakeGenerator(["4"])}
>>> engine = BestRoute(pool, members, router=lambda query: ("small", 3), reward_model=MajorityVote())
>>> engine.run("What is 2 + 2?").text
'4'
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from bestroute._utils.moved import find_old_paths as _find_old_paths
from bestroute._utils.public import name_home as _name_home
from bestroute._utils.public import on_demand as _on_demand
from bestroute._utils.version import __version__
from bestroute.billing.budget import Budget
from bestroute.billing.ledger import Ledger
from bestroute.engine.decision import Decision
from bestroute.engine.engine import BestRoute
from bestroute.engine.result import Result
from bestroute.errors import (
    ArtifactError,
    BestRouteError,
    BudgetError,
    ConfigError,
    DeadlineError,
    Failure,
    GenerationError,
    NotTunedError,
    PriceError,
    RecordError,
    StoreError,
)
from bestroute.policies.policies import BudgetPolicy, QualityPolicy, ThresholdPolicy
from bestroute.reward_models.logprob_confidence import LogprobConfidence
from bestroute.reward_models.majority_vote import MajorityVote
from bestroute.reward_models.verifier import Verifier
from bestroute.types.bases import GeneratorBase, PolicyBase, RewardModelBase, RouterBase
from bestroute.types.endpoint import Endpoint
from bestroute.types.plans import Candidate, Plan, Step
from bestroute.types.pool import Pool
from bestroute.types.prediction import Prediction
from bestroute.types.prices import Price
from bestroute.types.protocols import Generator, Policy, RewardModel, Router
from bestroute.types.query import Query
from bestroute.types.sample import Cancel, Delta, DrawnSample, Sample
from bestroute.types.settings import Limits, Settings
from bestroute.types.signals import Signals
from bestroute.types.usage import Usage

if _TYPE_CHECKING:
    from bestroute.generators.openai import OpenAIGenerator
    from bestroute.generators.tools_in_prompt import ToolsInPrompt
    from bestroute.reward_models.agreement import Agreement
    from bestroute.reward_models.confidence import Confidence
    from bestroute.reward_models.proxy import ProxyRewardModel

__all__ = [
    "Agreement",
    "ArtifactError",
    "BestRoute",
    "BestRouteError",
    "Budget",
    "BudgetError",
    "BudgetPolicy",
    "Cancel",
    "Candidate",
    "Confidence",
    "ConfigError",
    "DeadlineError",
    "Decision",
    "Delta",
    "DrawnSample",
    "Endpoint",
    "Failure",
    "GenerationError",
    "Generator",
    "GeneratorBase",
    "Ledger",
    "Limits",
    "LogprobConfidence",
    "MajorityVote",
    "NotTunedError",
    "OpenAIGenerator",
    "Plan",
    "Policy",
    "PolicyBase",
    "Pool",
    "Prediction",
    "Price",
    "PriceError",
    "ProxyRewardModel",
    "QualityPolicy",
    "Query",
    "RecordError",
    "Result",
    "RewardModel",
    "RewardModelBase",
    "Router",
    "RouterBase",
    "Sample",
    "Settings",
    "Signals",
    "Step",
    "StoreError",
    "ThresholdPolicy",
    "ToolsInPrompt",
    "Usage",
    "Verifier",
    "__version__",
]

_name_home(__name__, globals(), __all__)
_find_old_paths()


_ON_DEMAND = {
    "Agreement": "reward_models.agreement",
    "Confidence": "reward_models.confidence",
    "OpenAIGenerator": "generators.openai",
    "ProxyRewardModel": "reward_models.proxy",
    "ToolsInPrompt": "generators.tools_in_prompt",
}
"""What many programs do not use, and where it is; each of these modules names this package as the home of its class."""

__getattr__ = _on_demand(__name__, globals(), _ON_DEMAND)


def __dir__() -> list[str]:
    """Name what is exported, imported yet or not."""
    return sorted({*globals(), *__all__})
