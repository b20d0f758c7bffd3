"""Put what is built, and what has been begun, into one archive for another machine."""

from blendmake.job import job

with job(snakemake.log[0]):
    from pathlib import Path

    from blendmake.packing.packing import pack
    from blendmake.packing.telling import packed_text
    from snakemake_records import SnakemakeRecords

    plan = snakemake.params.plan
    chosen = pack(plan, SnakemakeRecords())
    text = packed_text(chosen, Path(plan["archive"]), plan["roots"])
    print(f"\nproblem {plan['problem']}\n\n{text}\n", flush=True)
