# Two commands from a clean checkout: `make demo` and `make test`. Both make .venv on first use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test format clean

help:
	@echo "make demo    train a small network on handwritten digits, draw its kernels, read a digit"
	@echo "make test    formatting, types, floors, and every test"
	@echo "make format  format and sort what can be"
	@echo "make clean   remove what was built here, the environment too"

demo: $(VENV)/demo.stamp
	$(BIN)/python demo/digits.py

test: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

format: $(VENV)/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist src/*.egg-info src/involution/ops/cpu/*.so

# torch comes first, because the extension is compiled against it; without isolation it is not fetched a second time.
$(VENV)/torch.stamp:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and \
		f"involution needs Python 3.11 or later; {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install "torch>=2.11" "setuptools>=77"
	@touch $@

$(VENV)/%.stamp: $(VENV)/torch.stamp pyproject.toml setup.py $(wildcard src/involution/ops/cpu/*.cpp src/involution/ops/cpu/*.h)
	$(BIN)/pip install --no-build-isolation -e ".[$*]"
	@touch $@
