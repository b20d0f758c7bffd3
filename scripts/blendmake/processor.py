"""What a processor is bad at; to be seen to before NumPy is imported."""

from __future__ import annotations

import os
import re
from pathlib import Path

DISABLED = "NPY_DISABLE_CPU_FEATURES"
AVX512 = "X86_V4 AVX512_ICL"  # by NumPy's names


def prepare_numpy(facts: Path = Path("/proc/cpuinfo")) -> None:
    """Keep NumPy from sorting by AVX-512 on AMD's family 19h, where AVX2 is four times as fast.

    There an instruction that the sort leans on is microcoded (numpy/x86-simd-sort issue 6). What a
    user has set stays. Processes that this one starts go by it too.
    """
    if DISABLED in os.environ or not facts.exists():
        return
    text = facts.read_text(encoding="utf-8", errors="replace")
    family = re.search(r"^cpu family\s*:\s*(\d+)", text, re.M)
    amd = "AuthenticAMD" in text and family is not None and int(family[1]) == 0x19
    if amd and re.search(r"^flags\s*:.*\bavx512f\b", text, re.M):
        os.environ[DISABLED] = AVX512
