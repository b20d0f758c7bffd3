# Campaigns: ordered lists of artifacts; `snakemake campaign_<name>` builds one and writes its manifest.
#   in:  the files of its artifacts
#   out: campaigns/<name>.json, also when something failed (Plan.close)


for campaign in plan.campaigns:

    rule:
        name:
            f"campaign_{campaign}"
        input:
            plan.campaign_files(campaign),
        log:
            f"<logs>/campaign/{campaign}.log",
        localrule: True
        params:
            campaign=campaign,
            artifacts=plan.campaign_items(campaign),
            left=plan.campaign_left(campaign),
            manifest=plan.manifest_file(campaign),
            copies=str(plan.copies),
        script:
            "../scripts/write_manifest.py"
