"""Put what another machine has packed in place, so that it counts as built."""

from blendmake.job import job

with job(snakemake.log[0]):
    from blendmake.packing.telling import unpacked_text
    from blendmake.packing.unpacking import unpack
    from snakemake_records import SnakemakeRecords

    plan = snakemake.params.plan
    result, manifest = unpack(plan, SnakemakeRecords())
    text = unpacked_text(result, manifest, plan["roots"])
    print(f"\nproblem {plan['problem']}\n\n{text}\n", flush=True)
