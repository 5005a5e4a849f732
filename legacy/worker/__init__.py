"""The code that runs inside a worker process: standard library and `dspy`, nothing of dspex.

`main.py` is started by its path, under whatever interpreter the pool names; it must run on Python 3.9 and newer. The
host imports one module of this folder, `wire`, so that both ends of the channel share one codec.
"""
