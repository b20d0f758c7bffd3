"""Print the leaderboard, and where submission and report are."""

from blendmake.job import job

with job(snakemake.log[0]):
    from pathlib import Path

    from blendmake.files import read_parquet
    from blendmake.leaderboard import leaderboard_text

    lines = [leaderboard_text(read_parquet(Path(snakemake.input.leaderboard))), ""]
    lines += [f"submission  {path}" for path in snakemake.input.submissions]
    report = Path(snakemake.params.report)
    lines += [f"report      {report}"] if report.exists() else []
    print("\n" + "\n".join(lines) + "\n", flush=True)
