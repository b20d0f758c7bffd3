"""Fit trials of a search, with other workers, until there are as many as asked for."""

from blendmake.job import fit_job

with fit_job(snakemake) as gpu:
    import json
    from pathlib import Path

    from blendmake.files import write_text
    from blendmake.fits.target_groups import read_group_files
    from blendmake.provenance import provenance
    from blendmake.searches.search import search_of
    from blendmake.searches.worker_job import work

    params, name = snakemake.params, snakemake.wildcards.search
    # For what is written of a search that ends early; no trial depends on it, so it is no param.
    own = snakemake.config["searches"][name]
    out = Path(snakemake.output[0])
    done = work(
        search_of(
            params.search,
            params.problem,
            name,
            snakemake.input,
            read_group_files(snakemake.input.groups),
            snakemake.threads,
            gpu,
        ),
        scratch=Path(params.scratch),
        folder=out.parent.parent,
        number=int(snakemake.wildcards.worker),
        time_limit=float(snakemake.resources.search_seconds) or None,
        criteria=own.get("criteria"),
        note=provenance(params.search["search"], params.code, packages=("optuna",)),
    )
    write_text(json.dumps({"trials": done}, indent=1) + "\n", out)
