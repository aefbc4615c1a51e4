"""A drop that is followed, through LangChain: the price moves with what audits on the loopback server show."""

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
    chat = make(Frozen(), audit=1.0, judge=worse, **way)
    assert told(chat.invoke("hi"))["model"] == "small"
    chat.engine.close()
    for _ in range(200):
        message = chat.invoke("hi")
        chat.engine.close()
        if told(message)["model"] == "large":
            break
    assert told(message)["model"] == "large"
    assert told(message)["reason"].startswith("following drop 0.01, quality at ")


def test_monitor_tells_target_drop_and_predictions(make):
    chat = make(Frozen(), audit=1.0, judge=worse, max_drop=0.01, follow=True)
    chat.invoke("hi")
    chat.engine.close()
    report, again = chat.monitor()[0], asyncio.run(chat.amonitor(target=0.5))[0]
    assert (report.target, report.predicted_drop, report.lines[0].drop) == (0.01, pytest.approx(0.1), 1.0)
    assert again.target == 0.5


def test_it_is_set_at_run_time_and_what_does_not_fit_changes_nothing(make):
    chat = make(Frozen(), max_drop=0.01, follow=True)
    chat.window = 20
    assert chat.engine.policy == QualityPolicy(max_drop=0.01, follow=True, window=20)
    chat.max_drop = 0.03
    assert chat.engine.policy == QualityPolicy(max_drop=0.03, follow=True, window=20)
    with pytest.raises(ConfigError, match="give one of policy, threshold and max_drop"):
        chat.threshold = 0.5
    assert (chat.threshold, chat.max_drop, chat.follow) == (None, 0.03, True)


def test_a_copy_follows_the_same_drop(make):
    chat = make(Frozen(), max_drop=0.01, follow=True)
    copied = chat.model_copy(update={"reward_model": Agreement()})
    assert copied.engine.policy == QualityPolicy(max_drop=0.01, follow=True)
