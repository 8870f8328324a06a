# The one entry. `make` lists every target; nothing here has a branch or a loop, that is TypeScript.

ENV ?= local
export ENV
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
export TURBO_TELEMETRY_DISABLED := 1
export DO_NOT_TRACK := 1

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# The targets are steps of one procedure: each needs what the one before it did, whatever -j says.
.NOTPARALLEL:

# Node keeps what it compiles: the commands start in about two thirds of the time.
NODE := NODE_COMPILE_CACHE=$(CURDIR)/node_modules/.cache/node node
BOX := $(NODE) apps/eks-box/src/cli.ts
STACKS := $(NODE) scripts/src/infrastructure/stack.ts

## Main job

# In the box: set up this machine, apply the infrastructure, build, deploy, load, and watch it scale
.PHONY: up
up: box apply build push deploy
	@$(MAKE) --no-print-directory loadtest ARGS=--until-scaled-down

# Stop the box and remove everything it wrote (the built tools stay)
.PHONY: down
down: node_modules
	@$(BOX) down

# Stop the box and keep its data; `make up` continues
.PHONY: stop
stop: node_modules
	@$(BOX) stop

# Lint, typecheck, unit tests, chart checks, and the end-to-end test in a box of its own
.PHONY: test
test: node_modules
	@node scripts/src/checks/checks.ts $(ONLY)

# Check this machine's prerequisites and say how to get what is missing
.PHONY: doctor
doctor: node_modules
	@$(NODE) scripts/src/machine/doctor.ts

## Steps

# Start the box: a real Kubernetes cluster on this machine
.PHONY: box
box: node_modules
	@$(BOX) up

# Plan the infrastructure and tell in short what would change (ENV, STACK, ARGS)
.PHONY: plan
plan: node_modules
	@$(STACKS) plan -- $(ARGS)

# Plan the infrastructure and apply that plan (PLAN=<file> or PLAN_DIGEST=<digest>: a reviewed one)
.PHONY: apply
apply: node_modules
	@$(STACKS) apply -- $(ARGS)

# Take the infrastructure away, and first what controllers made in AWS (ENV, STACK)
.PHONY: destroy
destroy: node_modules
	@$(STACKS) destroy

# The infrastructure's outputs (ENV, STACK)
.PHONY: output
output: node_modules
	@$(STACKS) output

# Add the environment's cluster to your kubeconfig
.PHONY: kubeconfig
kubeconfig: node_modules
	@$(STACKS) kubeconfig

# What the environment costs a month at rest, from its plans
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

# Roll the image out with the chart; on failure say why and roll back
.PHONY: deploy
deploy: node_modules
	@$(NODE) scripts/src/deploy/deploy.ts

# Send load and record how the service scales (ARGS=--help)
.PHONY: loadtest
loadtest: node_modules
	@$(NODE) loadtest/src/run.ts scaling $(ARGS)

# Compare the service with bare Fastify, bare Node and podinfo; start, size, memory (ARGS=--help)
.PHONY: bench
bench: node_modules
	@node apps/fastify-api/bench/bench.ts $(ARGS)

# Run the service from source, restarting on change
.PHONY: dev
dev: node_modules
	@cd apps/fastify-api && LOAD_ENDPOINTS_ENABLED=true node --watch src/server.ts

## Looking in

# How each component of the box is
.PHONY: status
status: node_modules
	@$(BOX) status

# A component's log: make logs C=kubelet
.PHONY: logs
logs: node_modules
	@$(BOX) logs $(C)

# Write all logs, the status and the cluster's state into one archive (OUT=<file>)
.PHONY: logs-export
logs-export: node_modules
	@$(BOX) logs-export $(OUT)

# Run a command inside the box: make exec CMD="iptables -t nat -S"
.PHONY: exec
exec: node_modules
	@$(BOX) exec $(CMD)

# Shell lines for KUBECONFIG, PATH and the box's AWS: eval "$(make -s env)"
.PHONY: env
env: node_modules
	@$(BOX) env

## Development

# Format and fix what the linter can
.PHONY: fix
fix: node_modules
	@biome check --write .

# Build the pinned tools without starting anything
.PHONY: tools
tools: node_modules
	@$(BOX) tools

# Remove the tools' intermediate build results, about 7 GB; the tools stay
.PHONY: prune
prune: node_modules
	@$(BOX) tools --prune

# This list
.PHONY: help
help:
	@awk '/^## /{printf "\n%s\n", substr($$0, 4)} /^# /{text=substr($$0, 3)} /^[a-z][a-z-]*:/{if (text) printf "  make %-12s %s\n", substr($$1, 1, length($$1)-1), text} !/^#/ && !/^\.PHONY/{text=""}' $(MAKEFILE_LIST)

# Dependencies of this repository, Node itself included, from the lock file
node_modules: package-lock.json
	@command -v npm > /dev/null || { printf 'error: npm is not installed\n next: install Node 20 or newer with npm, for example `apt-get install nodejs npm`, then run the command again\n' >&2; exit 1; }
	@PATH="$${PATH#*:}" npm ci --no-audit --no-fund --loglevel=error
	@touch node_modules
