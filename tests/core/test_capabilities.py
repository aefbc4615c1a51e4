import pytest

from bestroute.adapters.capabilities import Abilities, Needs, shortfall

NAMES = ["tools", "tool_choice", "structured_output", "images", "audio", "files"]


@pytest.mark.parametrize("name", NAMES)
def test_a_model_lacks_what_it_is_said_not_to_do_and_what_is_needed(name):
    needs = Needs(**{name: True})
    assert shortfall(needs, Abilities(**{name: False})) is not None
    assert shortfall(needs, Abilities(**{name: True})) is None
    assert shortfall(needs, Abilities()) is None, "what nobody told is taken for yes"
    assert shortfall(Needs(), Abilities(**{name: False})) is None


@pytest.mark.parametrize(("tokens", "window", "fits"), [(8, 8, True), (9, 8, False), (9, None, True)])
def test_a_prompt_must_fit_the_context(tokens, window, fits):
    assert (shortfall(Needs(tokens=tokens), Abilities(context_window=window)) is None) == fits
