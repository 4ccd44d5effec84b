# Slipway's make targets; `make` lists them. State lies in .slipway, which git ignores; `make down` stops what runs.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:

bin   := .slipway/bin
tools := go tool -modfile=deploy/tools/go.mod
with  := go run $(buildvcs) ./internal/dev/testenv/with

# The commit goes into the binary where git can tell it; a tarball, or a checkout of another user, builds without.
buildvcs := $(shell git status --porcelain >/dev/null 2>&1 || echo -buildvcs=false)

# bcrypt's rounds share nothing with anybody, and take eight times as long when each of their steps is watched.
race := -race -gcflags=golang.org/x/crypto/blowfish=-race=false
# Tests stand on real parts and QEMU emulates processors: more packages at once than this only time each other out.
parallel := 2
gotest := go test -json -count=1 -vet=off

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

# ---------------------------------------------------------------------------------------------------------- run it

# What networks stand on: bridge (isolated on each host) or ovn, which switches them. Empty: as at the last start, at first bridge.
ENGINE ?=

.PHONY: demo
demo: up ## install what is missing, start everything, and build a first server: make demo [ENGINE=ovn]
	@deploy/dev/demo.sh

.PHONY: up
up: install build novnc temporal guest $(if $(filter ovn,$(ENGINE)),ovn) ## the same without the server: the API, Temporal and its Web UI, a hypervisor
	@$(bin)/slipway dev up $(if $(ENGINE),--network-engine $(ENGINE))

.PHONY: hosts
hosts: ## more hypervisors beside what up started, each with a libvirtd of its own: make hosts N=3
	@$(bin)/slipway dev hosts $(or $(N),2)

.PHONY: down
down: ## stop what demo, up and hosts started; the state stays in .slipway
	@if [ -x $(bin)/slipway ]; then $(bin)/slipway dev down; else echo "make: nothing is built, so nothing runs"; fi

.PHONY: purge
purge: down ## stop everything and delete all state in .slipway
	@if [ -x $(bin)/slipway ]; then $(bin)/slipway dev purge; fi
	rm -rf .slipway

.PHONY: clean
clean: down ## delete what is built; the state stays
	rm -rf $(bin) .slipway/guest .slipway/cloud-guest

# ---------------------------------------------------------------------------------------------------------- build it

.PHONY: install
install:
	@deploy/dev/install.sh

.PHONY: install-bench
install-bench:
	@deploy/dev/install.sh --bench

.PHONY: install-tests
install-tests:
	@deploy/dev/install.sh --tests
	@deploy/dev/fetch-cloud-init.sh
	@deploy/dev/fetch-novnc.sh

.PHONY: build
build: ## build .slipway/bin/slipway
	@mkdir -p $(bin)
	@[ -x $(bin)/slipway ] || echo "make: building slipway; the first time takes about 2 minutes on 2 cores"
	@go build $(buildvcs) -trimpath -o $(bin)/slipway ./cmd/slipway

.PHONY: novnc
novnc:
	@deploy/dev/fetch-novnc.sh || echo "make: going on without noVNC: no page shows a server's screen"

.PHONY: ovn
ovn:
	@deploy/dev/fetch-ovn.sh

.PHONY: temporal
temporal:
	@deploy/dev/build-temporal.sh $(bin)/slipway-temporal

.PHONY: s3server
s3server:
	@deploy/dev/build-pinned.sh s3server

.PHONY: tofu
tofu:
	@deploy/dev/build-pinned.sh tofu

.PHONY: guest
guest:
	@deploy/dev/guest/build.sh .slipway/guest

.PHONY: cloud-guest
cloud-guest: ## build the image of Debian with cloud-init that test-cloud-guest boots
	@deploy/dev/install.sh --cloud-guest
	@deploy/dev/cloud-guest/build.sh .slipway/cloud-guest

.PHONY: generate
generate: ## write the documents that derive from the code
	go run $(buildvcs) ./internal/dev/gendocs

# ---------------------------------------------------------------------------------------------------------- test it

# A part of it: make test PACKAGES=./models
PACKAGES :=
ifeq ($(PACKAGES),)
# The system tests start processes of their own, so the race detector would look at the test alone. Guests under emulation, and
# what counts on deadlines, want the machine for themselves: they come last. The engine's server is a module of its own; all
# of it with the race detector would take longer to compile than to test.
alone := ./test/e2e ./test/matrix ./test/chaos
suites = "$(gotest) $(buildvcs) $(race) -p $(parallel) -timeout 15m $$(go list ./... | grep -v /test/ | tr '\n' ' ')" \
	"$(gotest) $(buildvcs) -p $(parallel) -timeout 25m $$(go list ./test/... | grep -v -e /e2e -e /matrix -e /chaos -e /bench -e /cloudguest -e /terraform | tr '\n' ' ')" \
	"$(gotest) $(buildvcs) -p 1 -timeout 20m $(alone)" \
	"cd deploy/temporal && GOWORK=off $(gotest) $(buildvcs) -timeout 10m ./..."
else
suites = "$(gotest) $(buildvcs) $(race) -p $(parallel) -timeout 15m $(PACKAGES)"
endif

# The processes that the tests start.
export SLIPWAY_TEST_BINARY := $(CURDIR)/$(bin)/slipway
export SLIPWAY_TEST_FAULTS_BINARY := $(CURDIR)/$(bin)/slipway-faults
# What reads config drives in the tests.
export SLIPWAY_TEST_CLOUD_INIT := $(CURDIR)/.slipway/cloud-init

.PHONY: build-faults
build-faults: build
	@go build $(buildvcs) -trimpath -tags faultinject -o $(bin)/slipway-faults ./cmd/slipway

.PHONY: test
test: install-tests build-faults temporal s3server ## run every test on real parts; what cannot run here is listed at the end
	@echo "make: test 1/2: compiling (a few minutes the first time)"
	@{ go list -e -export -test -v $(buildvcs) $(race) $(or $(PACKAGES),$$(go list ./... | grep -v /test/)); \
		[ -n "$(PACKAGES)" ] || go list -e -export -test -v $(buildvcs) ./test/...; } 2>&1 >/dev/null | \
		awk '/ |:/ { print; next } ++n % 100 == 0 { print "make: " n " packages compiled" }'
	@echo "make: test 2/2: running; a package that starts machines or clusters takes a minute or more"
	@$(with) --fsync=false --parts postgres,temporal,libvirt,guest,rabbitmq,ovn go run $(buildvcs) ./internal/dev/testenv/report --skips internal/dev/testenv/report/skips.txt $(suites)

.PHONY: e2e
e2e: install-tests build-faults temporal ## boot real guests and look at what they were given
	@$(with) --fsync=false --parts postgres,temporal,libvirt,guest,ovn go run $(buildvcs) ./internal/dev/testenv/report "$(gotest) $(buildvcs) -p 1 -timeout 15m ./test/e2e/..."

.PHONY: test-cloud-guest
test-cloud-guest: build temporal cloud-guest ## boot Debian with its own cloud-init from each kind of drive and by injection; no part of test
	@$(with) --parts postgres,temporal,libvirt,cloud-guest go test $(buildvcs) -vet=off -count=1 -v -timeout 40m ./test/cloudguest

.PHONY: test-libguestfs
test-libguestfs: ## inject into xfs, btrfs and LVM through libguestfs, which it installs; of make test it is left out
	@deploy/dev/install.sh --libguestfs
	@SLIPWAY_TEST_LIBGUESTFS=1 go run $(buildvcs) ./internal/dev/testenv/report "$(gotest) $(buildvcs) -timeout 40m -run Libguestfs ./internal/guest/guestfs"

.PHONY: test-keystone
test-keystone: install build temporal ## run on tokens of Debian's own Keystone, which it unpacks; of make test it is left out
	@deploy/dev/fetch-keystone.sh
	@SLIPWAY_TEST_KEYSTONE=$(CURDIR)/.slipway/keystone $(with) --parts postgres,temporal go run $(buildvcs) ./internal/dev/testenv/report "$(gotest) $(buildvcs) -timeout 15m ./test/keystone"

.PHONY: matrix
matrix: install build-faults temporal ## fail every step in every way: make matrix [SEED=n]
	@$(with) --fsync=false --parts postgres,temporal go test $(buildvcs) -vet=off -count=1 -v -timeout 20m ./test/matrix -args -seed $(or $(SEED),$$(date +%s))
	@$(with) --fsync=false --parts postgres,temporal go test $(buildvcs) -vet=off -count=1 -v -timeout 30m ./test/actions -args -all

.PHONY: chaos
chaos: install build temporal ## kill everything while servers are built: make chaos [SEED=n] [BOOTS=n]
	@$(with) --parts guest go test $(buildvcs) -vet=off -count=1 -v -timeout 40m ./test/chaos -args -boots $(or $(BOOTS),200) -seed $(or $(SEED),$$(date +%s))

.PHONY: cluster
cluster: install build temporal ## a network of machines on which strangers and a bad hypervisor try what they must not be able to
	@$(with) --parts postgres go test $(buildvcs) -vet=off -count=1 -v -timeout 5m ./test/cluster

.PHONY: fuzz
fuzz: install ## ask every route of the API what nobody should: make fuzz [SEED=n] [REQUESTS=n]
	@$(with) --parts postgres go test $(buildvcs) -vet=off -count=1 -v -timeout 2h -run TestWhateverIsAsked ./api -args -seed $(or $(SEED),$$(date +%s)) -requests $(or $(REQUESTS),50000)

.PHONY: terraform
terraform: install build temporal tofu ## apply, change and destroy servers with OpenTofu and the OpenStack provider; no part of test
	@$(with) --parts postgres,temporal go test $(buildvcs) -vet=off -count=1 -v -timeout 10m ./test/terraform

.PHONY: bench
bench: install-bench build temporal ## measure builds and images; docs/benchmarks.md says what is measured and how
	@$(with) go test $(buildvcs) -vet=off -run '^$$' -bench . -benchtime 1x -timeout 30m ./test/bench -args -write "$$PWD/docs/benchmarks.md"

.PHONY: check
check: ## everything that is checked without running: format, vet, linters, determinism, imports, generated files, vulnerabilities
	@echo "make: 1/9 gofmt"
	@unformatted=$$(gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go' -not -path './.slipway/*')); \
		[ -z "$$unformatted" ] || { echo "not formatted (gofmt -w): $$unformatted" >&2; exit 1; }
	@echo "make: 2/9 go vet"
	@go vet $(buildvcs) ./...
	@cd deploy/temporal && GOWORK=off go vet ./...
	@echo "make: 3/9 go mod tidy"
	@go mod tidy -diff
	@cd deploy/temporal && GOWORK=off go mod tidy -diff
	@cd deploy/tools && GOWORK=off go mod tidy -diff
	@cd deploy/s3server && GOWORK=off go mod tidy -diff
	@echo "make: 4/9 generated files"
	@go run $(buildvcs) ./internal/dev/gendocs --check
	@echo "make: 5/9 direction of imports"
	@go test $(buildvcs) -vet=off ./internal/dev/archtest
	@echo "make: 6/9 determinism of workflows (the first time builds the tool)"
	@$(tools) workflowcheck ./workflows/...
	@echo "make: 7/9 linters (the first time builds golangci-lint: about 2 minutes)"
	@$(tools) golangci-lint run ./...
	@echo "make: 8/9 dead code"
	@for tags in "" faultinject; do dead=$$($(tools) deadcode -test -tags "$$tags" ./...) || exit 1; \
		[ -z "$$dead" ] || { echo "nothing calls this: remove it" >&2; echo "$$dead" >&2; exit 1; }; done
	@echo "make: 9/9 known vulnerabilities in what the program calls"
	@deploy/dev/vulncheck.sh $(tools) govulncheck
	@echo "make: all checks pass"
