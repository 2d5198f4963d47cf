"""Benchmarks: `python -m benchmarks cpu`. One question a row; a result that fails its check is not reported."""
