"""The code that runs inside a sandbox process: standard library only, nothing of dspex.

`worker.py` is started by its path, under `python -I -S`. It locks itself in (`confinement`, `syscalls`) before it
reads the first line of what a model wrote, and only then speaks with its host.
"""
