"""A budget: what is begun, what is given up, what is handed in, on a pretend machine and its clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blendmake.budget.pace import Pace
from blendmake.budget.scheduler import Candidate, Choice, Running, Scheduler
from blendmake.budget.spending import Outcome, Spending, summary
from blendmake.errors import BlendmakeError

FOLDS = 5
CORES = 2.0
BLEND = 3.0  # seconds of a blend and its submission on the pretend machine
READ = 5.0  # seconds until the tables stand
BEST = "champion"


@dataclass
class Clock:
    now: float = 0.0


@dataclass
class Pretended:
    """Work that takes so many seconds and has an effect when it is over."""

    clock: Clock
    seconds: float
    status: int = 0
    stopped: bool = False
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock.now

    def ended(self) -> int | None:
        if self.stopped:
            return 1
        return self.status if self.clock.now >= self.began + self.seconds else None

    def stop(self) -> None:
        self.stopped = True


@dataclass
class PretendShop:
    """A machine on which fits take `slower` times what rules of thumb say, by source.

    Attributes:
        gain: what a source adds to the macro AUC of the blend.
        alone: the macro AUC of a source by itself, where it is to have one.
        fine: whether fits are small enough to be seen one by one; else only whole folds are.
        read: seconds until the tables stand.
        crowded: what the machine says of its other users.
        grounds: seconds of what a source reads beside the tables.
        submits: whether there is a last resort.
    """

    sources: list[Candidate]
    slower: Mapping[str, float]
    gain: Mapping[str, float] = field(default_factory=dict)
    alone: Mapping[str, float] = field(default_factory=dict)
    fails: Sequence[str] = ()
    fine: bool = False
    tables: int = 0
    read: float = READ
    crowded: float = 1.0
    grounds: Mapping[str, float] = field(default_factory=dict)
    submits: bool = True
    looked: list[float] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)
    grounded: list[str] = field(default_factory=list)
    dropped: dict[str, float] = field(default_factory=dict)
    begun: list[tuple[str, float]] = field(default_factory=list)
    handed_in: list[str | None] = field(default_factory=list)
    works: dict[str, tuple[Pretended, float]] = field(default_factory=dict)
    whole: list[str] = field(default_factory=list)
    blends: dict[str, Pretended] = field(default_factory=dict)
    members: dict[str, list[str]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    started: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.clock.now

    def sleep(self, seconds: float) -> None:
        self.clock.now += seconds

    def tell(self, text: str) -> None:
        self.told.append(text)

    def _work(self, seconds: float, status: int = 0) -> Pretended:
        self.started.append(self.clock.now)
        return Pretended(self.clock, seconds, status)

    def prepare(self) -> Pretended:
        return self._work(self.read, self.tables)

    def ground_of(self, source: str) -> Pretended | None:
        if source not in self.grounds or source in self.grounded:
            return None
        self.grounded.append(source)
        return self._work(self.grounds[source])

    def crowding(self) -> float:
        return self.crowded

    def look_after(self) -> None:
        self.looked.append(self.clock.now)

    def last_resort(self) -> str:
        folds = max([0.0, *self.dropped.values()])
        return f"{folds:.0%} of the folds" if folds else "the prior"

    def candidates(self) -> list[Candidate]:
        return [one for one in self.sources if not self.is_whole(one.name)]

    def standing(self) -> list[str]:
        return list(self.whole)

    def fit(self, choice: Choice | None, whole: Sequence[str]) -> Pretended:
        name = self.blend_of(whole)
        self.members[name] = list(whole)
        if choice is None:
            self.blends[name] = self._work(BLEND)
            return self.blends[name]
        source = choice.candidate.name
        fits = self.slower[source] * choice.candidate.guess(choice.share) / CORES
        self.begun.append((source, choice.share))
        failed = source in self.fails
        work = self._work((1.0 if failed else fits) + BLEND, int(failed))
        self.works[source] = (work, fits)
        self.blends[name] = work
        return work

    def drop(self, source: str, whole: Sequence[str]) -> None:
        self.dropped[source] = self.progress(source)
        self.works.pop(source)
        self.blends.pop(self.blend_of(whole))

    def progress(self, source: str) -> float:
        if source not in self.works:
            return 0.0
        work, fits = self.works[source]
        share = min(1.0, (self.clock.now - work.began) / fits)
        waves = -(-FOLDS // int(CORES))
        return share if self.fine else min(1.0, int(share * waves) / waves)

    def is_whole(self, source: str) -> bool:
        if source in self.whole:
            return True
        if source not in self.works or source in self.fails or self.works[source][0].stopped:
            return False
        work, fits = self.works[source]
        return self.clock.now >= work.began + fits

    def blend_of(self, whole: Sequence[str]) -> str:
        return whole[0] if len(whole) == 1 else f"best_of_{len(whole)}"

    def champion(self) -> str:
        return BEST

    def measure(self) -> str:
        return "macro AUC"

    def score(self, artifact: str) -> float | None:
        if artifact in self.alone:
            return self.alone[artifact] if self.is_whole(artifact) else None
        work = self.blends.get(artifact)
        if work is None or work.stopped or work.ended() is None:
            return None
        return 0.7 + sum(self.gain.get(name, 0.01) for name in self.members[artifact])

    def crown(self, whole: Sequence[str]) -> Pretended:
        self.members[BEST] = list(whole)
        self.blends[BEST] = self._work(2 * BLEND)
        return self.blends[BEST]

    def finish(self, left: dict[str, str], wholly: bool) -> Pretended:
        return self._work(BLEND)

    def hand_in(self, artifact: str | None) -> str | None:
        if artifact is None and not self.submits:
            return None
        if artifact in self.blends and self.blends[artifact].ended() is None:
            return None
        self.handed_in.append(artifact)
        return f"{artifact}.csv"

    def error(self) -> str:
        return "it is broken"


def source(name: str, seconds: float, family: str = "", **bounds: float) -> Candidate:
    """A source of so many seconds by a rule of thumb, one fit after another."""
    return Candidate(name, family or name, 0.2 * seconds, 0.8 * seconds, **bounds)


LADDER = [
    source("vector", 60, "vector", least=0.15, most=3.0),
    source("logistic", 30),
    source("lightgbm", 120, least=0.15, most=2.0),
    source("mlp", 200, least=0.35),
    source("forest", 40, least=0.15, most=2.0),
]


def spend(
    seconds: float, slower: float | Mapping[str, float] = 1.0, **shop: object
) -> tuple[Outcome, PretendShop, Spending]:
    ladder = shop.pop("sources", LADDER)
    assert isinstance(ladder, list)
    by_name = slower if isinstance(slower, Mapping) else {c.name: slower for c in ladder}
    pretended = PretendShop(ladder, {c.name: by_name.get(c.name, 1.0) for c in ladder}, **shop)  # type: ignore[arg-type]
    scheduler = Scheduler(Pace(), CORES)
    spending = Spending(
        pretended,
        scheduler,
        began=0.0,
        end=seconds - 1,
        closing=min(20.0, 0.06 * seconds),
        folds=FOLDS,
    )
    return spending.spend(), pretended, spending


# A whole budget


@pytest.mark.parametrize("seconds", [60, 200, 600])
@pytest.mark.parametrize("slower", [0.1, 0.5, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("fine", [False, True])
def test_however_wrong_the_rule_of_thumb_is_something_is_handed_in_on_time(
    seconds: float, slower: float, fine: bool
) -> None:
    outcome, shop, _ = spend(seconds, slower, fine=fine)
    assert shop.clock.now <= seconds
    assert outcome.handed_in is not None
    assert max(shop.started) <= seconds - 1  # no job begins after the end
    if slower <= 3:
        assert outcome.whole and outcome.of is not None
    if seconds == 600:
        assert len(outcome.whole) >= (2 if slower == 10 else 4) or shop.clock.now > 0.9 * seconds


def test_a_first_prediction_ten_times_too_small_is_put_right_and_a_cheaper_one_has_its_place() -> (
    None
):
    outcome, shop, spending = spend(100, {"vector": 10.0, "mlp": 10.0}, fine=False)
    assert shop.begun[0][0] == "vector"
    assert "vector" not in outcome.whole or shop.begun[1][0] == "vector"
    assert outcome.whole and outcome.handed_in
    assert spending.scheduler.pace.seconds("vector", 1.0) > 3


def test_a_first_prediction_ten_times_too_large_leaves_no_time_unused() -> None:
    outcome, _, _ = spend(60, 0.1)
    assert len(outcome.whole) == len(LADDER)
    # What is long by the rule of thumb was begun all the same, once one was measured.
    assert "mlp" in outcome.whole


def test_time_is_used_while_a_further_source_helps() -> None:
    many = [source(f"s{i}", 30, "one", least=0.15) for i in range(60)]
    gains = {one.name: 0.001 for one in many}
    outcome, shop, _ = spend(300, sources=many, gain=gains)
    assert shop.clock.now >= 0.9 * 300
    assert outcome.left and all("needs about" in reason for reason in outcome.left.values())
    # … and not while none does.
    outcome, shop, _ = spend(300, sources=many, gain={one.name: 0.0 for one in many})
    assert len(outcome.whole) == 3 and shop.clock.now < 100
    assert set(outcome.left.values()) == {"other sources of its family (one) brought nothing"}


def test_when_two_of_a_family_have_brought_nothing_other_families_have_their_turn() -> None:
    ladder = [source(f"{family}{i}", 10, family) for family in "abc" for i in range(5)]
    gains = {one.name: 0.002 if one.family == "c" else 0.0 for one in ladder}
    outcome, _, _ = spend(600, sources=ladder, gain=gains)
    # The first of all has nothing to be compared with.
    assert outcome.whole == ["a0", "a1", "a2", "b0", "b1", "c0", "c1", "c2", "c3", "c4"]
    assert outcome.left["b4"] == "other sources of its family (b) brought nothing"


def test_as_soon_as_one_source_stands_it_is_handed_in_and_each_further_one_improves_it() -> None:
    outcome, shop, _ = spend(600)
    assert shop.handed_in[0] == outcome.whole[0]
    assert shop.handed_in[1:4] == ["best_of_2", "best_of_3", "best_of_4"]
    assert outcome.of == BEST


def test_a_source_that_is_above_all_blends_is_handed_in() -> None:
    outcome, shop, _ = spend(600, alone={"logistic": 0.99})
    assert "logistic" in outcome.whole
    assert outcome.of == "logistic" == shop.handed_in[-1]


def test_where_no_source_can_end_the_last_resort_is_handed_in_and_named() -> None:
    outcome, shop, _ = spend(30, 100.0)
    assert shop.handed_in == [None] and outcome.of is None and outcome.whole == []
    assert shop.clock.now <= 30
    line = summary(outcome, 30)
    assert "LAST RESORT" in line and "vector (" in line and "\n" not in line


@pytest.mark.parametrize("seconds", [60, 200])
def test_tables_that_do_not_end_are_stopped_and_the_last_resort_handed_in(seconds: float) -> None:
    outcome, shop, _ = spend(seconds, read=10_000)
    assert 0.9 * seconds < shop.clock.now <= seconds
    assert shop.begun == [] and shop.handed_in == [None] and len(shop.started) == 1
    assert outcome.left == {"all sources": "tables and folds were not whole in time"}
    assert "LAST RESORT handed in, the prior, as no source" in summary(outcome, seconds)


def test_no_run_is_begun_where_the_start_has_taken_all_the_time() -> None:
    shop = PretendShop(LADDER, dict.fromkeys((one.name for one in LADDER), 1.0))
    shop.clock.now = 50.0
    spending = Spending(shop, Scheduler(Pace(), CORES), began=0, end=45, closing=4, folds=FOLDS)
    outcome = spending.spend()
    assert shop.started == [] and shop.handed_in == [None] and shop.clock.now == 50.0
    assert outcome.last_resort == "the prior"


def test_where_there_is_no_last_resort_either_nothing_is_said_to_be_handed_in() -> None:
    outcome, _, _ = spend(60, read=10_000, submits=False)
    assert outcome.handed_in is None and outcome.of is None


def test_the_last_resort_is_looked_after_from_the_beginning_to_the_end() -> None:
    for shop in (spend(60, read=10_000)[1], spend(200)[1]):
        gaps = [
            b - a for a, b in zip([0.0, *shop.looked], [*shop.looked, shop.clock.now], strict=True)
        ]
        assert max(gaps) <= 0.5


def test_where_nothing_would_end_the_source_under_way_has_all_the_time_for_its_folds() -> None:
    only = [source("vector", 60, "vector", least=0.15, most=3.0)]
    outcome, shop, spending = spend(100, 10.0, sources=only, fine=True)
    assert outcome.whole == [] and outcome.of is None
    # It is stopped at the end, and not when it was seen that it would not end.
    assert shop.clock.now >= 100 - 1 - 0.05 * 100 - spending.blending
    assert shop.dropped["vector"] > 0.1 and "of the folds" in outcome.last_resort


def test_one_that_would_not_end_is_stopped_at_once_for_one_that_does() -> None:
    two = [source("dear", 60, "dear"), source("cheap", 10, "cheap")]
    outcome, shop, _ = spend(120, {"dear": 8.0, "cheap": 1.0}, sources=two, fine=True)
    assert [name for name, _ in shop.begun] == ["dear", "cheap"] and outcome.whole == ["cheap"]


def test_on_a_crowded_machine_the_first_source_is_one_that_surely_ends() -> None:
    ladder = [source("vector", 60, "vector", least=0.15, most=3.0), source("logistic", 10)]
    _, alone, _ = spend(200, sources=ladder)
    assert alone.begun[0] == ("vector", 1.0)
    outcome, crowded, _ = spend(200, 6.0, sources=ladder, crowded=6.0)
    assert crowded.begun[0][0] == "logistic" and outcome.whole[0] == "logistic"
    assert crowded.dropped == {}


def test_seeds_that_nobody_has_asked_for_are_not_what_is_left_out() -> None:
    ladder = [source("a", 10, "a"), replace(source("a_2", 10_000, "a"), further=True)]
    outcome, _, _ = spend(100, sources=ladder)
    assert outcome.whole == ["a"] and outcome.left == {}


def test_what_a_source_reads_beside_the_tables_is_made_when_it_is_its_turn() -> None:
    outcome, shop, _ = spend(600, grounds={"mlp": 20.0})
    assert shop.grounded == ["mlp"] and "mlp" in outcome.whole
    assert [name for name, _ in shop.begun][:3] == ["vector", "logistic", "lightgbm"]


def test_what_a_source_reads_and_is_not_whole_in_time_leaves_it_out_alone() -> None:
    outcome, shop, _ = spend(200, grounds={"logistic": 10_000.0})
    assert shop.clock.now <= 200 and "logistic" not in outcome.whole
    assert outcome.left["logistic"] == "what it reads is not whole in time"
    assert outcome.of is not None


def test_of_what_is_no_submission_yet_at_the_end_the_next_best_stays_in_place() -> None:
    ladder = [source("a", 10, "a"), source("b", 10, "b")]
    pretended = PretendShop(ladder, {"a": 1.0, "b": 1.0})
    spending = Spending(
        pretended, Scheduler(Pace(), CORES), began=0, end=60, closing=4, folds=FOLDS
    )
    spending.outcome.whole = ["a", "b"]
    pretended.whole, pretended.alone = ["a", "b"], {"a": 0.8, "b": 0.7}
    pretended.blends["a"] = Pretended(pretended.clock, 1e9)
    spending._hand_in()
    assert spending.outcome.of == "b" and spending.outcome.handed_in == "b.csv"


def test_a_source_that_fails_is_told_and_the_others_go_on() -> None:
    outcome, _, _ = spend(600, fails=["logistic"])
    assert "logistic" not in outcome.whole and len(outcome.whole) == len(LADDER) - 1
    assert outcome.left["logistic"] == "failed: it is broken"
    assert "logistic (failed: it is broken)" in summary(outcome, 600)


def test_tables_that_cannot_be_read_are_an_error() -> None:
    with pytest.raises(BlendmakeError, match="it is broken"):
        spend(60, tables=1)


def test_a_run_that_goes_on_begins_with_what_stands() -> None:
    outcome, shop, _ = spend(200, whole=["vector"])
    assert outcome.whole[0] == "vector"
    assert "vector" not in [name for name, _ in shop.begun]
    assert shop.handed_in[0] == "vector"


@settings(max_examples=60, deadline=None)
@given(
    st.floats(30, 2000),
    st.lists(st.tuples(st.floats(1, 5000), st.floats(0.05, 20)), min_size=1, max_size=8),
    st.booleans(),
    st.floats(1, 3000),
    st.dictionaries(st.sampled_from([f"s{i}" for i in range(8)]), st.floats(1, 2000)),
    st.floats(1, 20),
)
def test_a_budget_is_never_overdrawn(
    seconds: float,
    costs: list[tuple[float, float]],
    fine: bool,
    read: float,
    grounds: dict[str, float],
    crowded: float,
) -> None:
    ladder = [source(f"s{i}", cost, least=0.15, most=3.0) for i, (cost, _) in enumerate(costs)]
    slower = {f"s{i}": factor for i, (_, factor) in enumerate(costs)}
    outcome, shop, _ = spend(
        seconds,
        slower,
        sources=ladder,
        fine=fine,
        read=read,
        grounds=grounds,
        crowded=crowded,
    )
    assert shop.clock.now <= seconds and outcome.handed_in is not None
    assert max(shop.started) <= seconds - 1
    if "all sources" in outcome.left:
        assert shop.begun == []
        return
    assert set(outcome.left) | set(outcome.whole) == {one.name for one in ladder}
    assert not set(outcome.left) & set(outcome.whole)


# What is begun


def scheduler(pace: Pace | None = None) -> Scheduler:
    return Scheduler(pace or Pace(), 1.0, beside=2.0)


def test_what_does_not_fit_is_passed_over_before_it_begins() -> None:
    choice = scheduler().choose(60, [source("dear", 500), source("cheap", 20)], True)
    assert choice is not None and choice.candidate.name == "cheap"
    assert scheduler().choose(60, [source("dear", 500)], True) is None


def test_rounds_grow_with_the_time_left_and_shrink_with_it() -> None:
    one = source("vector", 60, least=0.15, most=3.0)
    shares = []
    for left in (10_000, 700, 200, 70, 50, 20, 3):
        choice = scheduler().choose(left, [one], False)
        shares.append(choice.share if choice else None)
    assert shares[0] == 3.0 and shares[2] == 1.0
    given_ = [share for share in shares if share is not None]
    assert given_ == sorted(given_, reverse=True) and given_[-1] == 0.15
    # One that ends with all its rounds goes before one that would have to be cut.
    cheap = source("cheap", 15)
    choice = scheduler().choose(30, [one, cheap], True)
    assert choice is not None and choice.candidate.name == "cheap"


def test_seeds_without_end_have_their_turn_when_no_other_ends_in_time() -> None:
    more = replace(source("vector_2", 10, "vector"), further=True)
    ladder = [source("dear", 300, least=0.15), more]
    for left, chosen in ((600, ("dear", 1.0)), (200, ("dear", 0.35)), (50, ("vector_2", 1.0))):
        choice = scheduler().choose(left, ladder, True)
        assert choice is not None and (choice.candidate.name, choice.share) == chosen
    assert scheduler().choose(10, ladder, True) is None


def test_time_that_nothing_surely_fits_into_goes_to_what_might_end_in_it() -> None:
    two = [source("dear", 500), source("cheap", 40)]
    safe = scheduler().seconds(two[1], 1.0)
    for left, name in ((0.9 * safe, "cheap"), (0.8 * safe, None)):
        choice = scheduler().choose(left, two, True)
        assert (choice and choice.candidate.name) == name


def test_rounds_that_cost_next_to_nothing_are_not_cut() -> None:
    fixed = Candidate("logistic", "linear", 20.0, 1.0, least=0.5)
    assert fixed.fewest == 1.0
    for left in (100, 40, 20, 10):
        choice = scheduler().choose(left, [fixed], False)
        assert choice is not None and choice.share == 1.0
    assert source("vector", 60, least=0.15).fewest == 0.15


def test_what_is_partly_done_keeps_its_rounds_and_costs_what_is_missing() -> None:
    half = replace(source("vector", 60, least=0.15, most=3.0), done=0.5)
    choice = scheduler().choose(10_000, [half], False)
    assert choice is not None and choice.share == 1.0
    assert choice.seconds < scheduler().seconds(source("vector", 60), 1.0)


# Pace


def test_what_was_measured_counts_more_than_the_rule_of_thumb() -> None:
    crowded = Pace(crowding=3.0)
    assert crowded.seconds("mlp", 10) == pytest.approx(3 * Pace().seconds("mlp", 10))
    crowded.note("mlp", 10, 100)  # and that was seen among the others too
    assert crowded.seconds("mlp", 10) == pytest.approx(110)
    pace = Pace()
    assert not pace.is_measured
    first = pace.seconds("mlp", 10)
    pace.note("vector", 10, 100)
    assert pace.seconds("vector", 10) == pytest.approx(110)
    assert pace.seconds("mlp", 10) > 9 * first
    pace.note("vector", 10, 5)
    assert pace.seconds("vector", 10) == pytest.approx(5.5)
    pace.note_at_least("vector", 10, 3)
    assert pace.seconds("vector", 10) == pytest.approx(5.5)
    pace.note_at_least("vector", 10, 30)
    assert pace.seconds("vector", 10) == pytest.approx(33)


# A source under way


def running(folds: int = 5, side_by_side: float = 2) -> Running:
    one = source("vector", 60)
    return Running(Choice(one, 1.0, 30.0), 100.0, folds, side_by_side)


def test_how_long_it_takes_is_told_by_what_it_has_done() -> None:
    under_way = running()
    assert under_way.expected(104) == 4 * 3  # three jobs one after another, none of them over
    after = under_way.seen(0.4, 110)
    assert after.expected(111) == pytest.approx(25)
    assert after.expected(140) == 40
    assert after.seen(0.4, 120) is after
    # The first fit of a job comes after much that is done once: it is no pace.
    small = under_way.seen(0.01, 108).seen(0.02, 108.5)
    assert small.expected(109) == pytest.approx(8.5 + 0.98 * 50)


def test_it_is_given_up_when_it_would_not_end_and_not_before() -> None:
    plan = scheduler()
    assert not plan.gives_up(running(), 104, 130)
    assert plan.gives_up(running(), 125, 130)
    assert plan.gives_up(running().seen(0.99, 129), 130, 130)
    almost = running().seen(0.8, 124)
    assert not plan.gives_up(almost, 125, 131) and plan.gives_up(almost, 125, 127)
