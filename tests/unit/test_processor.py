"""NumPy's way of sorting goes by the processor."""

from __future__ import annotations

import importlib
import os
import platform
from pathlib import Path

import pytest

from blendmake.processor import AVX512, DISABLED, prepare_numpy

FACTS = "vendor_id\t: {vendor}\ncpu family\t: {family}\nflags\t\t: fpu {flags} avx2\n"


@pytest.mark.parametrize(
    ("vendor", "family", "flags", "expected"),
    [
        ("AuthenticAMD", 25, "avx512f", AVX512),
        ("AuthenticAMD", 25, "avx", None),  # Zen 3
        ("AuthenticAMD", 26, "avx512f", None),
        ("GenuineIntel", 6, "avx512f", None),
    ],
)
def test_only_where_it_is_slow(
    vendor: str,
    family: int,
    flags: str,
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = tmp_path / "cpuinfo"
    facts.write_text(FACTS.format(vendor=vendor, family=family, flags=flags))
    monkeypatch.setenv(DISABLED, "")  # so that it is put back
    monkeypatch.delenv(DISABLED)
    prepare_numpy(facts)
    assert os.environ.get(DISABLED) == expected
    prepare_numpy(tmp_path / "not there")
    monkeypatch.setenv(DISABLED, "AVX2")
    prepare_numpy(facts)
    assert os.environ[DISABLED] == "AVX2"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="NumPy's names are of this processor")
def test_numpy_knows_these_names() -> None:
    dispatched = importlib.import_module("numpy._core._multiarray_umath").__cpu_dispatch__
    assert set(AVX512.split()) <= set(dispatched)
