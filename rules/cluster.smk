# Jobs in the queue of a cluster, those that a killed run has left among them: prints, always runs.
#   in:  the queue (squeue), marks of runs that are alive (runs.py)
#   out: the terminal


rule cancel_leftovers:
    """Cancel the jobs that a killed run of this folder has left in the queue."""
    log:
        "<logs>/cancel_leftovers.log",
    localrule: True
    script:
        "../scripts/handle_jobs.py"


rule wait_for_leftovers:
    """Wait for the jobs that a killed run of this folder has left in the queue."""
    log:
        "<logs>/wait_for_leftovers.log",
    localrule: True
    script:
        "../scripts/handle_jobs.py"


rule cancel_jobs:
    """End every run of this folder, and cancel all its jobs."""
    log:
        "<logs>/cancel_jobs.log",
    localrule: True
    script:
        "../scripts/handle_jobs.py"
