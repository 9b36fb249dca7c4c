# make run    starts the broker        make test   all that CI runs
# make check  format, vet, lint, race  make help   the rest

.DEFAULT_GOAL := help
.NOTPARALLEL:

VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS    = -X github.com/fantail-mqtt/fantail/internal/cli.linked=$(VERSION)
LINT       = go tool -modfile=tools/go.mod golangci-lint
FUZZTIME  ?= 1m
CYCLES    ?= 200
TESTFLAGS ?=
ARGS      ?=

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## start the broker; ARGS='--config fantail.yaml' hands it flags
	go run -ldflags '$(LDFLAGS)' ./cmd/fantail server $(ARGS)

.PHONY: build
build: ## build bin/fantail
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/fantail ./cmd/fantail

.PHONY: test
test: ## set up this machine, then check, a short fuzz, conform and build: what CI runs
	@tools/step setup   tools/setup
	@tools/step build   $(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory check
	@tools/step fuzz    tools/fuzz 3s
	@tools/step conform $(MAKE) --no-print-directory conform

.PHONY: check
check: ## format, vet, lint, known vulnerabilities and go test -race; TESTFLAGS='-run X' narrows it
	@tools/step format  $(LINT) fmt --diff
	@tools/step vet     go vet ./...
	@tools/step lint    $(LINT) run
	@tools/step vulns   tools/vulns
	@tools/step tests   go test -race -vet=off -timeout 20m $(TESTFLAGS) ./...
	@tools/step plots   go test -C tools ./plot

.PHONY: fmt
fmt: ## format the code as check wants it
	$(LINT) fmt

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (1m)
	tools/fuzz $(FUZZTIME)

.PHONY: conform
conform: ## check each statement of the standard; writes docs/conformance.md
	go run ./conform/cmd/conform -o docs/conformance.md

.PHONY: crash
crash: build ## kill the server CYCLES (200) times under load and look for what is missing
	go test -count=1 -timeout 0 -v -run '^TestCrash$$' ./crash -bin '$(CURDIR)/bin/fantail' -cycles $(CYCLES) $(ARGS)

.PHONY: bench
bench: build ## compare with mosquitto on this machine; ARGS=-quick for a first look
	go build -o bin/floor ./bench/floor
	go run ./bench/compare -floor bin/floor $(ARGS)

.PHONY: plots
plots: ## draw docs/img/*.svg of the newest of bench/results
	go run -C tools ./plot

.PHONY: changelog
changelog: ## show what the fragments in changes/ add to the next release
	@tools/changelog

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
