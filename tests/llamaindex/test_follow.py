"""A drop that is followed, through LlamaIndex: the price moves with what audits on the loopback server show."""

import asyncio

import pytest

from bestroute import Agreement, ConfigError, QualityPolicy
from bestroute.testing import FakeRouter
from bestroute.types.bases import RouterBase


class Frozen(FakeRouter, RouterBase):
    """A router that training froze a price for; at it the small model is asked."""

    def __init__(self):
        super().__init__({("small", 1): 0.9, ("large", 1): 1.0}, output_tokens=[50, 50])

    def steering_prices(self, drop):
        return 1e-5, 1e-4, 1e-1


def worse(query, texts):
    """A judge to whom the reference, always the second, is better."""
    return [0.0, 1.0]


@pytest.mark.parametrize("way", [{"max_drop": 0.01, "follow": True, "window": 50}, {"policy": "follow:0.01"}])
def test_the_price_follows_audits_until_the_reference_answers(make, told, way):
    llm = make(None, router=Frozen(), audit=1.0, judge=worse, **way)
    assert told(llm.complete("hi"))["model"] == "small"
    llm.engine.close()
    for _ in range(200):
        response = llm.complete("hi")
        llm.engine.close()
        if told(response)["model"] == "large":
            break
    assert told(response)["model"] == "large"
    assert told(response)["reason"].startswith("following drop 0.01, quality at ")


def test_monitor_tells_target_drop_and_predictions(make):
    llm = make(None, router=Frozen(), audit=1.0, judge=worse, max_drop=0.01, follow=True)
    llm.complete("hi")
    llm.engine.close()
    report, again = llm.monitor()[0], asyncio.run(llm.amonitor(target=0.5))[0]
    assert (report.target, report.predicted_drop, report.lines[0].drop) == (0.01, pytest.approx(0.1), 1.0)
    assert again.target == 0.5


def test_it_is_set_at_run_time_and_what_does_not_fit_changes_nothing(make):
    llm = make(None, router=Frozen(), max_drop=0.01, follow=True)
    llm.window = 20
    assert llm.engine.policy == QualityPolicy(max_drop=0.01, follow=True, window=20)
    llm.max_drop = 0.03
    assert llm.engine.policy == QualityPolicy(max_drop=0.03, follow=True, window=20)
    with pytest.raises(ConfigError, match="give one of policy, threshold and max_drop"):
        llm.threshold = 0.5
    assert (llm.threshold, llm.max_drop, llm.follow) == (None, 0.03, True)


def test_a_copy_follows_the_same_drop(make):
    llm = make(None, router=Frozen(), max_drop=0.01, follow=True)
    copied = llm.model_copy(update={"reward_model": Agreement()})
    assert copied.engine.policy == QualityPolicy(max_drop=0.01, follow=True)
