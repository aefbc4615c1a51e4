"""What lies beside the checkout: the sample of the acceptance suite, and real records. Skipped where it is absent."""

import os
import subprocess
import sys

import pytest

from bestroute import Pool
from bestroute.records.records import read_records


@pytest.mark.parametrize(
    ("suite", "needed"),
    [
        ("test_lc_sample.py", "langchain_tests"),
        ("test_lc_standard.py", "langchain_tests"),
        ("test_li_sample.py", "llama_index.llms.openai_like"),
    ],
)
def test_the_sample_of_the_acceptance_suite_passes(shared, suite, needed):
    pytest.importorskip(needed)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-disable", suite],
        cwd=shared / "acceptance",
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize(
    ("name", "pool", "queries"),
    [
        ("livecodebench", "livecodebench", 714),
        ("cruxeval_output", "cruxeval", 602),
        ("routellm_mmlu", "routellm", 8381),
    ],
)
def test_real_records_and_pools_are_read(shared, name, pool, queries):
    members = Pool.from_file(shared / "data" / "pools" / f"{pool}.yaml")
    records = read_records(shared / "data" / f"{name}.jsonl.gz", pool=members)
    assert len(records) == queries
    assert all(set(record.samples) == set(members.models) for record in records)
