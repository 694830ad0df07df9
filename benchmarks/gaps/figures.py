"""Heat maps and curves of what was measured, as PNG files."""

from pathlib import Path
from typing import Any

import numpy as np


def draw(result: dict[str, Any], folder: Path) -> list[Path]:
    """Handlers by pattern, losses in training by losses at test, and curves of corruption."""
    drawn = []
    if "clinic" in result:
        clinic = result["clinic"]
        drawn = [
            _patterns(clinic, folder / "incomplete_patterns.png"),
            _grids(clinic["grid"], folder / "incomplete_grid.png"),
            _curves(clinic["corruptions"], folder / "incomplete_corruptions.png"),
        ]
    return drawn


def _patterns(clinic: dict[str, Any], path: Path) -> Path:
    """NLL of each handler over the oracle's, for each pattern."""
    handlers = list(clinic["validation_nll"])
    names = ["+".join(p[:2] for p in one["present"]) for one in clinic["patterns"]]
    over = [[one[h]["nll"] / one["oracle"]["nll"] for one in clinic["patterns"]] for h in handlers]
    figure, axes = _new(8, 3.4)
    _heat(axes, np.array(over), names, handlers, (float(np.min(over)), float(np.max(over))))
    axes.set_title(f"NLL over the oracle's; validation chose {clinic['chosen']}", fontsize=9)
    return _saved(figure, path)


def _grids(grid: dict[str, list[dict[str, Any]]], path: Path) -> Path:
    """NLL by rate of loss in training and at test, a panel for each mechanism and handler."""
    from matplotlib import pyplot

    first = next(iter(grid.values()))[0]
    handlers = [name for name in first if name not in ("p_train", "p_test")]
    figure, panels = pyplot.subplots(len(grid), len(handlers), figsize=(9, 1.9 * len(grid)))
    for row, (mechanism, cells) in zip(np.atleast_2d(panels), grid.items(), strict=True):
        rates = sorted({cell["p_train"] for cell in cells})
        ticks = [f"{rate:g}" for rate in rates]
        every = [cell[handler]["nll"] for cell in cells for handler in handlers]
        for axes, handler in zip(row, handlers, strict=True):
            values = np.array([cell[handler]["nll"] for cell in cells])
            square = values.reshape(len(rates), len(rates))
            _heat(axes, square, ticks, ticks, (min(every), max(every)))
            axes.set_title(f"{mechanism}, {handler}", fontsize=8)
            axes.set_xlabel("lost at test", fontsize=7)
            axes.set_ylabel("in training", fontsize=7)
    return _saved(figure, path)


def _curves(corruptions: dict[str, list[dict[str, Any]]], path: Path) -> Path:
    """NLL by strength of each corruption."""
    from matplotlib import pyplot

    columns = 5
    rows = -(-len(corruptions) // columns)
    size = (2.4 * columns, 2.3 * rows)
    figure, panels = pyplot.subplots(rows, columns, figsize=size, squeeze=False)
    for axes in panels.ravel()[len(corruptions) :]:
        axes.set_axis_off()
    for axes, (name, points) in zip(panels.ravel(), corruptions.items(), strict=False):
        for way in (key for key in points[0] if key != "strength"):
            strength, loss = zip(*((p["strength"], p[way]["nll"]) for p in points), strict=True)
            axes.plot(strength, loss, marker="o", markersize=3, label=way)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("strength", fontsize=8)
        axes.set_ylabel("NLL, nats", fontsize=8)
    panels[0, 0].legend(fontsize=6)
    return _saved(figure, path)


def _heat(
    axes: Any,
    values: np.ndarray,
    columns: list[str],
    rows: list[str],
    limits: tuple[float, float],
) -> None:
    """Numbers on colours that run over `limits`, which panels to be compared share."""
    low, high = limits
    axes.imshow(values, aspect="auto", cmap="YlOrRd", vmin=low, vmax=high)
    axes.set_xticks(range(len(columns)), columns, rotation=90 if len(columns) > 5 else 0)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(labelsize=7)
    for (r, c), value in np.ndenumerate(values):
        colour = "white" if value > low + 0.65 * (high - low) else "black"
        axes.text(c, r, f"{value:.2f}", ha="center", va="center", fontsize=6, color=colour)


def _new(width: float, height: float) -> Any:
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height))


def _saved(figure: Any, path: Path) -> Path:
    from matplotlib import pyplot

    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path
