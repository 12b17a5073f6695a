"""``kbalance explain``"""

from __future__ import annotations

import click


@click.command(short_help="What a finding means, how it was told apart, how to fix it.")
@click.argument("cause", required=False)
@click.option("--list", "list_causes", is_flag=True, help="Show all causes and leave.")
def explain(cause: str | None, list_causes: bool) -> int:
    """Explain CAUSE, a word that stands in a report's diagnosis.

    \b
    Examples:
      kbalance explain --list
      kbalance explain connection-pinning
    """
    from kbalance.analysis.rules import RULES
    from kbalance.errors import TargetError

    if list_causes or cause is None:
        width = max(len(rule.id) for rule in RULES)
        for rule in RULES:
            click.echo(f"{rule.id:<{width}}  {rule.severity:<7}  {rule.title}")
        return 0
    known = {rule.id: rule for rule in RULES}
    if cause not in known:
        raise TargetError(f"There is no cause {cause!r}; `kbalance explain --list` shows them.")
    rule = known[cause]
    for heading, text in (
        (f"{rule.id} ({rule.severity})", rule.title),
        ("How it is told apart", rule.told_apart),
        ("What to do", rule.fix),
    ):
        click.echo(click.style(heading, bold=True))
        click.echo(click.wrap_text(text, width=96, initial_indent="  ", subsequent_indent="  ") + "\n")
    return 0
