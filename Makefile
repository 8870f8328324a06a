# Entry point of the repository. `make` lists all targets. Logic belongs in TypeScript: keep branches and loops out of this file.

ENV ?= local
PROFILE ?= scaling
export ENV
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
export TURBO_TELEMETRY_DISABLED := 1
export DO_NOT_TRACK := 1

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# The targets are steps of one procedure. Each one needs the result of the previous one, so -j must have no effect.
.NOTPARALLEL:

# Node.js caches compiled code, which reduces the commands' startup time by about a third.
NODE := NODE_COMPILE_CACHE=$(CURDIR)/node_modules/.cache/node node
BOX := $(NODE) apps/eks-box/src/cli.ts
STACKS := $(NODE) scripts/src/infrastructure/stack.ts

## Main commands

# Start the box, apply the infrastructure, build, deploy, send load and watch the service scale
.PHONY: up
up: node_modules
	@$(BOX) up --only-own-tools
# Terraform and Helm mostly wait, so the tools of the later steps are built meanwhile.
	@CI=true $(BOX) tools --quiet karpenter load-balancer-controller external-secrets helm & trap "kill $$! 2> /dev/null || :" EXIT; \
	  $(MAKE) --no-print-directory apply build push STACK=cluster; $(MAKE) --no-print-directory apply STACK=data; wait $$!
	@CI=true $(BOX) tools --quiet k6 & trap "kill $$! 2> /dev/null || :" EXIT; \
	  $(MAKE) --no-print-directory apply STACK=platform; $(MAKE) --no-print-directory deploy; wait $$!
	@$(MAKE) --no-print-directory loadtest PROFILE=scaling ARGS=--until-scaled-down

# Stop the box and remove everything except the built tools
.PHONY: down
down: node_modules
	@$(BOX) down

# Stop the box and keep its data; `make up` resumes
.PHONY: stop
stop: node_modules
	@$(BOX) stop

# Lint, type-check and test everything, including end to end in a separate box (ONLY=<step>)
.PHONY: test
test: node_modules
	@node scripts/src/checks/checks.ts $(ONLY)

# Run `make test` and the checks that take too long for every change
.PHONY: test-full
test-full: node_modules
	@node scripts/src/checks/checks.ts --full

# Check this machine's prerequisites and explain how to install what is missing
.PHONY: doctor
doctor: node_modules
	@$(NODE) scripts/src/machine/doctor.ts

## Steps

# Start the box, a real Kubernetes cluster on this machine
.PHONY: box
box: node_modules
	@$(BOX) up

# Plan the infrastructure and summarise the changes (ENV, STACK, ARGS)
.PHONY: plan
plan: node_modules
	@$(STACKS) plan -- $(ARGS)

# Plan and apply the infrastructure, or apply a reviewed plan (PLAN=<file> or PLAN_DIGEST=<digest>)
.PHONY: apply
apply: node_modules
	@$(STACKS) apply -- $(ARGS)

# Destroy the infrastructure, including what controllers created in AWS (ENV, STACK)
.PHONY: destroy
destroy: node_modules
	@$(STACKS) destroy

# Print the outputs of the infrastructure (ENV, STACK)
.PHONY: output
output: node_modules
	@$(STACKS) output

# Add the environment's cluster to your kubeconfig
.PHONY: kubeconfig
kubeconfig: node_modules
	@$(STACKS) kubeconfig

# Estimate what the environment costs per idle month, from its plan (ENV, STACK)
.PHONY: cost
cost: node_modules
	@$(STACKS) cost

# Build the service's image
.PHONY: build
build: node_modules
	@$(NODE) scripts/src/image/image.ts build

# Push the image to the environment's registry
.PHONY: push
push: node_modules
	@$(NODE) scripts/src/image/image.ts push

# Roll out the image with the chart; on failure, print the cause and roll back
.PHONY: deploy
deploy: node_modules
	@$(NODE) scripts/src/deploy/deploy.ts

# Send load and record how the service scales: make loadtest PROFILE=spike (ENV, ARGS=--help lists the profiles)
.PHONY: loadtest
loadtest: node_modules
# Short-lived objects, one for each line of k6, would otherwise double the memory of a long run.
	@$(NODE) --max-semi-space-size=4 loadtest/src/run.ts $(PROFILE) $(ARGS)

# Render the report of a recorded run, or compare runs: make report RUN=a,b
.PHONY: report
report: node_modules
	@$(NODE) loadtest/src/report-command.ts $(RUN)

# Compare signals of the autoscaler under the same load, in about an hour (ARGS=--help)
.PHONY: compare-signals
compare-signals: node_modules
	@$(NODE) scripts/src/signals/compare-signals.ts $(ARGS)

# Benchmark the service against bare Fastify, bare Node.js and podinfo (ARGS=--help)
.PHONY: bench
bench: node_modules
	@node apps/fastify-api/bench/bench.ts $(ARGS)

# Simulate Karpenter with many nodes and pods in the box, over a day of traffic (NODES, PODS, ARGS=--help)
.PHONY: simulate
simulate: node_modules
	@$(NODE) scripts/src/simulation/simulate.ts $(ARGS)

# Run the service from source and restart it when a file changes
.PHONY: dev
dev: node_modules
	@cd apps/fastify-api && LOAD_ENDPOINTS_ENABLED=true node --watch src/server.ts

## Observe

# Install Prometheus in the box, or update it after the chart's monitors and rules have changed
.PHONY: monitoring
monitoring: node_modules
	@$(BOX) monitoring

# Print the status of each component of the box
.PHONY: status
status: node_modules
	@$(BOX) status

# Print a component's log: make logs C=aws, or of a node: make logs C='kubelet --node=ip-10-0-32-4'
.PHONY: logs
logs: node_modules
	@$(BOX) logs $(C)

# Write all logs, the status and the state of the cluster to an archive (OUT=<file>)
.PHONY: logs-export
logs-export: node_modules
	@$(BOX) logs-export $(OUT)

# Run a command inside the box: make exec CMD="iptables -t nat -S"
.PHONY: exec
exec: node_modules
	@$(BOX) exec $(CMD)

# Print shell commands that set KUBECONFIG, PATH and the AWS endpoint: eval "$(make -s env)"
.PHONY: env
env: node_modules
	@$(BOX) env

## Development

# Format the code and apply the linter's fixes
.PHONY: fix
fix: node_modules
	@biome check --write .

# Build the pinned tools without starting anything: all, or make tools TOOL=helm
.PHONY: tools
tools: node_modules
	@$(BOX) tools $(TOOL)

# Remove intermediate build results, about 4.5 GB, and tools that nothing has used for two weeks
.PHONY: prune
prune: node_modules
	@$(BOX) prune

# Print this list
.PHONY: help
help:
	@awk '/^## /{printf "\n%s\n", substr($$0, 4)} /^# /{text=substr($$0, 3)} /^[a-z][a-z-]*:/{if (text) printf "  make %-15s %s\n", substr($$1, 1, length($$1)-1), text} !/^#/ && !/^\.PHONY/{text=""}' $(MAKEFILE_LIST)

# Install the dependencies of this repository, including Node.js itself, from the lock file
node_modules: package-lock.json
	@command -v npm > /dev/null || { printf 'error: npm is not installed\n next: install Node 20 or newer with npm, for example `apt-get install nodejs npm`, then run the command again\n' >&2; exit 1; }
	@PATH="$${PATH#*:}" npm ci --no-audit --no-fund --loglevel=error
	@touch node_modules
