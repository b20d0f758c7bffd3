"""Spend the budget of a preset: sources one after another, a submission as soon as one stands."""

from blendmake.job import job

with job(snakemake.log[0], script=snakemake):
    import signal
    import time
    from pathlib import Path

    import psutil

    from blendmake.budget.pace import Pace
    from blendmake.budget.scheduler import Scheduler
    from blendmake.budget.spending import Spending, summary
    from blendmake.durations import clock
    from blendmake.errors import BlendmakeError
    from blendmake.triage import parallelism
    from budget_shop import Shop

    def interrupted(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)
    facts = snakemake.params.facts
    began = psutil.Process(snakemake.params.process).create_time()
    Path(facts["log"]).parent.mkdir(parents=True, exist_ok=True)
    # What a start took here tells how long an end takes: an interpreter that is busy with its own exit,
    # on a machine with much else to do, was seen to need half of it.
    reserve = max(1.0, 0.5 * (time.time() - began))
    shop = Shop(facts, snakemake.params.code, began + facts["seconds"] - reserve, 0.5 * reserve)
    scheduler = Scheduler(Pace(), parallelism(facts["cores"], facts["threads"]))
    spending = Spending(
        shop,
        scheduler,
        began=began,
        end=shop.end,
        closing=min(20.0, 0.06 * facts["seconds"]),
        folds=facts["folds"],
    )
    try:
        outcome = spending.spend()
    finally:
        shop.close()
    shop.tell(summary(outcome, facts["seconds"]))
    if facts["submissions"] and outcome.handed_in is None:
        raise BlendmakeError(
            f"Nothing could be handed in within {clock(facts['seconds'])}: the tables were not read by "
            "then, nor ids and labels, which would have done for the rates of positives. Give a larger "
            "budget, or build the tables first, which no later run repeats: snakemake "
            f"{facts['prepare'][0]} (with the same --configfile). What was begun is in {facts['log']}."
        )
