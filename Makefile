# Shoal: "make" or "make help" lists the targets. Two commands are enough for a start: make run, make test.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
ARGS     ?=
FUZZTIME ?= 30s
SEEDS    ?= 1000
SEED     ?=
CONNS    ?= 15000
PORT     ?= $(shell echo $$((20000 + RANDOM % 10000)))
PORT     := $(PORT)# one number for all recipes
BENCH    ?= .

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
BIN     := bin/shoal
LDFLAGS := -s -w -X main.version=$(VERSION)

# golangci-lint: the pinned version, wherever it is installed already, otherwise "make tools" puts it into .tools.
LINT_VERSION := 2.5.0
TOOLS        := $(CURDIR)/.tools/bin
LINT = $(shell for l in $(TOOLS)/golangci-lint "$$(command -v golangci-lint)" "$$($(GO) env GOPATH)/bin/golangci-lint"; do \
	[ -x "$$l" ] && "$$l" version 2>/dev/null | grep -q "version v\?$(LINT_VERSION) " && { echo "$$l"; break; }; done)

# The race detector needs a C compiler; everything else is built without one.
CC   ?= cc
RACE := $(shell command -v $(CC) >/dev/null 2>&1 && echo -race)
ifeq ($(RACE),)
export CGO_ENABLED := 0
endif

# $(call run_named,regexp,packages,flags): runs the tests so named and fails when there are none.
define run_named
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	$(GO) test -count=1 -v -timeout 30m $(3) -run '$(1)' $(2) 2>&1 | tee "$$log"; \
	grep -q -- '^--- PASS' "$$log" || { echo "no test matched $(1) in $(2)"; exit 1; }
endef

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- run and build

.PHONY: run
run: build ## serve on :8000 in development mode and say what to do next (ARGS="--port 9000 …")
	exec $(BIN) serve --dev $(ARGS)

.PHONY: doctor
doctor: build ## whether this host can hold a million connections, and what to change (ARGS="-n 100000 …")
	@$(BIN) doctor $(ARGS)

.PHONY: build
build: ## the static binary bin/shoal
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) .

.PHONY: cross
cross: ## build for linux on amd64 and arm64, and see that other systems still compile
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 $(GO) build -o /dev/null .
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO) build -o /dev/null .
	CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 $(GO) build -o /dev/null .

# --- test

.PHONY: test
test: build vet lint-if-installed ## build, vet, lint, house rules, all tests (race detector, fuzz seeds, simulation seeds), million-small
	@[ -n '$(RACE)' ] || echo 'no C compiler ($(CC)): testing without the race detector; apt-get install gcc libc6-dev'
	$(GO) test $(RACE) -timeout 30m ./...
	$(MAKE) --no-print-directory million-small

.PHONY: check
check: fmt vet lint cross test sim conform ## everything that must be green before a release

.PHONY: floors
floors: ## the house rules alone: floors, sole importers, banned calls, sizes
	$(call run_named,^TestThe(House|Guard),./server,)

.PHONY: e2e
e2e: ## stock clients and the browser against a running server
	$(call run_named,Stock|Browser|E2E|EndToEnd,. ./server/...,)

.PHONY: compat
compat: ## Shoal beside the reference server: raw transcripts, stock Go and JavaScript clients, compared field by field
	$(call run_named,Transcripts|Stock,./server/compat,$(RACE))

.PHONY: tuning-test
tuning-test: ## apply.sh, the systemd unit and shoal doctor on made-up hosts and on the kernel; says what is left out and why
	$(call run_named,.,./tuning,)

.PHONY: conform
conform: export SHOAL_CONFORM := all
conform: ## RFC 6455 and RFC 7692, case by case, whole and cut at every byte
	$(call run_named,Conform,./server/...,)

.PHONY: sim
sim: ## SEEDS runs of the loop under faults; SEED=n replays one with a trace
	$(GO) test -count=1 -timeout 60m ./loop/sim $(if $(SEED),-v -sim.seed=$(SEED) -sim.trace,-sim.seeds=$(SEEDS))

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME
	@grep -rnoE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' . | sed -E 's|^(.*)/[^/]*:[0-9]+:func (.*)|\1 \2|' | sort \
	| while read -r package target; do \
		echo "== $$package $$target"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s "$$package" </dev/null; \
	done

.PHONY: cover
cover: ## test coverage by package; cover.out for «go tool cover -html=cover.out»
	$(GO) test -timeout 30m -coverprofile=cover.out ./...
	$(GO) tool cover -func=cover.out | tail -1

# --- measure

# Server and clients on different cores, as the figures in server/docs/BUDGET.md were measured.
SERVER_CPU ?= 0
CLIENT_CPU ?= 1
ROUNDS     ?= 5

.PHONY: bench
bench: bench-micro bench-api bench-fanout bench-crowd bench-process bench-pressure ## everything that is measured

.PHONY: bench-micro
bench-micro: ## the benchmarks of single packages (BENCH=regexp chooses)
	CGO_ENABLED=0 $(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -timeout 60m $$($(GO) list ./... | grep -v '/server$$')

.PHONY: bench-api
bench-api: ## the HTTP API of a running program against a net/http server that does nothing
	CGO_ENABLED=0 $(GO) test -count=1 -run '^$$' -bench '^BenchmarkAPI$$' -benchtime 10x ./server

.PHONY: bench-fanout
bench-fanout: ## one publication to CONNS against bare writes to the same sockets, and what it makes others wait
	CGO_ENABLED=0 $(GO) test -c -o bin/server.test ./server
	cd server && SHOAL_BENCH_CONNS=$(CONNS) SHOAL_BENCH_CPU=$(CLIENT_CPU) taskset -c $(SERVER_CPU) ../bin/server.test \
		-test.run '^$$' -test.bench 'FanoutAgainst|WaitDuring' -test.benchtime 15x

MEMBERS ?= 1000000

.PHONY: bench-crowd
bench-crowd: ## how long a command waits while one loop fans out to MEMBERS members (without sockets of their own)
	CGO_ENABLED=0 SHOAL_BENCH_MEMBERS=$(MEMBERS) $(GO) test -run '^$$' -bench '^BenchmarkWaitBehindACrowd$$' -benchtime 10x -timeout 30m ./server/node

.PHONY: bench-process
bench-process: build ## ROUNDS cold servers: memory and CPU per connection, echo, fan-out, memory after traffic
	@CONNS=$(CONNS) ROUNDS=$(ROUNDS) PORT=$(PORT) SERVER_CPU=$(SERVER_CPU) CLIENT_CPU=$(CLIENT_CPU) bash loadtest/bench.sh $(BIN)

.PHONY: bench-pressure
bench-pressure: build ## many channels, bursts, receivers that stop reading, reconnect storms: verified, with CONNS connections (ONLY=words)
	@CONNS=$(CONNS) PORT=$(PORT) SERVER_CPU=$(SERVER_CPU) CLIENT_CPU=$(CLIENT_CPU) bash loadtest/pressure.sh $(BIN) $(ONLY)

.PHONY: bench-curves
bench-curves: build ## measure and draw the curves of server/docs/pressure anew; reports stay in bin/curves
	@rm -rf bin/curves
	@CONNS=$(CONNS) PORT=$(PORT) SERVER_CPU=$(SERVER_CPU) CLIENT_CPU=$(CLIENT_CPU) bash loadtest/curves.sh $(BIN) bin/curves
	CGO_ENABLED=0 $(GO) test -count=1 ./loadtest/chart -from $(CURDIR)/bin/curves

.PHONY: budget
budget: ## the memory ledger and what a collection costs, against server/docs/BUDGET.md
	CGO_ENABLED=0 $(GO) test -count=1 -v -timeout 30m -run Budget -bench 'Budget|ConnectAndSubscribe|Recovery' -benchtime 5x ./server
	CGO_ENABLED=0 $(GO) test -count=1 -timeout 30m -run '^$$' -bench 'StoredPublication/.*/300of300' -benchtime 1x ./server/history

# What a million connections are to reach, server and load test on a core each; say EXPECT= to hold only what always holds.
MILLION = loss=0,duplicates=0,reorder=0,connect_time=150s,broadcast=15s,rss=1GB,loadtest_rss=600MB

.PHONY: million
million: EXPECT ?= $(MILLION)
million: build ## one million connections on this machine, in about 5 minutes; report.html and report.json in bin/million
	@EXPECT='$(EXPECT)' PORT=$(PORT) SERVER_CPU=$(SERVER_CPU) CLIENT_CPU=$(CLIENT_CPU) bash loadtest/million.sh $(BIN) $(ARGS)

.PHONY: million-small
million-small: build ## the same in small: 30,000 connections, held for one heartbeat; more than one process may open here and elsewhere
	@CONNS=30000 HOLD=30s OUT=bin/million-small EXPECT=loss=0,duplicates=0,reorder=0 PORT=$(PORT) \
		bash loadtest/million.sh $(BIN) --quiet $(ARGS)

.PHONY: million-flat
million-flat: build ## what a delivery and a heartbeat cost at a million against as many to 15,000: bin/million/flat.html (after make million)
	@CONNS=15000 BROADCASTS=67 OUT=bin/million/15000 EXPECT=loss=0 PORT=$(PORT) SERVER_CPU=$(SERVER_CPU) CLIENT_CPU=$(CLIENT_CPU) bash loadtest/million.sh $(BIN) $(ARGS)
	$(BIN) report bin/million/15000/report.json bin/million/report.json >bin/million/flat.html

# --- care

.PHONY: vet
vet: ## go vet, and formatting
	$(GO) vet ./...
	@bad=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go' 2>/dev/null || find . -name '*.go')); \
	[ -z "$$bad" ] || { echo "not formatted, run make fmt: $$bad"; exit 1; }

.PHONY: fmt
fmt: ## format all code
	gofmt -w $$(git ls-files -co --exclude-standard '*.go' 2>/dev/null || find . -name '*.go')

.PHONY: lint
lint: tools ## golangci-lint
	$(LINT) run ./...

.PHONY: lint-if-installed
lint-if-installed:
	@if [ -n '$(LINT)' ]; then echo '$(LINT) run ./...'; $(LINT) run ./...; \
	else echo 'golangci-lint $(LINT_VERSION) is not installed: go on without it; make tools installs it'; fi

.PHONY: tools
tools: ## install the pinned tools into .tools, if they are not on this machine
	@[ -n '$(LINT)' ] || { mkdir -p $(TOOLS); set -x; \
	CGO_ENABLED=0 GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$(LINT_VERSION); }

.PHONY: generate
generate: ## write the generated code anew (needs protoc)
	sh codec/proto/generate.sh

.PHONY: clean
clean: ## remove what was built and measured
	rm -rf bin .tools cover.out
	$(GO) clean -testcache
