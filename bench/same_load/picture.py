"""The picture of one load: a panel for each tool, the truth as a grey area, what it shows as a line."""

import math
from xml.sax.saxutils import escape

from report import MB, by_second, percent, share, verdict

PANEL_WIDTH, PANEL_HEIGHT = 372, 84
LEFT, TOP, GAP_X, GAP_Y = 36, 66, 48, 60
COLUMNS = 2

#: Colours that people tell apart who see few (Okabe and Ito), for light and for dark pages.
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 }
.tool { font-size: 13px; font-weight: 600 }
.small { font-size: 11px; fill: #57606a }
.truth { fill: #8c959f; fill-opacity: .38 }
.grid { stroke: #8c959f; stroke-opacity: .3 }
.line { fill: none; stroke-width: 2; stroke-linejoin: round }
.own { stroke: #0072b2 }
.peer { stroke: #d55e00 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9ba5b0 }
  .own { stroke: #56b4e9 }
  .peer { stroke: #e69f00 }
}
"""


def draw(load, columns, truth, span):
    """An SVG of all columns of one load."""
    seconds = by_second(truth, span)
    shown = [rate for column in columns for rate in column.rates.values() if rate is not None]
    top = max(math.ceil(max([*shown, *seconds]) / (50 * MB)) * 50, 50)
    width = LEFT + COLUMNS * PANEL_WIDTH + (COLUMNS - 1) * GAP_X + 14
    rows = math.ceil(len(columns) / COLUMNS)
    height = TOP + rows * (PANEL_HEIGHT + GAP_Y) - GAP_Y + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img" aria-label="What each tool shows of one load, second by second">',
        f"<style>{STYLE}</style>",
        text(LEFT, 20, "title", "MB written per second: what each tool shows (line) and the truth (grey)"),
    ]
    for number, column in enumerate(columns):
        x = LEFT + number % COLUMNS * (PANEL_WIDTH + GAP_X)
        y = TOP + number // COLUMNS * (PANEL_HEIGHT + GAP_Y)
        error = percent(column.total / truth.total() - 1)
        words = f"{verdict(column, truth.total(), load)}; total {error}, worst second {share(column.worst)}"
        parts += panel(x, y, column, words, seconds, top)
    return "\n".join([*parts, "</svg>"]) + "\n"


def panel(x, y, column, words, seconds, top):
    """One tool: head, grid, truth, line."""
    at_x = lambda second: x + PANEL_WIDTH * second / len(seconds)
    at_y = lambda rate: y + PANEL_HEIGHT * (1 - rate / MB / top)
    yield text(x, y - 20, "tool", column.name)
    yield text(x, y - 6, "small", words)
    for level in range(0, top + 1, 50):
        yield f'<path class="grid" d="M{x} {at_y(level * MB):.1f}h{PANEL_WIDTH}"/>'
        yield text(x - 6, at_y(level * MB) + 4, "small", str(level), "end")
    for second in range(0, len(seconds) + 1, 5):
        yield text(at_x(second), y + PANEL_HEIGHT + 14, "small", f"{second} s", "middle")
    area = steps([*enumerate(seconds)], at_x, at_y)
    yield f'<path class="truth" d="{area}V{at_y(0):.1f}H{x}Z"/>'
    rates = [(second, column.rates.get(second)) for second in range(len(seconds))]
    kind = "own" if column.is_own else "peer"
    yield f'<path class="line {kind}" d="{steps(rates, at_x, at_y)}"/>'


def steps(rates, at_x, at_y):
    """A stair: each second at its height, with a gap where the height is unknown."""
    path, begins = "", True
    for second, rate in rates:
        if rate is not None:
            path += f"{'M' if begins else 'L'}{at_x(second):.1f} {at_y(rate):.1f}H{at_x(second + 1):.1f}"
        begins = rate is None
    return path


def text(x, y, kind, words, anchor="start"):
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
