"""Set aside training rows of each fold for early stopping; one split for all targets."""

from blendmake.job import job, optional_path

with job(snakemake.log[0], script=snakemake):
    from pathlib import Path

    from blendmake.folds.file import read_folds, write_inner
    from blendmake.folds.inner import inner_split
    from blendmake.labels import read_groups, read_known
    from blendmake.provenance import provenance
    from blendmake.seeds import derive_seed

    inner = snakemake.params.inner
    known = read_known(Path(snakemake.input.targets))
    groups = read_groups(optional_path(snakemake.input.groups))
    folds = read_folds(Path(snakemake.input.folds))
    splits = []
    for k in range(folds.n):
        train = folds.rows(k).train
        seed = derive_seed(inner["seed"], "inner", k)
        aside = inner_split(known.labels, train, inner["share"], seed, groups, known.targets)
        splits.append((train, aside))
    write_inner(
        Path(snakemake.output[0]), known.ids, splits, provenance(inner, snakemake.params.code)
    )
