"""Build a group of targets by its rule, once."""

from blendmake.job import job, optional_path

with job(snakemake.log[0], script=snakemake):
    from pathlib import Path

    from blendmake.fits.group_rules import build_group
    from blendmake.fits.target_groups import read_group_files
    from blendmake.provenance import provenance

    params = snakemake.params
    name = snakemake.wildcards.group
    build_group(
        name,
        params.group["rule"],
        Path(snakemake.input.targets),
        {**params.group["given"], **read_group_files(snakemake.input.above)},
        optional_path(snakemake.input.fits),
        Path(snakemake.output[0]),
        provenance(params.group, params.code),
    )
