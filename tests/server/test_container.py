"""The Dockerfile and the compose file: what they copy, install and start is there, and they start as nobody special."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LINES = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8")).splitlines()
STEPS = [line.split(maxsplit=1) for line in LINES if line and not line.startswith("#")]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


def values(name):
    return [value for step, value in STEPS if step == name]


def parse(arguments):
    from bestroute.cli.serve_command import serve

    return serve.make_context("serve", list(arguments)).params


def test_the_image_installs_extras_that_there_are_and_names_no_machine():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = [set(re.search(r"\[(.+?)\]", run)[1].split(",")) for run in values("RUN") if "[" in run]
    assert len(wanted) == 2
    assert wanted[0] == wanted[1] <= set(extras)
    assert (ROOT / "constraints.txt").is_file()
    assert not re.search("index-url|trusted-host", (ROOT / "Dockerfile").read_text())


def test_the_image_starts_the_server_as_a_user_of_its_own():
    last = max(i for i, (step, _) in enumerate(STEPS) if step == "FROM")
    users = [i for i, (step, value) in enumerate(STEPS) if step == "USER" and value not in ("root", "0")]
    assert users
    assert users[-1] > last
    assert json.loads(values("ENTRYPOINT")[0]) == ["bestroute", "serve"]
    options = parse(json.loads(values("CMD")[0]))
    assert (options["host"], options["port"]) == ("0.0.0.0", int(values("EXPOSE")[0]))
    assert values("STOPSIGNAL") == ["SIGTERM"]
    assert f":{values('EXPOSE')[0]}/health" in values("HEALTHCHECK")[0]


def test_what_the_image_leaves_out_is_nothing_that_the_wheel_needs():
    ignored = (ROOT / ".dockerignore").read_text().split()
    needed = ("core", "langchain_bestroute", "llamaindex_bestroute", "packaging", "pyproject.toml", "README.md")
    assert set(ignored).isdisjoint(needed)
    assert {".git", ".venv*"} <= set(ignored)


def test_the_compose_file_starts_workers_over_postgresql_on_this_machine_alone():
    server, database = COMPOSE["services"]["server"], COMPOSE["services"]["database"]
    options = parse(server["command"])
    assert options["workers"] > 1
    assert server["ports"] == [f"127.0.0.1:{options['port']}:{options['port']}"]
    url = server["environment"]["BESTROUTE_LEDGER"]
    account = database["environment"]
    assert url.startswith(f"postgresql+psycopg://{account['POSTGRES_USER']}:${{POSTGRES_PASSWORD:?")
    assert url.endswith(f"@database:5432/{account['POSTGRES_DB']}")
    assert server["depends_on"]["database"]["condition"] == "service_healthy"
    source, target, _ = server["volumes"][0].split(":")
    assert str(options["path"]) == f"{target}/router.yaml"

    from bestroute.server.config import read_config

    config = read_config(ROOT / source / "router.yaml", {"ledger": url, "workers": options["workers"]})
    assert config.keys == ()
    assert config.keys_file is not None, "nobody gets in without a key"
    assert {config.pool.endpoint(model).api_key_env for model in config.pool.models} <= set(server["environment"])
    grace = int(server["stop_grace_period"].removesuffix("s"))
    assert grace > config.stop_s


def test_hadolint_finds_nothing():
    beside = str(Path(sys.executable).parent)
    if (hadolint := shutil.which("hadolint", path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")) is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
