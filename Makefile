.DEFAULT_GOAL := help

# Go runs nothing in every module of a workspace, except through the `work`
# pattern; `./...` stops at a module's edge.
MODULES := $(shell go list -m -f '{{.Dir}}')
# These hold what only measurements and deployment tests need, outside the workspace.
OUTSIDE := bench deploy/test

# Tools are built once into .bin, each from a module of its own so that its
# dependencies do not meet those of the others.
BUF_VERSION := v1.75.0
LINT_VERSION := v2.15.0
OAPI_VERSION := v2.8.2
OAPI_RUNTIME_VERSION := v1.9.0
# What is older may be broken: the contract is compared with this commit, and upgrades come from it.
BASE := $(shell grep -v "^\#" BASE)
BUF := .bin/buf-$(BUF_VERSION)
LINT := .bin/golangci-lint-$(LINT_VERSION)
OAPI := .bin/oapi-codegen-$(OAPI_VERSION)
# What the clients of examples/ are written from.
OPENAPI ?= http://127.0.0.1:8080/openapi.json

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## Start the whole system on this machine (RESET=1: start clean)
	@go build -o .bin/dev ./dev && DEV_RESET=$(if $(RESET),true,false) exec .bin/dev run

.PHONY: demo
demo: ## Walk through the guide's seven steps on a fresh system
	@go build -o .bin/dev ./dev && exec .bin/dev demo

.PHONY: test
test: ## Run every test, all but those of the browser and the harness of faults with the race detector
	@# `make check` has vetted it all. The browser's tests and the harness of faults take both
	@# cores by themselves: beside others they would time out. Every byte of the system that the
	@# harness breaks goes through its links; the race detector would make them the narrowest
	@# part. What the browser goes through, the tests of its packages go through with it.
	go test -race -vet=off -timeout 25m -skip '^TestBrowser$$' $$(go list work | grep -v -e '/dev/chaos$$' -e '/dev/chaos/internal/seeded$$' -e '/dev/walk$$')
	go test -vet=off -timeout 25m -run '^TestBrowser$$' ./dev/stack
	go test -vet=off -timeout 25m ./dev/chaos
	@# What reads files outside its module is not run again by itself when they change.
	go test -count=1 -timeout 25m ./dev ./dev/walk ./dev/chaos/internal/seeded
	cd bench && GOWORK=off go test -count=1 ./...
	cd deploy/test && GOWORK=off go test -count=1 ./...

.PHONY: test-scale
test-scale: ## Hold every statement against what it reads in tables that have grown, with figures (ROWS=1000000)
	go test -vet=off -count=1 -timeout 60m -v -run '^TestScale$$' $$(grep -rl testenv/scale services/messaging --include='*_test.go' | xargs -n 1 dirname | sort -u | sed 's,^,./,') -scale $(or $(ROWS),1000000)
	go test -vet=off -count=1 -timeout 60m -v -run '^TestScale$$' ./services/notifier/internal/ledger -scale $(or $(ROWS),1000000)
	go test -vet=off -count=1 -timeout 60m -v -run '^TestScale$$' ./services/taxonomy -scale $(or $(ROWS),1000000)

.PHONY: test-views
test-views: ## Print how long agents' lists take, however narrowed and ordered, among 5,000,000 conversations (ROWS=; 5 GB)
	go test -vet=off -count=1 -timeout 60m -v -run '^TestViews_Time$$' ./services/messaging/internal/agent -views $(or $(ROWS),5000000)

.PHONY: test-typed
test-typed: ## Type into every field in Chromium, and find the text again after each disturbance (make test draws a tenth; ONLY=pattern)
	TYPED_ONLY='$(ONLY)' go test -vet=off -count=1 -timeout 60m -v -run '^TestBrowser$$' ./dev/stack -typed all

# Installs packages as root; others are told by the tests which programs are missing. A package
# whose program has another name is followed by it.
define need
	@missing=; for one in $(1); do command -v "$${one##*:}" >/dev/null || missing="$$missing $${one%%:*}"; done; \
	  if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ]; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; fi
endef

.PHONY: test-firefox
test-firefox: ## Go through the guide's seven steps in a stock Firefox, JavaScript on and off
	$(call need,firefox-esr nodejs:node npm)
	go test -vet=off -count=1 -timeout 25m -v -tags stock -run '^TestFirefox$$' ./dev/stack

.PHONY: test-heard
test-heard: ## Compare what the screen reader Orca says of the pages, in Chromium and Firefox, with web/e2e/stock/heard.txt
	$(call need,firefox-esr chromium orca xvfb:Xvfb xdotool dbus:dbus-run-session libglib2.0-bin:gdbus nodejs:node npm)
	go test -vet=off -count=1 -timeout 25m -v -tags stock -run '^TestHeard$$' ./dev/stack

.PHONY: test-deploy
test-deploy: ## Test images, compose file and manifests on podman and a real Kubernetes API server
	cd deploy/test && TEST_DEPLOY=true GOWORK=off go test -count=1 -timeout 45m -v ./...

.PHONY: nginx
nginx: ## Follow hints with the browser's EventSource through a real nginx, two minutes of silence included
	go test -vet=off -count=1 -v -run '^TestHintsThroughNginx$$' ./dev/stack -quiet 2m

.PHONY: chaos
chaos: ## Break the system on purpose, or attack it, and count the losses (SCENARIO=random MINUTES=10 RATE= SEED= ATTACKS= BUGS= COUNT=50)
	@go build -o .bin/dev ./dev && CHAOS_MINUTES=$(or $(MINUTES),10) CHAOS_RATE=$(or $(RATE),0) CHAOS_SEED=$(or $(SEED),0) \
	  CHAOS_SCENARIO=$(or $(SCENARIO),random) CHAOS_RACE=$(if $(RACE),true,false) CHAOS_COUNT=$(or $(COUNT),50) \
	  $(if $(ATTACKS),CHAOS_ATTACKS=$(ATTACKS)) $(if $(BUGS),CHAOS_BUGS=$(BUGS)) $(if $(ATTACK_FROM),CHAOS_ATTACK_FROM=$(ATTACK_FROM)) exec .bin/dev chaos

.PHONY: upgrade
upgrade: ## Upgrade from another commit under load, back, and forward again (MINUTES=2 RATE=150 FROM=BASE FILLED=100000)
	@go build -o .bin/dev ./dev && CHAOS_FILLED=$(or $(FILLED),100000) CHAOS_MINUTES=$(or $(MINUTES),2) CHAOS_RATE=$(or $(RATE),150) CHAOS_SEED=$(or $(SEED),0) \
	  CHAOS_SCENARIO=upgrade CHAOS_FROM=$(or $(FROM),$(BASE)) CHAOS_BASE=$(BASE) CHAOS_RACE=$(if $(RACE),true,false) exec .bin/dev chaos

.PHONY: bench
bench: ## Measure against pgbench, River and others, and another commit (FROM=HEAD~1 SHORT=1 BENCH_ROWS=1,2)
	@cd bench && GOWORK=off go build -o ../.bin/bench . && BENCH_FROM=$(FROM) BENCH_SHORT=$(if $(SHORT),true,false) exec ../.bin/bench

.PHONY: check
check: tools lint lint-api alone generated tidied ## All that must hold before a change lands, but the tests

.PHONY: lint
lint: $(LINT) $(BUF) ## Lint the Go code of all modules and the .proto files
	$(LINT) run $(addsuffix /...,$(MODULES))
	@set -e; for dir in $(OUTSIDE); do (cd $$dir && GOWORK=off $(CURDIR)/$(LINT) run --config $(CURDIR)/.golangci.yml ./...); done
	$(BUF) lint
	$(BUF) format -d --exit-code proto
	@if git cat-file -e $(BASE)^{commit} 2>/dev/null; then $(BUF) breaking --against '.git#ref=$(BASE)'; \
	  else echo "BASE names $(BASE), which this clone does not have: git fetch --unshallow"; exit 1; fi

.PHONY: lint-api
lint-api: dev/contract/node_modules ## Lint the OpenAPI document (spectral, redocly)
	cd dev/contract && npx --no-install spectral lint --ruleset .spectral.yaml --fail-severity hint ../../services/gateway/openapi.json
	cd dev/contract && npx --no-install redocly lint --config redocly.yaml ../../services/gateway/openapi.json

.PHONY: clients
clients: dev/contract/node_modules $(OAPI) ## Generate clients of three makers from the OpenAPI document, and compile them
	rm -rf dev/contract/build .build/client
	cd dev/contract && npx --no-install openapi-typescript ../../services/gateway/openapi.json -o build/fetch.d.ts
	cd dev/contract && npx --no-install openapi-ts -i ../../services/gateway/openapi.json -o build/hey -c @hey-api/client-fetch
	cd dev/contract && npx --no-install tsc -p . --noEmit false --outDir build/js
	mkdir -p .build/client && cp -r dev/contract/testdata/job .build/client/job
	$(OAPI) -generate types,client -package client -o .build/client/client.gen.go services/gateway/openapi.json
	cd .build/client && export GOWORK=off && go mod init client && go get github.com/oapi-codegen/runtime@$(OAPI_RUNTIME_VERSION) && go vet ./... && go build -o client ./job

dev/contract/node_modules: dev/contract/package-lock.json
	cd dev/contract && npm ci --no-audit --no-fund --ignore-scripts && touch node_modules

.PHONY: alone
alone: ## Build each module as its image does, without go.work
	@set -e; for dir in $(MODULES); do echo "build $$dir" | sed 's#$(CURDIR)/##'; (cd $$dir && GOWORK=off go build ./... && GOWORK=off go vet ./...); done

.PHONY: generate
generate: $(BUF) ## Write the Go code and the OpenAPI document from the .proto files
	GOWORK=off $(BUF) generate
	@mkdir -p .build
	GOWORK=off $(BUF) build --as-file-descriptor-set -o .build/image.binpb
	@# The gateway has the file in it: what is written by halves must not be in the way.
	go run ./services/gateway/internal/openapi/generate < .build/image.binpb > .build/openapi.json && mv .build/openapi.json services/gateway/openapi.json
	go run ./dev/errors > .build/errors.md && mv .build/errors.md docs/errors.md
	{ cat deploy/k8s/components/prometheus/rules.head.yaml; sed 's/^\(.\)/  \1/' deploy/prometheus/alerts.yaml; } > deploy/k8s/components/prometheus/rules.yaml

.PHONY: generated
generated: generate
	git diff --exit-code -- proto services/gateway/openapi.json docs/errors.md deploy/k8s

.PHONY: client-go
client-go: $(OAPI) ## Write the client of examples/tool from what a gateway says it can (OPENAPI=address or file)
	$(OAPI) -config examples/tool/client.yaml $(OPENAPI)

.PHONY: tidy
tidy: ## Give every module the same dependency versions
	go work sync
	@set -e; for dir in $(MODULES) $(OUTSIDE); do (cd $$dir && GOWORK=off go mod tidy); done

.PHONY: tidied
tidied:
	@set -e; for dir in $(MODULES) $(OUTSIDE); do (cd $$dir && GOWORK=off go mod tidy -diff); done

.PHONY: tools
tools: $(BUF) $(LINT)

# A throw-away module pins a tool to its version and sums; `go install
# tool@version` would do the same where the registry lists versions.
define build-tool
	@mkdir -p .bin && dir=$$(mktemp -d) && cd $$dir && export GOWORK=off && \
	  go mod init tool >/dev/null 2>&1 && go get -tool $(1)@$(2) >/dev/null 2>&1 && \
	  go build -o $(CURDIR)/$@ $(1) && rm -rf $$dir
endef

$(BUF):
	@echo "building buf $(BUF_VERSION), once"
	$(call build-tool,github.com/bufbuild/buf/cmd/buf,$(BUF_VERSION))

$(OAPI):
	@echo "building oapi-codegen $(OAPI_VERSION), once"
	$(call build-tool,github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen,$(OAPI_VERSION))

$(LINT):
	@echo "building golangci-lint $(LINT_VERSION), once"
	$(call build-tool,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,$(LINT_VERSION))
