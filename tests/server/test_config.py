"""The server's configuration: what it may say, what wins, and one sentence where it cannot work."""

import pytest
import yaml
from click.testing import CliRunner

from bestroute import ConfigError
from bestroute.cli import main
from bestroute.demo.dataset import ROUTER
from bestroute.server.config import read_config

MODELS = {"small": {"input_price": 1, "output_price": 2}, "large": {"input_price": 10, "output_price": 20}}
POOL = {"reference": "large", "models": MODELS}


@pytest.fixture
def write(tmp_path):
    def written(name="router.yaml", **fields):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(yaml.safe_dump(fields, sort_keys=False))
        return path

    return written


def test_the_pool_is_a_file_or_the_mapping_itself(write):
    write("pools/pool.yaml", **POOL)
    by_file = read_config(write(pool="pools/pool.yaml"))
    assert by_file.pool == read_config(write(pool=POOL)).pool


def test_the_defaults_are_this_machine_and_no_promise(write):
    config = read_config(write(pool=POOL))
    assert (config.host, config.workers, config.mode, config.share, config.audit) == ("127.0.0.1", 1, "on", 1.0, 0.0)
    assert (config.router, config.policy, config.ledger, config.budget, config.keys) == (None, None, None, None, ())


@pytest.mark.parametrize("mode", ["on", "shadow", "off"])
def test_a_mode_needs_no_quotes_though_yaml_takes_two_of_them_for_true_and_false(write, mode):
    path = write(pool=POOL)
    path.write_text(path.read_text() + f"\nmode: {mode}\n")
    assert read_config(path).mode == mode


@pytest.mark.parametrize("ledger", ["bills.db", "sqlite:///bills.db"])
def test_relative_paths_are_relative_to_the_file(write, tmp_path, monkeypatch, ledger):
    monkeypatch.chdir("/")
    config = read_config(write("deep/router.yaml", pool=POOL, router="../routers/one", ledger=ledger))
    assert config.router == tmp_path / "deep" / "../routers/one"
    assert config.ledger == f"sqlite:///{tmp_path}/deep/bills.db"


def test_other_databases_are_left_as_they_are(write):
    url = "postgresql+psycopg://user:secret@host/name"
    assert read_config(write(pool=POOL, ledger=url)).ledger == url


def test_flags_win_over_the_file_and_their_paths_are_of_this_folder(write, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = write(pool=POOL, port=1, share=0.5, ledger="a.db", budget=1)
    config = read_config(path, {"port": 2, "ledger": "b.db", "mode": "shadow", "budget": 3.0, "share": None})
    assert (config.port, config.share, config.mode, config.budget.usd) == (2, 0.5, "shadow", 3.0)
    assert config.ledger == f"sqlite:///{tmp_path}/here/b.db"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "'pool' is missing"),
        ({"pool": 3}, "pool must be a text"),
        ({"pool": "none.yaml"}, "cannot read the pool file"),
        ({"pool": {"reference": "large"}}, "'models' is missing"),
        ({"pool": POOL, "polcy": "x"}, "Did you mean 'policy'?"),
        ({"pool": POOL, "policy": "threshold:2", "router": "r"}, r"threshold must be in \[0, 1\]"),
        ({"pool": POOL, "policy": "cheap", "router": "r"}, "policy must be threshold:0.8"),
        ({"pool": POOL, "policy": "quality:0.1"}, "there is no router"),
        ({"pool": POOL, "reward": "good"}, "the folder of a trained reward model"),
        ({"pool": POOL, "budget": "much"}, "budget must be a number of USD"),
        ({"pool": POOL, "budget": {"usd": 1, "per": "year"}}, "per must be one of"),
        ({"pool": POOL, "ledger": 3}, "ledger is kept in a file, .* got 3"),
        ({"pool": POOL, "ledger": "mysql://u:geheim@h"}, r"ledger is kept in a file, .* got 'mysql://\*\*\*@h'"),
        ({"pool": POOL, "audit": 2}, r"audit must be a number in \[0, 1\]"),
        ({"pool": POOL, "audit": "some"}, "audit must be a number"),
        ({"pool": POOL, "mode": "maybe"}, "mode must be one of"),
        ({"pool": POOL, "share": -1}, r"share must be a number in \[0, 1\]"),
        ({"pool": POOL, "port": 70000}, "port must be a whole number"),
        ({"pool": POOL, "port": "http"}, "port must be a whole number"),
        ({"pool": POOL, "host": 3}, "host must be an address"),
        ({"pool": POOL, "workers": 2}, "by a database"),
        ({"pool": POOL, "workers": 0}, "workers must be a whole number"),
        ({"pool": POOL, "timeout_s": -1}, "timeout_s must be"),
        ({"pool": POOL, "keep_notes": "yes"}, "keep_notes must be true or false"),
        ({"pool": POOL, "keys": "none.yaml"}, "cannot read the file of keys"),
        ({"pool": POOL, "keys": [1]}, "needs a name and its sha256"),
        ({"pool": POOL, "router": "r", "policies": {"small": "quality:1"}}, "'small' is a member of the pool"),
        ({"pool": POOL, "router": "r", "policies": ["x"]}, "policies must be a mapping"),
    ],
)
def test_a_configuration_that_cannot_work_is_one_sentence_and_status_2(write, fields, sentence):
    path = write(**fields) if fields else write(port=1)
    with pytest.raises(ConfigError, match=sentence) as caught:
        read_config(path)
    assert str(caught.value).startswith(str(path.parent)), "the file is named"
    done = CliRunner().invoke(main, ["serve", "--config", str(path)])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"pool": POOL, "router": "none"}, "none"),
        ({"pool": POOL, "router": str(ROUTER)}, "pool"),
        ({"pool": {"reference": "a", "models": {"a": {**MODELS["small"], "api_key_env": "NOT_SET"}}}}, "NOT_SET"),
        ({"pool": POOL, "ledger": "no/such/folder/bills.db"}, "cannot open the ledger"),
        ({"pool": POOL, "host": "203.0.113.1"}, "cannot listen on 203.0.113.1"),
    ],
)
def test_what_only_shows_when_it_is_built_is_one_sentence_and_status_2(write, monkeypatch, fields, sentence):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    done = CliRunner().invoke(main, ["serve", "--config", str(write(port=0, **fields))])
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("field", ["judge", "reward"])
@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("def score(:", "cannot import '{name}:score': SyntaxError"),
        ("raise ValueError('no data')", "cannot import '{name}:score': ValueError: no data"),
        ("import sys; sys.exit(3)", "cannot import '{name}:score': SystemExit: 3"),
        ("async def score(query, texts): return [0.5]", "'{name}:score' is an async function"),
        (
            "class Score:\n    async def __call__(self, query, texts): return [0.5]\nscore = Score()",
            "'{name}:score' is an async function",
        ),
        ("score = 3", "'{name}:score' is not a function"),
        ("", "cannot import '{name}:score'"),
    ],
)
def test_a_function_that_cannot_serve_is_one_sentence(write, request, tmp_path, field, source, sentence):
    name = f"own_{abs(hash((request.node.name, str(tmp_path))))}"
    (tmp_path / f"{name}.py").write_text(source)
    done = CliRunner().invoke(main, ["serve", "--config", str(write(pool=POOL, **{field: f"{name}:score"}))])
    assert done.exit_code == 2, done.output
    assert f"router.yaml: {field}: {sentence.format(name=name)}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_nothing_to_serve_is_one_sentence():
    done = CliRunner().invoke(main, ["serve"])
    assert done.exit_code == 2
    assert "give --config FILE, or --pool FILE" in done.stderr


def test_a_new_key_is_printed_once_with_what_is_kept_of_it():
    from bestroute.server.keys import hash_of, read_keys

    done = CliRunner().invoke(main, ["serve", "--new-key", "search"])
    assert done.exit_code == 0
    key = done.stdout.strip()
    (line,) = [line for line in done.stderr.splitlines() if line.strip().startswith("- {")]
    (kept,) = read_keys(yaml.safe_load(line), "stderr")
    assert (kept.name, kept.sha256) == ("search", hash_of(key))
    assert key not in done.stderr
