"""Pictures of what `rnnlab xray` measured, drawn with matplotlib (extra `plots`), which is loaded at the first one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = (7.0, 4.2)  # inches


def has_matplotlib() -> bool:
    """Whether matplotlib is there."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def draw(report: dict[str, Any], folder: Path) -> dict[str, Path]:
    """Draw a report's curves into PNG files; returns them by name.

    Raises:
        OSError: they cannot be written.
    """
    from matplotlib.figure import Figure

    panels = {"states": _states, "gradient": _gradient, "truncation": _truncation, "memory": _memory}
    written = {}
    for name, panel in panels.items():
        figure = Figure(figsize=_SIZE, dpi=110, layout="constrained")
        axes = figure.add_subplot()
        if panel(report, axes):
            written[name] = folder / f"{name}.png"
            figure.savefig(written[name])
    return written


def _states(report: dict[str, Any], axes: Axes) -> bool:
    for name, layer in report["layers"].items():
        for key, label, style in (
            ("rms_singular_value", "all paths", "-"),
            ("carried", "carried by the gates", "--"),
            ("through_hidden", "through h alone", ":"),
        ):
            if key in layer:
                _log_line(axes, range(len(layer[key])), layer[key], f"{name}, {label}", style)
    axes.set_xlabel("lag k, steps")
    axes.set_ylabel("|dh_t / dh_(t-k)|, root mean square")
    axes.legend(fontsize=8)
    return True


def _gradient(report: dict[str, Any], axes: Axes) -> bool:
    by_layer = {name: layer["gradient_norm_by_distance"] for name, layer in report["layers"].items()}
    if not any(norm > 0 for norms in by_layer.values() for norm in norms):
        return False
    for name, norms in by_layer.items():
        _log_line(axes, range(len(norms)), norms, name, "-")
    axes.set_xlabel("distance from the loss, steps")
    axes.set_ylabel("|dL / dh_t|")
    axes.legend(fontsize=8)
    return True


def _truncation(report: dict[str, Any], axes: Axes) -> bool:
    met = report.get("truncation")
    if met is None or not met["lengths"]:
        return False
    for name, values in met["cosine"].items():
        axes.plot(met["lengths"], [float("nan") if v is None else v for v in values], marker="o", label=name)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("truncated after, steps")
    axes.set_ylabel(f"cosine with the gradient of {met['full_steps']} steps")
    axes.legend(fontsize=8)
    return True


def _memory(report: dict[str, Any], axes: Axes) -> bool:
    memory = report.get("memory")
    if memory is None:
        return False
    for key, label in (
        ("loss", "nothing further back"),
        ("loss_far_shuffled", "further back in another order"),
        ("loss_far_thinned", "further back every other one"),
    ):
        axes.plot(memory["lengths"], memory[key], marker="o", label=label)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("steps of history left as they are")
    axes.set_ylabel(f"loss, {memory['unit']}")
    axes.legend(fontsize=8)
    return True


def _log_line(axes: Axes, x: range, values: list[float], label: str, style: str) -> None:
    """Plot on a logarithmic axis what is above 0."""
    shown = [(place, value) for place, value in zip(x, values, strict=True) if value > 0]
    if shown:
        axes.plot(*zip(*shown, strict=True), style, label=label)
    axes.set_yscale("log")
