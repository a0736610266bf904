"""Format metrics and tables as text."""

from collections.abc import Sequence

from processing.manifest import Estimate


def align(rows: Sequence[Sequence[str]]) -> str:
    """Format rows of cells as lines of text with right-aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def render_estimate(estimate: Estimate) -> str:
    """Format a metric with its interval."""
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
