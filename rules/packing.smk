# For machines that share nothing: one archive of what is built; prints, always runs.
#   in:  the files of sources, blends, audits and searches, Snakemake's records, scratch
#   out: the archive; or, from one, these files in their places

from plan_packing import base_files, pack_plan, unpack_plan


rule pack:
    """Put what is built, and what has been begun, into one archive for another machine."""
    log:
        "<logs>/pack.log",
    localrule: True
    params:
        plan=pack_plan(plan),
    script:
        "../scripts/pack.py"


rule unpack:
    """Put what another machine has packed in place, so that it counts as built."""
    input:
        base_files(plan),
    log:
        "<logs>/unpack.log",
    localrule: True
    params:
        plan=unpack_plan(plan),
    script:
        "../scripts/unpack.py"
