"""Assign every row to a fold, once."""

from blendmake.job import job, optional_path, own_paths

with job(snakemake.log[0], script=snakemake, own=["given"]):
    from pathlib import Path

    from blendmake.folds.file import write_folds
    from blendmake.folds.making import make_folds
    from blendmake.labels import read_groups, read_known
    from blendmake.provenance import provenance
    from blendmake.tables.user_labels import read_column

    folds = snakemake.params.folds
    known = read_known(Path(snakemake.input.targets))
    ids = known.ids
    given = None
    if folds["column"]:
        column = read_column(
            own_paths(snakemake.params.places, snakemake.input.given)[0],
            folds["column"],
            ids,
            folds["id"],
            "The fold",
            csv_format=folds.get("csv_format"),
            missing=folds.get("missing", ()),
        )
        given = column.to_numpy()
    fold = make_folds(
        known.labels,
        known.targets,
        n=folds["n"],
        scheme=snakemake.params.scheme,
        seed=folds["seed"],
        groups=read_groups(optional_path(snakemake.input.groups)),
        given=given,
    )
    write_folds(
        Path(snakemake.output[0]),
        ids,
        fold,
        provenance(folds, snakemake.params.code, sizes=snakemake.params.sizes),
    )
