"""What `multiprocessing` runs as `__main__` of a process that a worker spawns; see `main_module`.

It holds no other names, as all names here are the script's.
"""

from fasthpo.execution.spawned import attribute as __getattr__  # noqa: F401
from fasthpo.execution.spawned import prepare as __prepare__

__prepare__(__name__)
