# Tables: the user's files, read, checked and typed.
#   in:  the files named in the config's data section
#   out: tables/{train,test}.arrow, columns.parquet, targets.parquet, groups.parquet, test_targets.parquet


if plan.adapter_files:

    rule write_data:
        """Write the files of a built-in data set."""
        output:
            plan.adapter_files,
        log:
            "<logs>/write_data.log",
        params:
            adapter=f"blendmake.adapters.{plan.problem.data.adapter}",
            options=plan.slices["adapter"],
            code=plan.code["write_data"],
        script:
            "../scripts/write_data.py"


rule read_tables:
    """Read the feature files of train and test: checked, joined by id, float32."""
    input:
        train=plan.own(plan.data.train.values()),
        test=plan.own(plan.test_tables),
    output:
        train="<results>/tables/train.arrow",
        test="<results>/tables/test.arrow",
        columns="<results>/tables/columns.parquet",
    log:
        "<logs>/read_tables.log",
    benchmark:
        "<benchmarks>/read_tables.tsv"
    resources:
        mem_mb=plan.table_memory,
        runtime=plan.table_minutes,
    params:
        data=plan.slices["tables"],
        places=plan.places(plan.table_files),
        sizes=plan.sizes(plan.table_files, "tables/columns.parquet"),
        code=plan.code["read_tables"],
    script:
        "../scripts/read_tables.py"


rule read_targets:
    """Read the labels of the train rows."""
    input:
        table="<results>/tables/train.arrow",
        columns="<results>/tables/columns.parquet",
        targets=plan.own(plan.targets_file),
    output:
        "<results>/tables/targets.parquet",
    log:
        "<logs>/read_targets.log",
    localrule: True
    params:
        data=plan.slices["targets"],
        places=plan.places([plan.targets_file]),
        sizes=plan.sizes([plan.targets_file], "tables/targets.parquet"),
        code=plan.code["read_targets"],
    script:
        "../scripts/read_targets.py"


if plan.has_test_targets:

    rule read_test_targets:
        """Read the labels of the test rows, where they are known."""
        input:
            table="<results>/tables/test.arrow",
            columns="<results>/tables/columns.parquet",
            targets=plan.own(plan.data.test_targets),
            known=["<results>/tables/targets.parquet"],
        output:
            "<results>/tables/test_targets.parquet",
        log:
            "<logs>/read_test_targets.log",
        localrule: True
        params:
            data=plan.slices["targets"],
            places=plan.places([plan.data.test_targets]),
            sizes=plan.sizes([plan.data.test_targets], "tables/test_targets.parquet"),
            code=plan.code["read_targets"],
        script:
            "../scripts/read_targets.py"


if plan.has_groups:

    rule read_groups:
        """Read the group of each train row."""
        input:
            table="<results>/tables/train.arrow",
            columns="<results>/tables/columns.parquet",
            groups=plan.own(plan.groups_file),
        output:
            "<results>/tables/groups.parquet",
        log:
            "<logs>/read_groups.log",
        localrule: True
        params:
            data=plan.slices["groups"],
            places=plan.places([plan.groups_file]),
            sizes=plan.sizes([plan.groups_file], "tables/groups.parquet"),
            code=plan.code["read_groups"],
        script:
            "../scripts/read_groups.py"
