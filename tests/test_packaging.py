"""What is installed, what is imported, and what the front windows show."""

import dataclasses
import doctest
import importlib
import importlib.metadata
import os
import pickle
import re
import runpy
import subprocess
import sys
import tarfile
import tomllib
import typing
import zipfile
from pathlib import Path

import pydantic
import pytest

import bestroute
from bestroute.reward_models import majority_vote

ROOT = Path(__file__).parents[1]
PACKAGES = ["bestroute", "langchain_bestroute", "llamaindex_bestroute"]


def test_no_gpu_packages_came_along():
    names = [d.metadata["Name"].lower() for d in importlib.metadata.distributions()]
    assert [n for n in names if n.startswith("nvidia-")] == []


def test_the_pinned_torch_is_the_cpu_build():
    torch = pytest.importorskip("torch")
    assert torch.__version__.startswith("2.13.0")
    assert not torch.cuda.is_available()


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


HEAVY = {"torch", "transformers", "onnxruntime", "tokenizers", "onnx", "openai", "matplotlib", "xllamacpp", "click"}


@pytest.mark.parametrize(
    ("package", "unwanted"),
    [
        ("bestroute", HEAVY | {"langchain_core", "llama_index", "pydantic", "yaml", "asyncio", "sqlalchemy"}),
        ("langchain_bestroute", HEAVY | {"llama_index"}),
        ("llamaindex_bestroute", HEAVY | {"langchain_core"}),
    ],
)
def test_importing_brings_nothing_heavy_and_no_foreign_framework(package, unwanted):
    assert unwanted & set(run(f"import sys, {package}; print(*sys.modules)").split()) == set()


@pytest.mark.parametrize("opened", ["Ledger('bills.db')", "Budget(1.0, store='sqlite:///bills.db')"])
def test_a_database_without_sqlalchemy_is_refused_in_one_sentence(opened):
    out = run(
        "import sys; sys.modules['sqlalchemy'] = None\n"
        "from bestroute import Budget, ConfigError, Ledger\n"
        "Ledger(), Budget(1.0)\n"
        f"try: {opened}\n"
        "except ConfigError as error: print(error)"
    )
    assert out.startswith('a ledger or budget in a database needs SQLAlchemy: pip install "bestroute[ledger]"')
    assert out.count("\n") == 1


def test_importing_the_core_starts_nothing():
    out = run(
        "import threading, logging; before = threading.active_count(); import bestroute; "
        "print(threading.active_count() - before, logging.getLogger().handlers)"
    )
    assert out.strip() == "0 []"


def test_the_public_names_are_pinned():
    assert sorted(bestroute.__all__) == bestroute.__all__ == sorted(set(bestroute.__all__))
    public = {n for n in dir(bestroute) if not n.startswith("_") and not hasattr(getattr(bestroute, n), "__path__")}
    modules = {n for n in public if isinstance(getattr(bestroute, n), type(sys))}
    assert public - modules == set(bestroute.__all__) - {"__version__"}
    api = "Price Pool Candidate Step Plan Query Prediction ThresholdPolicy QualityPolicy Verifier MajorityVote Sample "
    api += "BestRoute Decision Result Ledger BestRouteError ConfigError RecordError PriceError GenerationError "
    api += "BudgetError BudgetPolicy NotTunedError ArtifactError Router Policy RewardModel Generator StoreError"
    assert set(api.split()) <= set(bestroute.__all__)


EXPORTED = [value for name in bestroute.__all__ if isinstance(value := getattr(bestroute, name), type)]


@pytest.mark.parametrize("value", EXPORTED, ids=lambda value: value.__name__)
def test_an_exported_class_names_the_package_as_its_home(value):
    assert value.__module__ == "bestroute"
    assert pickle.loads(pickle.dumps(value)) is value
    assert not any(isinstance(hint, str) for hint in typing.get_type_hints(value).values())
    if dataclasses.is_dataclass(value):
        assert not [field.name for field in dataclasses.fields(value) if isinstance(field.type, str)]


def test_an_exported_dataclass_is_a_field_of_a_pydantic_model():
    class Offer(pydantic.BaseModel):
        price: bestroute.Price
        limits: bestroute.Limits

    offer = Offer.model_validate({"price": {"input": 1, "output": 2}, "limits": {"max_samples": 3}})
    assert (offer.price, offer.limits) == (bestroute.Price(1, 2), bestroute.Limits(max_samples=3))


def test_examples_of_exported_classes_are_still_collected():
    """By ``core/conftest.py``: doctest leaves out classes that name another module as theirs."""
    stands_in = runpy.run_path(str(ROOT / "core" / "conftest.py"))["_stands_in"]
    assert stands_in(doctest.DocTestFinder(), majority_vote, bestroute.MajorityVote)
    assert not stands_in(doctest.DocTestFinder(), majority_vote, bestroute.Query)


@pytest.mark.parametrize("package", PACKAGES)
def test_types_are_shipped(package):
    module = importlib.import_module(package)
    assert (Path(module.__file__).parent / "py.typed").exists()


def test_data_is_shipped():
    from bestroute.demo import dataset

    for path in (dataset.POOL, dataset.PROMPTS, dataset.RECORDS, dataset.POLICIES, dataset.ROUTER / "router.json"):
        assert path.is_file(), path


@pytest.mark.skipif(not os.environ.get("BESTROUTE_TEST_WHEEL"), reason="only when the wheel is under test")
@pytest.mark.parametrize("package", PACKAGES)
def test_the_wheel_is_what_is_tested(package):
    assert "site-packages" in importlib.import_module(package).__file__
    assert importlib.metadata.version("bestroute") == bestroute.__version__


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist and the wheel, each built twice at the same moment, without an environment of their own."""
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    if os.environ.get("BESTROUTE_TEST_WHEEL"):
        pytest.skip("the wheel that is tested is built")
    env = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    folders = [tmp_path_factory.mktemp("dist") for _ in range(2)]
    command = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir"]
    for folder in folders:
        subprocess.run([*command, folder, ROOT], env=env, capture_output=True, check=True, cwd=folder)
    return [{path.name: path for path in folder.iterdir()} for folder in folders]


def test_two_builds_of_one_moment_are_the_same_bytes_and_at_most_3_mb(built):
    first, second = ({name: path.read_bytes() for name, path in files.items()} for files in built)
    assert first == second
    assert sorted(name.rpartition(".")[2] for name in first) == ["gz", "whl"]
    for name, data in first.items():
        assert len(data) <= 3_000_000, name


def test_the_wheel_holds_the_packages_alone_and_the_sdist_what_its_tests_need(built):
    files = built[0]
    (wheel,) = (path for name, path in files.items() if name.endswith(".whl"))
    (sdist,) = (path for name, path in files.items() if name.endswith(".tar.gz"))
    names = zipfile.ZipFile(wheel).namelist()
    version = bestroute.__version__
    tops = {name.partition("/")[0] for name in names}
    assert tops == {*PACKAGES, "llama_index", f"bestroute-{version}.dist-info"}
    assert f"bestroute-{version}.dist-info/licenses/LICENSE" in names
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
    assert not [name for name in names if "/tests/" in name or name.endswith((".pyc", ".ipynb", ".png"))]
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", "conftest.py", "tests/test_packaging.py"} <= held
    assert not [name for name in held if re.search(r"(^|/)(\.venv|\.git/|__pycache__|demo-out|dist)", name)]


def test_nothing_in_the_project_names_this_machine():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    telltale = re.compile("/" + r"(?:work|root|home)/|pypi\." + "org")
    for name in tracked:
        if name.endswith((".py", ".md", ".toml", ".txt", ".yaml", "Makefile", "run")):
            found = telltale.findall((ROOT / name).read_text(encoding="utf-8"))
            assert found == [], name


def test_the_version_is_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" in project["dynamic"]


@pytest.mark.parametrize(
    "command",
    [
        "'train', str(dataset.RECORDS), '--pool', str(dataset.POOL), '--reward', 'majority', '--out', sys.argv[1]",
        "'evaluate', str(dataset.ROUTER), str(dataset.RECORDS), '--cross-fit', '2', '--reward', 'majority'",
        "'tune', sys.argv[1], str(dataset.RECORDS), '--max-drop', '0.1', '--cross-fit', '2', '--reward', 'majority'",
    ],
    ids=lambda command: command.split("'")[1],
)
def test_learning_without_the_learn_extra_is_one_sentence(tmp_path, command):
    code = (
        "import importlib.abc, sys\n"
        "class Without(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('scipy', 'sklearn', 'threadpoolctl'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Without())\n"
        "from bestroute.cli import main\n"
        "from bestroute.demo import dataset\n"
        "main(['route', str(dataset.ROUTER), 'What is 2 + 2?'], standalone_mode=False)\n"
        "import shutil\n"
        "if 'tune' in sys.argv[2]: shutil.copytree(dataset.ROUTER, sys.argv[1])\n"
        "main(eval(sys.argv[2]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "router"), f"[{command}]"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "reason" in done.stdout or "x 1" in done.stdout  # a served router decides without it
    assert done.returncode == 2
    assert "bestroute[learn]" in done.stderr
    assert "Traceback" not in done.stderr
