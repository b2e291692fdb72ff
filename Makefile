# `make` prints its targets. Everything below sets itself up in .venv first.
PYTHON ?= python3
BIN := .venv/bin
SHARED := ../shared/data
SETS := $(if $(wildcard $(SHARED)),$(addprefix $(SHARED)/,Set5 Set14 BSD100),Set5 Set14 BSD100)
COG = $(shell grep -rlF '[[[cog' README.md docs srcli/weights/ATTRIBUTION.md --include=*.md)

# Tests run side by side, one process for each core.
EACH_CORE := -n auto --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all fmt check docs bench bench-quality bench-folder bench-gpu bench-large bench-memory bench-peers bench-train gpu parity verify fuzz soak formats pictures

help: ## print this
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: .venv/ready ## install everything into .venv

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup ## enlarge a photograph four times; pictures in demo/, a table here
	$(BIN)/sr upscale srcli/samples/coffee.png -x4 -o demo/coffee_x4.png --overwrite
	$(BIN)/sr compare srcli/samples/coffee.png --hr -x4 -o demo/compare.png -o demo/compare.html --overwrite
	$(BIN)/sr bench --dataset samples -x4
	@echo "look at demo/coffee_x4.png, demo/compare.png and demo/compare.html"

test: setup ## run the tests
	$(BIN)/python -m pytest $(EACH_CORE) -m 'not slow and not gpu and not hub'

test-all: setup ## run every test that this machine can
	$(BIN)/python -m pytest $(EACH_CORE)

fmt: setup ## format, mend what can be mended, generate what is generated
	$(BIN)/ruff format srcli tests tools benchmarks
	$(BIN)/ruff check --fix --quiet srcli tests tools benchmarks || true
	$(BIN)/cog -r $(COG)

check: setup ## what CI checks: format, lint, types, layers, generated text
	$(BIN)/ruff format --check srcli tests tools benchmarks
	$(BIN)/ruff check srcli tests tools benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cog --check $(COG)

docs: setup ## generate tables, help texts and picture; count what networks cost
	PYTHONPATH=. $(BIN)/python tools/readme_picture.py
	PYTHONPATH=. $(BIN)/python tools/models_table.py
	$(BIN)/cog -r $(COG)

BUNDLED = $(shell $(BIN)/python -c "from srcli import manifest as m; print(*{e.model: 0 for e in m.load() if e.bundled})")

bench: bench-quality bench-memory bench-folder bench-peers ## all that is measured here, and what was held to; hours

bench-quality: setup ## measure the bundled networks on Set5, Set14 and BSD100
	$(BIN)/sr bench $(addprefix --dataset ,$(SETS)) $(addprefix -m ,$(BUNDLED)) -x2 -x3 -x4 \
		--json benchmarks/results/bundled.json
	$(BIN)/sr bench -d samples $(addprefix -m ,$(BUNDLED)) -x4 --costs --metric all \
		--json benchmarks/results/samples.json --plots docs/plots

bench-memory: setup ## seconds and peak memory of sr upscale from 0.1 to 24 megapixels, and a plot
	PYTHONPATH=. $(BIN)/python tools/bench_memory.py 24
	$(BIN)/cog -r docs/benchmarks.md

bench-large: setup ## peak memory of 100 megapixels x2 and of 24 x4: less than 1.2 GB; takes long
	PYTHONPATH=. $(BIN)/python tools/bench_memory.py --only 100 --scale 2
	PYTHONPATH=. $(BIN)/python tools/bench_memory.py --only 24 --scale 4

bench-peers: setup ## sr against other tools, same network, same picture; figures for docs/benchmarks.md
	PYTHONPATH=. $(BIN)/python tools/bench_peers.py
	$(BIN)/cog -r docs/benchmarks.md
	@PYTHONPATH=. $(BIN)/python -c "from tools import doc_tables; print(doc_tables.render_targets())"

bench-folder: setup ## a folder of 50 small pictures in one command, against 50 commands
	PYTHONPATH=. $(BIN)/python tools/bench_folder.py
	$(BIN)/cog -r docs/benchmarks.md

bench-gpu: ## EDSR x4 on 1 megapixel on a GPU: share of the matrix rate, times plain fp32; by $(PYTHON) as it is
	PYTHONPATH=. $(PYTHON) tools/bench_gpu.py --vram 4G --compile --out $${OUT:-benchmarks/results}/gpu.json

gpu: ## all that wants a GPU, in less than ten minutes: tests, then bench-gpu; by $(PYTHON) as it is
	PYTHONPATH=. timeout 300 $(PYTHON) -m pytest -m gpu -W default -p no:cacheprovider --maxfail 20 \
		tests/test_backends.py tests/test_archs.py tests/test_bench_run.py; \
	tested=$$?; timeout 240 $(MAKE) bench-gpu PYTHON=$(PYTHON) && exit $$tested

bench-train: setup ## steps per second of sr train, against a minimal PyTorch loop
	PYTHONPATH=. $(BIN)/python tools/bench_train.py $(or $(wildcard $(SHARED)/train),srcli/samples)

pictures: setup ## docs/real.webp, and screenshots of sr compare for docs/compare.md; needs Chromium
	PYTHONPATH=. $(BIN)/python tools/real.py
	PYTHONPATH=. $(BIN)/python tools/pictures.py

parity: setup ## measure the published weights in ../shared/weights, and write docs/parity.md
	PYTHONPATH=. $(BIN)/python tools/parity.py

formats: setup ## measure what each image format keeps, and write docs/formats.md
	PYTHONPATH=. $(BIN)/python tools/formats.py

fuzz: setup ## thousands of damaged files; figures for docs/reliability.md
	PYTHONPATH=. $(BIN)/python tools/fuzz.py
	$(BIN)/cog -r docs/reliability.md

soak: setup ## memory over 10,000 images in one command; the figure for docs/reliability.md
	PYTHONPATH=. $(BIN)/python tools/soak.py
	$(BIN)/cog -r docs/reliability.md

verify: setup ## bench every bundled weight file, and compare with what the manifest promises
	PYTHONPATH=. $(BIN)/python tools/verify.py $(SETS)
