"""Print the leaderboard, and where submission and report are."""

from blendmake.job import job

with job(snakemake.log[0]):
    from pathlib import Path

    from blendmake.files import read_parquet
    from blendmake.reports.board_text import leaderboard_text
    from blendmake.reports.doubts import doubt_lines
    from blendmake.submission import what_it_holds

    lines = [f"problem {snakemake.params.problem}", ""]
    leaderboard = read_parquet(Path(snakemake.input.leaderboard))
    lines += [leaderboard_text(leaderboard), *doubt_lines(leaderboard), ""]
    for kind, paths in snakemake.params.files.items():
        for path in filter(Path.exists, map(Path, paths)):
            lines.append(f"{kind:<11} {path}{what_it_holds(path)}")
    print("\n" + "\n".join(lines) + "\n", flush=True)
