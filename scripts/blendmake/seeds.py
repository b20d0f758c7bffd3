"""Seeds that depend on what is done, not on when or where."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def derive_seed(*parts: Any) -> int:
    """A 31-bit seed from (seed, source, target, fold, bag): no order of fits changes it."""
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 33
