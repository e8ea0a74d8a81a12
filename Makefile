# Keelson: `make up` runs a cluster on this machine, `make test` passes the tests.

PREFIX ?= /opt/keelson
TOOLS  ?= $(CURDIR)/.tools
INIT   ?= --schedulable
FUZZ_TIME ?= 60

.PHONY: help up down test e2e fuzz bench images install lint tools

help: ## Show what there is
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

up: install ## Run a cluster on this machine (root; can be run again)
	@$(PREFIX)/bin/keelsonadm init --prefix $(PREFIX) $(INIT)
	@printf '\nYour cluster runs. Try:\n\n  export PATH=$(PREFIX)/bin:$$PATH KUBECONFIG=/etc/kubernetes/admin.conf\n  kubectl get nodes\n  kubectl get pods -A\n\n`make down` removes it.\n'

down: ## Stop the cluster and remove everything that it left on this machine
	@[ ! -x $(PREFIX)/bin/keelsonadm ] || $(PREFIX)/bin/keelsonadm reset --prefix $(PREFIX)
	@hack/uninstall.sh $(PREFIX)

install: ## Build and install into PREFIX (/opt/keelson)
	@hack/install.sh $(PREFIX) $(TOOLS)

tools:
	@hack/tools.sh $(TOOLS)

images: tools ## Build the images as OCI archives into .images
	@hack/images.sh $(CURDIR)/.images $(TOOLS)

test: tools ## All tests: unit, component, end-to-end (root)
	KEELSON_TOOLS=$(TOOLS) cargo test --workspace --exclude e2e
	cargo test -p e2e --test tree
	$(MAKE) e2e

e2e: ## Only the end-to-end tests: clusters out of namespaces (root)
	hack/install.sh $(TOOLS)
	hack/tools.sh $(TOOLS) clients
	e2e/images.sh $(TOOLS)/images
	KEELSON_TOOLS=$(TOOLS) cargo test -p e2e --test e2e

fuzz: ## Search for input that breaks a parser: FUZZ_TIME seconds for each target (FUZZ_TARGET: for one)
	hack/fuzz.sh $(FUZZ_TIME) $(FUZZ_TARGET)

bench: tools ## Measure against the budgets (root; BENCH= for options: --only, --markdown, --help)
	KEELSON_TOOLS=$(TOOLS) hack/bench.sh $(BENCH)

lint: ## fmt, clippy with warnings denied, deny.toml
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	hack/deny.py
