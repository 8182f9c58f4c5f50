"""The sections of a report on a regressor: how far its numbers lie from the true ones, by picture and by number."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from lamina.explain import html, sections
from lamina.explain.drawn import INK, TRAIN, VALIDATION, panel, plain
from lamina.explain.html import counted
from lamina.explain.subject import Numbers, fitting
from lamina.structures import draw

PICTURES_BYTES = 3_500_000
_FIRST = 20  # pictures that are seen at once; the others unfold
_TOLD = 4  # numbers below a picture: those that are farthest off
_DRAWN = 8  # numbers that have figures: those that are explained worst
_POINTS = 1000  # of a figure
_BINS = 31
_MINUS = "\N{MINUS SIGN}"


def headline(subject: Numbers) -> str:
    """R2, large; of a single number its errors, of several the best and the worst one."""
    shares, count = r2(subject), len(subject.images)
    mean = float(np.mean(shares))
    if len(subject.names) == 1:
        mae, rmse, bias = (float(value[0]) for value in (_mae(subject), _rmse(subject), subject.errors.mean(0)))
        cards = [
            ("Mean absolute error", _told(mae), "in the unit of the numbers"),
            ("RMSE", _told(rmse), "the root of the mean square: far misses count more"),
            ("Mean error", _signed(bias), "above 0: it says too much"),
            ("Spread", _told(float(subject.truths.std())), "standard deviation of the true numbers"),
        ]
    else:
        known = np.where(np.isfinite(shares), shares, np.nan)
        cards = [("Numbers", f"{len(subject.names):,}", "the mean is over them")]
        if np.isfinite(known).any():
            best, worst = int(np.nanargmax(known)), int(np.nanargmin(known))
            cards += [
                ("Best", escape(subject.names[best]), f"R&sup2; {known[best]:.3f}"),
                ("Worst", escape(subject.names[worst]), f"R&sup2; {known[worst]:.3f}"),
            ]
    shown = "".join(f"<div><dt>{name}</dt><dd>{value}</dd><dd>{note}</dd></div>" for name, value, note in cards)
    large = f"{mean:.3f}" if np.isfinite(mean) else "&ndash;"
    return (
        f'<div class="headline"><p class="accuracy">{large}<small>R&sup2;</small></p>'
        f'<p class="count">in {counted(count, "picture")}</p></div>\n<dl class="cards">{shown}</dl>'
        '<p class="quiet">R&sup2;, the share of the variance that is explained: 1 is perfect, 0 what always answering the mean would '
        "reach.</p>"
    )


def worst(subject: Numbers) -> str:
    """The pictures whose numbers are farthest off first: what it said, what is true, the difference."""
    off = _off(subject)
    order = np.argsort(-np.sqrt(np.mean(off**2, axis=1)), kind="stable")[: subject.shown]
    tiles = fitting((_tile(subject, int(row), off[row]) for row in order), limit_bytes=PICTURES_BYTES)
    several = len(subject.names) > 1
    measure = " Each number is measured by the spread of its true values." if several else ""
    few = "" if len(tiles) == len(subject.images) else f" {len(tiles):,} of {len(subject.images):,} are shown."
    legend = (
        '<p class="quiet">The farthest off first. <span class="key"><b class="said">what the model said</b> '
        f'<b class="truth">what is true</b></span> Below: the difference, and the '
        f"{'name of the file' if len(subject.sources) else 'index of the picture'}.{measure}{few}</p>"
    )
    grid, rest = f'<div class="tiles wide">{"".join(tiles[:_FIRST])}</div>', tiles[_FIRST:]
    more = (
        f'<details><summary>{counted(len(rest), "more picture")}</summary><div class="tiles wide">{"".join(rest)}</div></details>'
        if rest
        else ""
    )
    return f"{legend}{grid}{more}"


def _tile(subject: Numbers, row: int, off: Float[np.ndarray, " D"]) -> str:
    image, path = subject.images[row], subject.sources[row] if len(subject.sources) else ""
    crisp = ' class="crisp"' if max(image.shape[1:]) <= 64 else ""
    farthest = np.argsort(-np.abs(off), kind="stable")
    said, true, error = (values[row] for values in (subject.answers, subject.truths, subject.errors))
    first = int(farthest[0])
    which = f'<span title="{escape(path)}">{escape(html.file_of(path))}</span>' if path else f"<span>#{row}</span>"
    lines = f"{_signed(error[first])}{which}"
    if len(subject.names) > 1:
        numbers = "".join(
            f"<div>{escape(subject.names[at])}: {_short(said[at])} for {_short(true[at])}, {_signed(error[at], _short)}</div>"
            for at in map(int, farthest[:_TOLD])
        )
        lines = f"<div>{numbers}{which}</div>"
    return (
        f'<figure><div class="picture"><img{crisp} src="{draw.data_url(image)}" decoding="async" '
        f'alt="said {_told(said[first])}, true {_told(true[first])}"><b class="said">{_told(said[first])}</b>'
        f'<b class="truth">{_told(true[first])}</b></div><figcaption>{lines}</figcaption></figure>\n'
    )


def per_number(subject: Numbers) -> str:
    """Mean absolute error, RMSE, R2, mean error and spread of each number, the worst explained first."""
    shares, mae, rmse, bias = r2(subject), _mae(subject), _rmse(subject), subject.errors.mean(0)
    rows = "".join(
        f'<tr><th scope="row">{escape(subject.names[at])}</th><td>{_told(mae[at])}</td><td>{_told(rmse[at])}</td>'
        f"<td>{f'{shares[at]:.4f}' if np.isfinite(shares[at]) else '&ndash;'}</td><td>{_signed(bias[at])}</td>"
        f"<td>{_told(subject.truths[:, at].std())}</td></tr>"
        for at in _order(subject)
    )
    titles = ("Number", "Mean absolute error", "RMSE", "R&sup2;", "Mean error", "Spread")
    return html.table("figures", "".join(f"<th>{title}</th>" for title in titles), rows)


def against_truth(subject: Numbers) -> str:
    """What was said over what is true, with the diagonal on which the two are the same."""
    rows = _sample(len(subject.images))
    panels = []
    for at in _order(subject)[:_DRAWN]:
        true, said = subject.truths[rows, at], subject.answers[rows, at]
        low, high = min(true.min(), said.min()), max(true.max(), said.max())
        margin = 0.04 * (high - low) or 1.0
        figure = Figure(figsize=(4.0, 3.6), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([low, high], [low, high], color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.scatter(true, said, s=14, color=VALIDATION, alpha=0.45, linewidths=0)
        axes.set_xlim(low - margin, high + margin)
        axes.set_ylim(low - margin, high + margin)
        plain(axes)
        axes.set_xlabel("true", fontsize=9, color=INK)
        axes.set_ylabel("said", fontsize=9, color=INK)
        name = subject.names[at]
        panels.append(
            panel(name, figure, note=f"R\N{SUPERSCRIPT TWO} {r2(subject)[at]:.3f}", label=f"{name}: said over true")
        )
    few = "" if len(rows) == len(subject.images) else f" {len(rows):,} of {len(subject.images):,} pictures are drawn."
    legend = f"A point for each picture; on the dashed line what is said is true.{few}{_left_out(subject)}"
    return f'<p class="quiet">{legend}</p><div class="panels">{"".join(panels)}</div>'


def residuals(subject: Numbers) -> str:
    """How often which difference occurs."""
    panels = []
    for at in _order(subject)[:_DRAWN]:
        error = subject.errors[:, at]
        reach = float(np.abs(error).max()) or 1.0
        counts, edges = np.histogram(error, bins=_BINS, range=(-reach, reach))
        figure = Figure(figsize=(4.0, 2.6), layout="constrained")
        axes = figure.add_subplot()
        axes.bar(edges[:-1], counts, width=np.diff(edges) * 0.92, align="edge", color=TRAIN)
        axes.axvline(0, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.axvline(float(error.mean()), color=VALIDATION, linewidth=1.6)
        plain(axes)
        axes.set_xlabel("said less true", fontsize=9, color=INK)
        within = float(np.quantile(np.abs(error), 0.9))
        panels.append(panel(subject.names[at], figure, note=f"90 % within {_told(within)}", label="differences"))
    legend = f"Pictures by what is said less what is true. Orange: the mean; dashed: no error.{_left_out(subject)}"
    return f'<p class="quiet">{legend}</p><div class="panels">{"".join(panels)}</div>'


def layers(subject: Numbers) -> str:
    """The network's layers."""
    return sections.layers_of(subject.model, subject.images.shape[1:])


def made(subject: Numbers) -> str:
    """Settings, data and versions."""
    images = f"{len(subject.images):,} of {' x '.join(str(size) for size in subject.images.shape[1:])}"
    facts = sections.made_of(images, subject.names, subject.settings)
    return html.facts({("numbers" if name == "classes" else name): value for name, value in facts.items()})


def r2(subject: Numbers) -> Float[np.ndarray, " D"]:
    """R2 of each number as `metrics.R2Score` has it; NaN where all true values are the same."""
    spread = ((subject.truths - subject.truths.mean(0)) ** 2).sum(0)
    return np.asarray(1 - (subject.errors**2).sum(0) / np.where(spread > 0, spread, np.nan))


def _mae(subject: Numbers) -> Float[np.ndarray, " D"]:
    return np.asarray(np.abs(subject.errors).mean(0))


def _rmse(subject: Numbers) -> Float[np.ndarray, " D"]:
    return np.asarray(np.sqrt((subject.errors**2).mean(0)))


def _off(subject: Numbers) -> Float[np.ndarray, "N D"]:
    """Differences, in standard deviations of the true values of each number."""
    spread = subject.truths.std(0)
    return subject.errors / np.where(spread > 0, spread, 1.0)


def _order(subject: Numbers) -> list[int]:
    """The numbers, the worst explained first; those that never change stand last."""
    return [int(at) for at in np.argsort(r2(subject), kind="stable")]


def _sample(count: int) -> np.ndarray:
    """Places evenly over so many pictures, as many as are drawn."""
    return np.unique(np.linspace(0, count - 1, min(count, _POINTS)).round().astype(int))


def _left_out(subject: Numbers) -> str:
    count = len(subject.names)
    return "" if count <= _DRAWN else f" Of {count:,} numbers the {_DRAWN} that are explained worst are drawn."


def _told(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1e5 else f"{value:.3g}"


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else _told(value)


def _signed(value: float, told: Callable[[float], str] = _told) -> str:
    return f"{'+' if value > 0 else _MINUS if value < 0 else ''}{told(abs(value))}"
