"""What a report means for whoever asked for a yes or a no: the one place that the exit code and the test report stand on."""

from kbalance.analysis.rules import NOT_MEASURED
from kbalance.model.report import Finding, Report, Threshold
from kbalance.model.words import Confidence, FailOn, Severity

_FAILING = {
    FailOn.PROBLEM: frozenset({Severity.PROBLEM}),
    FailOn.RISK: frozenset({Severity.PROBLEM, Severity.RISK}),
    FailOn.NEVER: frozenset[Severity](),
}


def measured(report: Report) -> bool:
    """Whether there is a verdict at all."""
    return report.diagnosis.cause not in NOT_MEASURED


def unaccepted(report: Report) -> tuple[Finding, ...]:
    """The findings that fail the check; what is merely possible does not, unless it is the verdict."""
    return tuple(
        finding
        for finding in report.diagnosis.findings
        if finding.severity in _FAILING[report.fail_on]
        and (finding.confidence is not Confidence.POSSIBLE or finding.cause == report.diagnosis.cause)
    )


def missed(report: Report) -> tuple[Threshold, ...]:
    """The thresholds that do not hold."""
    return tuple(threshold for threshold in report.thresholds if not threshold.passed)
