"""The report: one HTML file that shows what a model gets wrong, for the desk, the phone and the printer."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from lamina.core.errors import LaminaError
from lamina.core.files import replacing
from lamina.explain import html, inside, labellings, sections
from lamina.explain.answers import Labelled, arrays, checked, checked_several, class_probs, named, refuse_values
from lamina.explain.subject import Subject

Section = Callable[[Subject], str]

# The page, from top to bottom: heading and the function that makes what stands below it. To add a section, write
# `def name(subject: Subject) -> str` in a file of your own and put it here; it
# - gives HTML without script, class names of report.css, pictures by structures.draw.data_url, and figures by drawn.panel (no
#   pyplot); what comes from a person goes through html.escape; the document's policy refuses whatever is not in the file;
# - gives "" where it has nothing to say (a model without convolutions); a LaminaError that it raises is printed in its place;
# - bounds its pictures: `subject.fitting(pieces, limit_bytes=...)`. A page has PAGE_BYTES in all, and a section for which no room
#   is left is left out, which the page says.
SECTIONS: tuple[tuple[str, Section], ...] = (
    ("", sections.headline),
    ("Mistakes", sections.mistakes),
    ("Where mistakes come from", inside.sources_of_mistakes),
    ("Confusion matrix", sections.confusion),
    ("Per class", sections.per_class),
    ("Calibration", sections.calibration),
    ("ROC and precision", sections.ranking),
    ("Learning curves", sections.curves),
    ("Gradients", sections.gradients),
    ("Pictures as points", inside.as_points),
    ("First filters", inside.first_filters),
    ("Layers", sections.layers),
    ("How it was made", sections.made),
)

# Of a model that gives several labels to a picture, of which there is no confusion matrix.
SEVERAL_LABELS: tuple[tuple[str, Section], ...] = (
    ("", labellings.headline),
    ("Worst answers", labellings.worst),
    ("Per label", labellings.per_label),
    ("Calibration", sections.calibration),
    ("ROC and precision", sections.ranking),
    ("Learning curves", sections.curves),
    ("Gradients", sections.gradients),
    ("First filters", inside.first_filters),
    ("Layers", sections.layers),
    ("How it was made", sections.made),
)

PAGE_BYTES = 9_900_000  # 10 MB with head and style


def report(
    model: Any,
    data: Labelled,
    *,
    path: str | os.PathLike[str] = "report.html",
    history: Any = None,
    title: str | None = None,
    settings: Mapping[str, Any] | None = None,
    shown: int = 300,
    run: str | os.PathLike[str] | None = None,
) -> Path:
    """Writes the report of `model` on `data` and returns its path; the file needs nothing but itself, and has at most 10 MB.

    The labels are one a picture (N), or 0 and 1 for each class (N K), of which the report tells other things.
    `model` answers `predict_probs` or `predict`; `history` is as for `learning_curves`; `settings` are noted under "How it
    was made"; at most `shown` mistakes are drawn; `run` is the folder of the training run, whose records are drawn too. Raises
    DataError or ShapeError where model and data do not fit, LaminaError for a model whose answers are no classes.
    """
    refuse_values(model)
    target = Path(path)
    if target.is_dir():
        raise LaminaError(
            f"The report is to be {target}, which is a folder.",
            "A file was expected.",
            f"Pass {target / 'report.html'}.",
        )
    if isinstance(shown, bool) or not isinstance(shown, int) or shown < 0:
        raise LaminaError(f"shown is {shown!r}.", "A number of mistakes, 0 or more, was expected.", "Pass shown=300.")
    if hasattr(model, "memorised"):  # a classifier reads a path, a folder or a named data set itself
        data = model.memorised(data)
    images, labels, classes = arrays(data)
    several = getattr(model, "multi_label", labels.ndim == 2)
    probs, labels = (checked_several if several else checked)(class_probs(model, data), labels)
    subject = Subject(
        model,
        data,
        images,
        labels,
        probs,
        named(classes, probs.shape[1]),
        several,
        sources=getattr(data, "sources", ()),
        run=None if run is None else Path(run),
        history=history,
        settings=settings or {},
        shown=shown,
    )
    model_name = str(getattr(model, "name", "") or type(model).__name__)
    data_name = str(getattr(data, "name", ""))
    heading = title or (f"{model_name} on {data_name}" if data_name else model_name)
    subtitle = f"{len(images):,} samples, {len(classes):,} classes · {datetime.now().astimezone():%d %B %Y}"
    page = html.document(
        heading, subtitle=subtitle, sections=_written(subject, SEVERAL_LABELS if several else SECTIONS)
    )
    with replacing(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return target


def _written(subject: Subject, parts: Sequence[tuple[str, Section]]) -> list[tuple[str, str]]:
    """Heading and content of each section that has something to say and finds room."""
    written: list[tuple[str, str]] = []
    room = PAGE_BYTES
    for heading, section in parts:
        try:
            content = section(subject)
        except LaminaError as error:
            content = f'<p class="quiet">Not drawn: {escape(str(error))}</p>'
        size = len(content.encode())
        if size > room:
            content = f'<p class="quiet">Left out, for its {size / 1e6:.1f} MB would make this page too large.</p>'
        if content:
            written.append((heading, content))
            room -= len(content.encode())
    return written
