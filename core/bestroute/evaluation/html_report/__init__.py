"""One page for people: what was spent and saved, how good the answers were, and what was promised of them."""
