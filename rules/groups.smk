# Groups of targets that a rule builds; jobs read the members, the DAG need not know them.
#   in:  tables/targets.parquet, sources/<source>/fits.parquet (for lowest_auc)
#   out: groups/<group>.parquet


rule build_group:
    """Find the members of a group, once."""
    input:
        targets="<results>/tables/targets.parquet",
        above=at(plan.groups_above, "{group}"),
        fits=at(plan.group_fits, "{group}"),
    output:
        "<results>/groups/{group}.parquet",
    log:
        "<logs>/build_group/{group}.log",
    priority: 10000
    localrule: True
    params:
        group=at(plan.slices, "group/{group}"),
        code=plan.code["build_group"],
    script:
        "../scripts/build_group.py"
