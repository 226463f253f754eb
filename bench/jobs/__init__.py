"""Jobs and credits end to end, measured: `python -m bench.jobs`. Every key: `bench/README.md`."""
