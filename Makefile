# `make` prints its targets. Each one sets up what it needs in .venv first: the tool alone, or also the tools of its
# developers.
PYTHON ?= python3
BIN := .venv/bin
RUN := PYTHONPATH=. $(BIN)/python
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SHARED := ../shared/data
SETS := $(if $(wildcard $(SHARED)),$(addprefix $(SHARED)/,Set5 Set14 BSD100),Set5 Set14 BSD100)
SOURCES := srcli tests tools benchmarks
# Pages with generated text.
COG = $(shell grep -rlF '[[[cog' --include=*.md --include=sr.1 README.md docs share srcli/weights)
# One test process per core.
PARALLEL := -n auto --dist worksteal

# Containers often set it; then every process would compile PyTorch, and sr, anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all fmt check check-install site docs bench bench-quality bench-folder bench-gpu bench-large bench-memory bench-peers bench-runtimes bench-train gpu gpu-ladder parity verify fuzz torture torture-short soak formats pictures quick-runs rating recipes

help: ## print this
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 15

setup: .venv/ready ## install everything into .venv

# Modules are compiled when they are first imported: most of torch's never are.
.venv/base: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) --no-compile -e '.[photo]'
	@touch $@

.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) --no-compile -e '.[dev]'
	@touch .venv/base $@

demo: .venv/base ## upscale two photographs by 4, one of them spoilt; pictures go to demo/, a table is printed
	$(BIN)/sr upscale srcli/samples/coffee.png -x4 -o demo/coffee_x4.png --overwrite
	$(BIN)/sr compare srcli/samples/coffee.png --hr -x4 -o demo/compare.png -o demo/compare.html --overwrite
	$(BIN)/sr compare docs/phone.png -x4 -m bicubic -m photo -m realesrgan --crop 26,0,72,72 -o demo/phone.png -o demo/phone.html --overwrite
	$(BIN)/sr bench --dataset samples -x4
	@echo "look at demo/coffee_x4.png, demo/compare.png and demo/phone.png; demo/*.html have a slider"

test: setup ## run the tests
	$(BIN)/python -m pytest $(PARALLEL) -m 'not slow and not gpu and not hub and not parity and not vulkan'

test-all: setup ## run every test that this machine can run
	$(BIN)/python -m pytest $(PARALLEL)

fmt: setup ## format, fix what can be fixed, regenerate what is generated
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix --quiet $(SOURCES) || true
	$(BIN)/cog -r $(COG)

check: setup ## what CI checks: format, lint, types, layers, generated text, links of the site
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cog --check $(COG)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

site: setup ## build the documentation as a site into site/; broken links are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

check-install: setup ## install the wheel into an empty environment, first without PyTorch, and use it
	$(RUN) tools/check_install.py

docs: setup ## regenerate tables, help texts and the picture of README.md; count what networks cost
	$(RUN) tools/readme_picture.py
	$(RUN) tools/models_table.py
	$(RUN) tools/json_docs.py
	$(BIN)/cog -r $(COG)

BUNDLED = $(shell $(BIN)/python -c "from srcli import manifest as m; print(*{e.model: 0 for e in m.load() if e.bundled})")

bench: bench-quality bench-memory bench-runtimes bench-folder bench-peers ## measure quality, speed and memory, and compare with the targets; takes hours

bench-quality: setup ## measure the bundled networks on Set5, Set14 and BSD100
	$(BIN)/sr bench $(addprefix --dataset ,$(SETS)) $(addprefix -m ,$(BUNDLED)) -x2 -x3 -x4 \
		--json benchmarks/results/bundled.json
	$(BIN)/sr bench -d samples $(addprefix -m ,$(BUNDLED)) -x4 --costs --metric all \
		--json benchmarks/results/samples.json --plots docs/plots

bench-memory: setup ## measure time and peak memory of sr upscale from 0.1 to 24 megapixels
	$(RUN) tools/bench_memory.py 24
	$(BIN)/cog -r docs/benchmarks.md

bench-large: setup ## check that 100 megapixels at x2 and 24 at x4 stay under 1.2 GB; takes long
	$(RUN) tools/bench_memory.py --only 100 --scale 2
	$(RUN) tools/bench_memory.py --only 24 --scale 4

bench-peers: setup ## measure sr and other tools with the same network and image
	$(RUN) tools/bench_peers.py
	$(BIN)/cog -r docs/benchmarks.md
	@$(RUN) -c "from tools import doc_tables; print(doc_tables.render_targets())"

bench-runtimes: setup ## measure the libraries that run bundled networks on a CPU, and write the table for the choice
	$(RUN) tools/bench_runtimes.py
	$(BIN)/cog -r docs/benchmarks.md

bench-folder: setup ## measure 50 small images in one command, and in 50 commands
	$(RUN) tools/bench_folder.py
	$(BIN)/cog -r docs/benchmarks.md

bench-gpu: ## measure EDSR x4 on a GPU; uses $(PYTHON) instead of .venv
	PYTHONPATH=. $(PYTHON) tools/bench_gpu.py --vram 4G --compile --out $${OUT:-benchmarks/results}/gpu.json

gpu: ## run GPU tests and bench-gpu in under ten minutes; uses $(PYTHON) instead of .venv
	PYTHONPATH=. timeout 300 $(PYTHON) -m pytest -m gpu -W default -p no:cacheprovider --maxfail 20 \
		tests/test_backends.py tests/test_archs.py tests/test_bench_run.py; \
	tested=$$?; timeout 240 $(MAKE) bench-gpu PYTHON=$(PYTHON) && exit $$tested

gpu-ladder: ## train the bundled networks for nine minutes on a GPU; uses $(PYTHON) instead of .venv
	PYTHON=$(PYTHON) tools/gpu_ladder.sh $(SHARED)/train $(SHARED)/valid $${OUT:-runs}

bench-train: setup ## measure the speed of sr train; with GPU=1 on a GPU, in under ten minutes
	$(if $(GPU),PYTHONPATH=. $(PYTHON) tools/bench_train.py --gpu --out $${OUT:-benchmarks/results},$(RUN) tools/bench_train.py) \
		$(or $(wildcard $(SHARED)/train),srcli/samples)

quick-runs: setup ## train every network for two minutes in the background; continues where it was interrupted
	nice -n 15 $(RUN) benchmarks/experiments/quick_runs.py $(or $(wildcard $(SHARED)/train),srcli/samples) --limit 120
	$(BIN)/cog -r docs/weights/quick-runs.md

recipes: setup ## check every recipe at every scale by two steps of each phase; takes long
	$(RUN) tools/check_recipes.py --done runs/recipes-done.txt && rm -f runs/recipes-done.txt

pictures: setup ## make the pictures of docs/real.md, docs/compare.md and the pages by wish; needs Chromium
	$(RUN) tools/spoilt.py
	$(RUN) tools/real.py
	$(RUN) tools/wish_pictures.py
	$(RUN) tools/pictures.py

rating: setup ## write build/rating.html: rate four methods blindly on twenty spoilt pictures; needs the extra photo
	@mkdir -p build
	$(RUN) tools/spoilt.py --rate build/rating.html

parity: setup ## measure the published weights in ../shared/weights and write docs/parity.md
	$(RUN) tools/parity.py
	$(RUN) tools/foreign_parity.py
	$(BIN)/cog -r docs/parity.md

formats: setup ## check what each image format keeps and write docs/formats.md
	$(RUN) tools/formats.py

fuzz: setup ## run thousands of damaged files through sr; figures for docs/reliability.md
	$(RUN) tools/fuzz.py
	$(BIN)/cog -r docs/reliability.md

torture: setup ## attack sr with hostile files, names, servers, kills and full disks; figures for docs/reliability.md
	$(RUN) tools/torture.py
	$(BIN)/cog -r docs/reliability.md

torture-short: setup ## the same in three minutes, as CI does
	$(RUN) tools/torture.py --short

soak: setup ## measure memory over 10,000 images in one command; for docs/reliability.md
	$(RUN) tools/soak.py
	$(BIN)/cog -r docs/reliability.md

verify: setup ## bench every bundled weight file and compare with the manifest
	$(RUN) tools/verify.py $(SETS)
