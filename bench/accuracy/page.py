"""The results as a page in Markdown; pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import TypeVar

from bench.accuracy.chisquare import connections_needed, one_doubled
from bench.accuracy.run import Failed
from bench.accuracy.saved import Result
from bench.accuracy.simulated import CONSISTENT_WITH_FAIR, Simulated
from bench.accuracy.trial import Mark, Trial
from kbalance.analysis.planning import alpha_share
from kbalance.analysis.samplesize import MISSED
from kbalance.model.plan import Options
from kbalance.model.words import Profile

K = TypeVar("K")

SIGNS = {Mark.WRONG: "✗", Mark.LACKS: "◐", Mark.INCONCLUSIVE: "?", Mark.RIGHT: ""}

ALPHA = alpha_share(Profile.SHORT_LIVED, Options())
"""What a run of all profiles leaves to its fresh connections."""

_HEAD = """\
# How often kbalance is right

Each cause that leads a verdict on the dataplane that produces it, probed again and again with `kbalance probe` as users run it
(`--rate 0`, all else at its defaults unless a row says so), and its verdict beside what was arranged. Before the first probe of
each row the pods' own counts have to show that the dataplane does what the row says; one that does not is listed as not measured.

A verdict is **right** when its cause is the one that was arranged or another one that is true there as well. ✗ marks a wrong one,
◐ one that is right but lacks a finding that should stand beside it ("with"), ? one that claims nothing.
"""


def page(results: Sequence[Result], command: str, version: str) -> str:
    """The whole page."""
    trials = [r for r in results if isinstance(r, Trial)]
    parts = [
        _HEAD,
        f"Written by `{command}`, kbalance {version}.\n",
        _shares(trials),
        "## Confusion\n\nRows: what was arranged. Columns: the verdict. Number of runs; the worst rows first.\n",
        _matrix(trials),
        _DETAIL,
        _details(trials),
        "## False alarms\n",
        _alarms(trials),
        _simulated([r for r in results if isinstance(r, Simulated)]),
        _failed([r for r in results if isinstance(r, Failed)]),
    ]
    return "\n".join(part for part in parts if part)


def _shares(trials: Sequence[Trial]) -> str:
    marks = Counter(trial.mark for trial in trials)
    words = {
        Mark.WRONG: "wrong",
        Mark.LACKS: "right, but lacking a finding",
        Mark.INCONCLUSIVE: "inconclusive",
        Mark.RIGHT: "right",
    }
    rows = [[words[mark], marks[mark], _percent(marks[mark], len(trials))] for mark in Mark]
    return _table(["verdicts", "runs", "share"], [*rows, ["all", len(trials), ""]]) + "\n"


def _matrix(trials: Sequence[Trial]) -> str:
    """By cause: the first of the expected ones stands for what was arranged."""
    by_cause = _groups(trials, lambda trial: trial.expected[0])
    ordered = sorted(by_cause.items(), key=lambda item: (-_bad(item[1]), item[0]))
    wrong = Counter(trial.cause for trial in trials if trial.mark is Mark.WRONG)
    causes = sorted({trial.cause for trial in trials}, key=lambda cause: (-wrong[cause], cause))
    rows = [[_sign(group), f"`{cause}`", *(_cell(group, column) for column in causes)] for cause, group in ordered]
    return _table(["", "arranged", *(f"`{cause}`" for cause in causes)], rows) + "\n"


def _cell(group: Sequence[Trial], cause: str) -> str:
    found = [trial for trial in group if trial.cause == cause]
    return f"{len(found)}{_suffix(found)}" if found else ""


_DETAIL = f"""\
## Every arrangement

Wrong ones first. Where a row has several sizes, medians are given in their order. *Fresh* are the short-lived connections that
the test of fairness had; *fixed* is what Pearson's chi-square test, its size fixed beforehand, needs for the same errors (a fair
draw called unfair: {ALPHA:.1%}; one endpoint of double weight missed: {MISSED:.0%}).
"""


def _details(trials: Sequence[Trial]) -> str:
    rows = _groups(trials, lambda trial: (trial.scenario, trial.dataplane)).values()
    # Stable: rows that are equally bad keep the order in which they were run.
    ordered = sorted(rows, key=lambda group: (-_bad(group), -sum(trial.mark is not Mark.RIGHT for trial in group)))
    heads = ["", "arranged", "by", "pods", "runs", "verdicts", "requests", "connections", "fresh", "fixed", "seconds"]
    return _table(heads, [_detail(group) for group in ordered]) + "\n"


def _detail(group: Sequence[Trial]) -> list[object]:
    by_size = sorted(_groups(group, lambda trial: trial.pods).items())

    def medians(value: Callable[[Trial], float], digits: int = 0) -> str:
        return _joined(f"{median(value(trial) for trial in some):.{digits}f}" for _, some in by_size)

    first = group[0]
    also = sorted({cause for trial in group for cause in trial.also})
    return [
        _sign(group),
        first.scenario + (f" (with {', '.join(f'`{cause}`' for cause in also)})" if also else ""),
        first.dataplane,
        _joined(n for n, _ in by_size),
        len(group),
        "; ".join(_verdicts(group)),
        medians(lambda trial: trial.requests),
        medians(lambda trial: trial.connections),
        medians(lambda trial: trial.drawn),
        _joined(fixed(n) if n > 1 else "-" for n, _ in by_size),
        medians(lambda trial: trial.seconds, 1),
    ]


def fixed(n: int) -> int:
    """Connections of the textbook's test for n endpoints."""
    return connections_needed(one_doubled(n), ALPHA, MISSED)


def _verdicts(group: Sequence[Trial]) -> Iterator[str]:
    """The worst first, with the sizes at which a verdict came where it did not come at all of them."""
    sizes = {trial.pods for trial in group}
    worst = list(Mark)
    kinds = _groups(group, lambda trial: (trial.mark, trial.cause, _lacking(trial)))
    for (mark, cause, lacking), some in sorted(kinds.items(), key=lambda item: (worst.index(item[0][0]), -len(item[1]), item[0])):
        where = {trial.pods for trial in some}
        at = f" at {_listed(sorted(where))}" if where != sizes else ""
        without = f" without {', '.join(f'`{one}`' for one in lacking)}" if mark is Mark.LACKS else ""
        text = f"`{cause}`{without} {len(some)}{at}"
        yield f"**{SIGNS[mark]} {text}**" if mark is Mark.WRONG else f"{SIGNS[mark]} {text}".strip()


def _lacking(trial: Trial) -> tuple[str, ...]:
    return tuple(cause for cause in trial.also if cause not in trial.findings)


def _alarms(trials: Sequence[Trial]) -> str:
    fair = [trial for trial in trials if trial.fair]
    if not fair:
        return ""
    plain = [trial for trial in fair if trial.scenario == "plain"]
    words = [
        f"{len(alarms(some))} of {len(some)} real runs on {what}"
        for what, some in (("kube-proxy's plain rules", plain), ("fair draws of any kind", fair))
    ]
    details = Counter((t.scenario, t.dataplane, t.pods, t.cause) for t in alarms(fair))
    lines = [f"- {scenario}, {by}, {n} pods: `{cause}` {runs}" for (scenario, by, n, cause), runs in sorted(details.items())]
    listed = "".join(f"\n{line}" for line in lines) + ("\n" if lines else "")
    return f"A finding that says that something else than luck chose, where nothing did: {', '.join(words)}.\n{listed}"


def alarms(trials: Iterable[Trial]) -> list[Trial]:
    """Those on fair draws in which a finding speaks of a chooser that is not."""
    return [t for t in trials if t.fair and not set(t.findings) - set(t.expected) - set(t.also) <= CONSISTENT_WITH_FAIR]


def _simulated(results: Sequence[Simulated]) -> str:
    """Both errors, beside what the textbook's test takes."""
    if not results:
        return ""
    heads = ["pods", "runs of each kind", "false alarms", "missed at double weight", "fresh, fair", "fresh, double", "fixed"]
    rows = [
        [
            one.pods,
            one.runs,
            f"{one.false_alarms} ({_percent(one.false_alarms, one.runs)})",
            f"{one.missed} ({_percent(one.missed, one.runs)})",
            f"{one.fair_drawn:.0f}",
            f"{one.doubled_drawn:.0f}",
            fixed(one.pods),
        ]
        for one in sorted(results, key=lambda one: one.pods)
    ]
    options = Options()
    text = (
        "Simulated runs: plan, statistics and rules are kbalance's own, the draws come from a seeded generator. A run may raise\n"
        f"a false alarm with {options.alpha:.0%} and miss an endpoint of double weight with {MISSED:.0%}.\n"
    )
    return f"{text}\n{_table(heads, rows)}\n"


def _failed(results: Sequence[Failed]) -> str:
    if not results:
        return ""
    lines = [f"- {one.scenario}, {one.dataplane}, {one.pods} pods: {one.why}" for one in results]
    return "\n".join(["## Not measured\n", *lines, ""])


def _groups(trials: Iterable[Trial], key: Callable[[Trial], K]) -> dict[K, list[Trial]]:
    found: dict[K, list[Trial]] = {}
    for trial in trials:
        found.setdefault(key(trial), []).append(trial)
    return found


def _bad(group: Sequence[Trial]) -> float:
    """Share of wrong verdicts."""
    return sum(trial.mark is Mark.WRONG for trial in group) / len(group)


def _sign(group: Sequence[Trial]) -> str:
    marks = {trial.mark for trial in group}
    return next((SIGNS[mark] for mark in Mark if mark in marks), "")


def _suffix(group: Sequence[Trial]) -> str:
    sign = _sign(group)
    return f" {sign}" if sign else ""


def _joined(values: Iterable[object]) -> str:
    """One word if all are alike."""
    words = [str(value) for value in values]
    return words[0] if len(set(words)) == 1 else " / ".join(words)


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
