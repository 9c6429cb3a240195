# Every command of the project. A bare `make` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin

# Debian 12 packages, each with its use. python3-bpfcc is bcc; libbpf1 reaches pinned maps without LLVM.
APT := python3-bpfcc libbpf1 python3-venv
APT += iptables nftables iproute2
APT += busybox-static
APT += prometheus
APT += jq zstd
APT += docker-compose
APT += borgbackup acl
APT += gcc libc6-dev openssl
APT += qemu-system-x86 mmdebstrap e2fsprogs cpio
APT += vagrant systemd
# Docker's own packages (docker-ce) conflict with Debian's: an engine that is there, of whatever make, is left alone.
APT += $(if $(shell command -v dockerd),,docker.io)

# What `make bench` compares with and works on, and nothing else needs.
BENCH_APT := auditd bpftrace fatrace
BENCH_APT += nginx wrk

INSTALLED = $(shell dpkg-query -W -f='$${db:Status-Status} $${Package}\n' $(APT) 2>/dev/null | sed -n 's/^installed //p')
MISSING = $(filter-out $(INSTALLED),$(APT))

# What a test could skip for (no root, no engine, no VM) is a failure here: see tests/conftest.py.
PYTEST := ENFORCER_NO_SKIP=1 $(BIN)/pytest --maxfail=20

.PHONY: help install packages demo demo-down test test-vm lint bench clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

install: packages $(VENV)/.installed ## Debian packages, virtual environment and Python packages, if they are missing
	@$(BIN)/python -m compileall -q enforcer # a restart must not wait for what the first start could not write

packages:
	@missing="$(strip $(MISSING))"; [ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" != 0 ]; then echo "make: run as root: these Debian packages are missing: $$missing" >&2; exit 1; fi; \
	echo "installing $$missing"; \
	export DEBIAN_FRONTEND=noninteractive; \
	export RUNLEVEL=1; : 'where systemd does not run, init scripts start nothing in runlevel 1'; \
	held=; for name in $(KEPT_DOWN); do \
	  : 'what is to be measured with only must not begin to serve, or to watch, on the host'; \
	  case " $$missing " in *" $$name "*) [ ! -d /run/systemd/system ] || held="$$held $$name.service";; esac; \
	done; \
	[ -z "$$held" ] || systemctl -q mask --runtime $$held; \
	apt-get -qq update; \
	apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends $$missing >/dev/null; \
	case " $$missing " in *" prometheus "*) \
	  : 'the demo starts its own: no scraper of ours stays behind on a port of the host'; \
	  if [ -d /run/systemd/system ]; then systemctl -q disable --now prometheus.service; fi;; \
	esac; \
	[ -z "$$held" ] || { systemctl -q unmask --runtime $$held; systemctl -q disable $$held; }

# bcc belongs to Debian's python, hence this interpreter and the system's packages. setuptools comes first and builds
# without isolation, so that constraints.txt pins the build as well.
$(VENV)/.installed: pyproject.toml constraints.txt
	/usr/bin/python3 -m venv --system-site-packages $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt setuptools
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev,export]'
	touch $@

demo: install ## the main job on the guide's topology, with real containers and a real Prometheus (KEEP=1 leaves it up)
	$(BIN)/python -m deploy.demo $(if $(KEEP),--keep)

demo-down: install ## remove what a demo left behind
	$(BIN)/python -m deploy.demo --down

test: lint ## lint, then every test: kernel, containers and VM included; nothing is skipped
	$(PYTEST)

test-vm: install ## the VM tests alone, the slow ones too: prevention on a stock Debian kernel
	$(PYTEST) -m "" tests/vm

lint: install ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install ## measure, print tables, keep the figures in bench/results (BENCH="NAME ..." for some, BENCH_AUDIT=1: see README)
	@$(MAKE) --no-print-directory packages APT="$(BENCH_APT)" KEPT_DOWN="nginx auditd"
	$(BIN)/python -m bench $(BENCH)

clean: ## remove everything that a target made in this tree
	rm -rf $(VENV) .cache build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
