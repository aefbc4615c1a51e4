"""A file that is made to use up memory is refused in one short sentence, or read, in less than 100 MB."""

import gzip
import json
import subprocess
import sys

import pytest

from bestroute.artifacts import ENCODER, PROMISES, REWARD_MODEL, ROUTER, damaged, read_config, to_json
from bestroute.errors import ArtifactError

MOST_MB = 100
OPEN = """
import sys, pathlib
from bestroute import Pool
from bestroute.artifacts import KINDS, PROMISES, damaged, read_config
from bestroute.records.collect import read_prompts
from bestroute.records.records import read_records

def read_folder(path):
    kind = next(kind for kind in (*KINDS, PROMISES) if kind.config == path.name)
    with damaged(path.parent, kind):
        read_config(path.parent, kind)

doors = {"pool": Pool.from_file, "prompts": read_prompts, "records": read_records, "folder": read_folder}
said = ""
try:
    doors[sys.argv[1]](pathlib.Path(sys.argv[2]))
except Exception as error:
    said = f"{type(error).__name__}: {error}"
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024, said)
"""


def opened(door, path):
    """Return the peak memory in MB of a process that opens a file, and the sentence that refuses it."""
    done = subprocess.run([sys.executable, "-c", OPEN, door, path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    peak, _, said = done.stdout.strip().partition(" ")
    return int(peak), said


LINE = b'{"id": "a", "query": "%b"}\n'
LINES = {
    "a long line": LINE % (b"x" * (9 * 2**20)),
    "a long line of emoji": LINE % ("\U0001f600".encode() * (2 * 2**20 - 20)),
    "a long line of bytes that are no text": LINE % (b"\xff" * (8 * 2**20 - 50)),
    "many texts": b'{"id": "a", "query": "b", "x": [' + b",".join(b'"%06d"' % i for i in range(249_000)) + b"]}\n",
    "a giant number": b'{"id": "a", "query": ' + b"9" * (8 * 2**20 - 50) + b"}\n",
    "deep": b'{"id": "a", "query": ' + b"[" * 4_000_000,
    "an array": b"[" + b'{"id": "a", "query": "b"},\n' * 1_000_000 + b"]",
}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read from /proc")
@pytest.mark.parametrize("door", ["prompts", "records"])
@pytest.mark.parametrize("name", [*LINES, "a line of a gzip bomb"])
def test_lines_are_read_or_refused_in_little_memory(tmp_path, door, name):
    path = tmp_path / ("x.jsonl" if name in LINES else "x.jsonl.gz")
    if name in LINES:
        path.write_bytes(LINES[name])
    else:
        with gzip.open(path, "wb", compresslevel=1) as stream:
            for _ in range(256):
                stream.write(b"x" * 2**20)
    peak, said = opened(door, path)
    assert peak < MOST_MB
    assert len(said) < 400 + len(str(path))


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read from /proc")
@pytest.mark.parametrize(
    "text",
    ["models: [" + "1," * 500_000 + "1]", "models: {" + "".join(f"a{i}: {{b: 1}}," for i in range(60_000)) + "}"],
)
def test_a_pool_of_many_values_is_refused_in_little_memory(tmp_path, text):
    (tmp_path / "pool.yaml").write_text(text)
    peak, said = opened("pool", tmp_path / "pool.yaml")
    assert peak < MOST_MB
    assert said.endswith("holds more than 30000 values")


CONFIGS = {
    "deep": b"[" * 400_000,
    "deep objects": b'{"a":' * 400_000,
    "a giant number": b'{"format": ' + b"9" * 10_000_000 + b"}",
    "many values": b'{"format": [' + b"[]," * 300_000 + b"1]}",
    "many texts": b'{"format": [' + b",".join(b'"%016d"' % i for i in range(349_000)) + b"]}",
    "large": b'{"format": "' + b"x" * (17 * 2**20) + b'"}',
}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read from /proc")
@pytest.mark.parametrize("name", CONFIGS)
def test_a_folders_configuration_is_refused_in_little_memory(tmp_path, name):
    (tmp_path / "router.json").write_bytes(CONFIGS[name])
    peak, said = opened("folder", tmp_path / "router.json")
    assert peak < MOST_MB
    assert said.startswith("ArtifactError: ")


@pytest.mark.parametrize("kind", [ROUTER, REWARD_MODEL, ENCODER, PROMISES], ids=lambda kind: kind.config)
@pytest.mark.parametrize("name", CONFIGS)
def test_every_kind_of_folder_refuses_a_hostile_configuration_in_one_short_sentence(tmp_path, kind, name):
    (tmp_path / kind.config).write_bytes(CONFIGS[name])
    with pytest.raises(ArtifactError) as caught, damaged(tmp_path, kind):
        read_config(tmp_path, kind)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_the_hashes_of_many_records_still_fit_a_configuration(tmp_path):
    config = {"format": ROUTER.format, "seen": [f"{i:016x}" for i in range(200_000)]}
    (tmp_path / ROUTER.config).write_bytes(to_json(config))
    assert read_config(tmp_path, ROUTER)[0] == json.loads(to_json(config))
