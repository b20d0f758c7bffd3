"""What of the environment a user's function is given: what programs need, and what it asks for by name.

The environment of a job holds the keys of buckets, the URL of a database, tokens. What inherits them may
print or send them: so everything that is not known to be needed is left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from blendmake.errors import BlendmakeError

NEEDED = frozenset(
    {
        *("CONDA_PREFIX", "HOME", "HOSTNAME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "LOGNAME"),
        *("MPLBACKEND", "MPLCONFIGDIR", "PATH", "SHELL", "SSL_CERT_DIR", "SSL_CERT_FILE", "TEMP"),
        *("TERM", "TMP", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV"),
    }
)
# Settings of threads, GPUs and libraries.
PREFIXES = re.compile(
    "(BLIS|CUBLAS|CUDA|CUDNN|DYLD|GOMP|GOTO|JAX|KMP|LC|LOKY|MALLOC|MKL|NCCL|NUMBA|NUMEXPR|NVIDIA|OMP"
    "|OPENBLAS|POLARS|PYTHON|PYTORCH|RAYON|ROCM|ROCR|HIP|TF|TORCH|VECLIB|XDG|XLA)_?[A-Z0-9_]*"
)
SECRET = re.compile("TOKEN|SECRET|PASS|KEY|CRED|AUTH|JWT|COOKIE|SESSION|DSN|URL|URI", re.IGNORECASE)


def is_needed(name: str) -> bool:
    """Whether a variable is handed on without being asked for."""
    return name in NEEDED or (PREFIXES.fullmatch(name) is not None and SECRET.search(name) is None)


def needed_environment(asked: Iterable[str]) -> dict[str, str]:
    """This process's environment as a user's function gets it.

    Args:
        asked: variables beside what every program needs, by name.

    Raises:
        BlendmakeError: one of them is not set.
    """
    wanted = list(asked)
    absent = [name for name in wanted if name not in os.environ]
    if absent:
        raise BlendmakeError(
            f"The environment variable {absent[0]}, which the source's key 'environment' names, is not "
            f"set. Set it where blendmake is started (export {absent[0]}=…), or leave it out there."
        )
    return {name: value for name, value in os.environ.items() if name in wanted or is_needed(name)}
