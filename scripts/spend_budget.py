"""Spend the budget of a preset: sources one after another, a submission as soon as one stands."""

from blendmake.job import job

ENDING = 0.4  # of what the start took
GRACE = 0.03  # of the budget: for the last resort, beside half of that

with job(snakemake.log[0], script=snakemake):
    import signal
    import time
    from pathlib import Path

    import psutil

    from budget_fallback import Fallback

    def interrupted(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)
    facts = snakemake.params.facts
    seconds, log = facts["seconds"], Path(facts["log"])
    began = psutil.Process(snakemake.params.process).create_time()
    # What a start took here tells how long an end takes: that of an interpreter which is busy with its
    # own exit, on a machine with much else to do.
    reserve = max(1.0, ENDING * (time.time() - began))
    log.parent.mkdir(parents=True, exist_ok=True)
    fallback = Fallback(facts, snakemake.params.code, log, began)
    fallback.look_after()  # where the start was late, before anything else is imported

    from blendmake.budget.pace import Pace
    from blendmake.budget.scheduler import Scheduler
    from blendmake.budget.spending import Spending, summary
    from blendmake.durations import clock
    from blendmake.errors import BlendmakeError
    from blendmake.triage import parallelism
    from budget_shop import Shop

    shop = Shop(facts, fallback, began + seconds - reserve, 0.5 * reserve + GRACE * seconds)
    scheduler = Scheduler(Pace(), parallelism(facts["cores"], facts["threads"]))
    spending = Spending(
        shop,
        scheduler,
        began=began,
        end=shop.end,
        closing=min(20.0, 0.06 * seconds),
        folds=facts["folds"],
    )
    try:
        outcome = spending.spend()
    finally:
        shop.close()
    if facts["submissions"] and outcome.handed_in is None:
        raise BlendmakeError(
            f"Nothing could be handed in within {clock(seconds)}: the tables were not read by "
            "then, nor ids and labels, which would have done for the rates of positives. Give a larger "
            "budget, or build the tables first, which no later run repeats: snakemake "
            f"{facts['prepare'][0]} (with the same --configfile). What was begun is in {facts['log']}."
        )
    shop.tell(summary(outcome, seconds))
