# Audits: which columns carry signal, and what is the matter with them; one job per (audit, fold).
#   in:  tables/, features/<set>/, folds.parquet, inner.parquet
#   out: audits/<audit>/fold<k>/{features,columns,drop}.parquet,
#        audits/<audit>/{features,columns}.parquet, {keep,drop}.txt, report/audits/<audit>/*.svg


rule audit_fold:
    """Audit the columns of a feature set on one fold; finished targets are kept in scratch."""
    input:
        train="<results>/tables/train.arrow",
        test="<results>/tables/test.arrow",
        columns=at(plan.audit_files, "{audit}/columns"),
        made_train=at(plan.audit_files, "{audit}/train"),
        made_test=at(plan.audit_files, "{audit}/test"),
        targets="<results>/tables/targets.parquet",
        folds="<results>/folds.parquet",
        inner="<results>/inner.parquet",
    output:
        features="<results>/audits/{audit}/fold{fold}/features.parquet",
        columns="<results>/audits/{audit}/fold{fold}/columns.parquet",
    log:
        "<logs>/audit_fold/{audit}/fold{fold}.log",
    benchmark:
        "<benchmarks>/audit_fold/{audit}/fold{fold}.tsv"
    priority: at(plan.priorities, "{audit}")
    threads: plan.threads_of_fit
    resources:
        mem_mb=plan.audit_memory,
        runtime=plan.audit_minutes,
    params:
        audit=at(plan.slices, "audits/{audit}"),
        code=plan.code["audit_fold"],
        scratch=f"{plan.scratch}/audits/{{audit}}/fold{{fold}}",
    script:
        "../scripts/audit_fold.py"


rule judge_audit:
    """List what one fold's audit would drop, for that fold's own models."""
    input:
        features="<results>/audits/{audit}/fold{fold}/features.parquet",
        columns="<results>/audits/{audit}/fold{fold}/columns.parquet",
    output:
        "<results>/audits/{audit}/fold{fold}/drop.parquet",
    log:
        "<logs>/judge_audit/{audit}/fold{fold}.log",
    priority: 10000
    localrule: True
    params:
        verdict=at(plan.slices, "audit_verdicts/{audit}"),
        code=plan.code["judge_audit"],
    script:
        "../scripts/judge_audit.py"


rule assemble_audit:
    """Put an audit together from its folds."""
    input:
        features=expand(
            "<results>/audits/{{audit}}/fold{fold}/features.parquet", fold=plan.folds
        ),
        columns=expand(
            "<results>/audits/{{audit}}/fold{fold}/columns.parquet", fold=plan.folds
        ),
        listed=at(plan.audit_files, "{audit}/columns"),
    output:
        features="<results>/audits/{audit}/features.parquet",
        columns="<results>/audits/{audit}/columns.parquet",
        keep="<results>/audits/{audit}/keep.txt",
        drop="<results>/audits/{audit}/drop.txt",
        lists=expand(
            "<results>/audits/{{audit}}/{file}_{list}.txt",
            file=plan.audit_lists,
            list=["keep", "drop"],
        ),
    log:
        "<logs>/assemble_audit/{audit}.log",
    localrule: True
    params:
        verdict=at(plan.slices, "audit_verdicts/{audit}"),
        code=plan.code["assemble_audit"],
        scratch=f"{plan.scratch}/audits/{{audit}}",
    script:
        "../scripts/assemble_audit.py"


rule draw_audit:
    """Draw what one audit found."""
    input:
        folds=expand(
            "<results>/audits/{{audit}}/fold{fold}/features.parquet", fold=plan.folds
        ),
        features="<results>/audits/{audit}/features.parquet",
        columns="<results>/audits/{audit}/columns.parquet",
    output:
        effects=report(
            "<results>/report/audits/{audit}/effects.svg",
            caption="report/audit.rst",
            category="Audits",
            labels={"figure": "columns of highest effect", "audit": "{audit}"},
        ),
        targets=report(
            "<results>/report/audits/{audit}/targets.svg",
            caption="report/audit.rst",
            category="Audits",
            labels={"figure": "effect by target", "audit": "{audit}"},
        ),
        drift=report(
            "<results>/report/audits/{audit}/drift.svg",
            caption="report/audit.rst",
            category="Audits",
            labels={"figure": "test against train", "audit": "{audit}"},
        ),
    log:
        "<logs>/draw_audit/{audit}.log",
    localrule: True
    params:
        code=plan.code["draw_audit"],
    script:
        "../scripts/draw_audit.py"
