"""Other job engines doing the same no-op job, each in processes of its own.

They live in an environment of their own (`.venv-bench`), because they pin other versions than the
platform does. `bench.peers.runs` starts them from the platform's environment.
"""
