"""The report: one HTML file that shows what a model gets wrong, for the desk, the phone and the printer."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from lamina.core import progress
from lamina.core.errors import LaminaError
from lamina.core.files import replacing
from lamina.explain import (
    deeper,
    found_sections,
    html,
    inside,
    labellings,
    mapped_sections,
    numbers_sections,
    scenes_inside,
    sections,
)
from lamina.explain.answers import arrays, as_numpy, checked, checked_several, class_probs, named
from lamina.explain.beside import FoundBeside, MappedBeside, beside_truth
from lamina.explain.subject import Numbers, Scene, Subject

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
    ("By covering", deeper.covered),
    ("Confusion matrix", sections.confusion),
    ("Per class", sections.per_class),
    ("Calibration", sections.calibration),
    ("ROC and precision", sections.ranking),
    ("Learning curves", sections.curves),
    ("Gradients", sections.gradients),
    ("Pictures as points", inside.as_points),
    ("First filters", inside.first_filters),
    ("Maps inside", deeper.maps),
    ("What excites channels", deeper.excited),
    ("Layers", sections.layers),
    ("How it was made", sections.made),
)

# Of a model that gives several labels to a picture, of which there is no confusion matrix.
SEVERAL_LABELS: tuple[tuple[str, Section], ...] = (
    ("", labellings.headline),
    ("Worst answers", labellings.worst),
    ("Where wrong labels come from", inside.sources_of_labels),
    ("Per label", labellings.per_label),
    ("Calibration", sections.calibration),
    ("ROC and precision", sections.ranking),
    ("Learning curves", sections.curves),
    ("Gradients", sections.gradients),
    ("Pictures as points", inside.as_points),
    ("First filters", inside.first_filters),
    ("Maps inside", deeper.maps),
    ("What excites channels", deeper.excited),
    ("Layers", sections.layers),
    ("How it was made", sections.made),
)

# Of a detector and of a segmenter, whose sections are functions of a Scene; `made` is what stands below both.
SceneSection = Callable[[Scene], str]
_OF_THE_RUN: tuple[tuple[str, SceneSection], ...] = (
    ("Learning curves", sections.curves),
    ("Gradients", sections.gradients),
    ("Pictures as points", scenes_inside.as_points),
    ("First filters", inside.first_filters),
    ("Layers", lambda scene: sections.layers_of(scene.model, ())),
    ("How it was made", lambda scene: html.facts(_facts_of(scene))),
)
OF_SCENES: dict[type, tuple[tuple[str, SceneSection], ...]] = {
    FoundBeside: (
        ("", found_sections.headline),
        ("Worst pictures", found_sections.worst),
        ("Where errors come from", scenes_inside.sources_of_boxes),
        ("Kinds of error", found_sections.kinds_of_error),
        ("Small and large", found_sections.by_size),
        ("Per class", found_sections.per_class),
        ("Precision and recall", found_sections.curves),
        *_OF_THE_RUN,
    ),
    MappedBeside: (
        ("", mapped_sections.headline),
        ("Worst pictures", mapped_sections.worst),
        ("Where errors come from", scenes_inside.sources_of_pixels),
        ("Per class", mapped_sections.per_class),
        ("Confusion by class", mapped_sections.confusion),
        *_OF_THE_RUN,
    ),
}

# Of a regressor, whose sections are functions of Numbers.
OF_NUMBERS: tuple[tuple[str, Callable[[Numbers], str]], ...] = (
    ("", numbers_sections.headline),
    ("Worst answers", numbers_sections.worst),
    ("Predicted against true", numbers_sections.against_truth),
    ("Residuals", numbers_sections.residuals),
    ("Per number", numbers_sections.per_number),
    ("Learning curves", sections.curves),
    ("Gradients", sections.gradients),
    ("First filters", inside.first_filters),
    ("Maps inside", deeper.maps),
    ("What excites channels", deeper.excited),
    ("Layers", numbers_sections.layers),
    ("How it was made", numbers_sections.made),
)

TASKS = ("detection", "segmentation")
PAGE_BYTES = 9_900_000  # 10 MB with head and style


def report(
    model: Any,
    data: Any,
    *,
    path: str | os.PathLike[str] = "report.html",
    history: Any = None,
    title: str | None = None,
    settings: Mapping[str, Any] | None = None,
    shown: int = 300,
    run: str | os.PathLike[str] | None = None,
    beside: FoundBeside | MappedBeside | None = None,
) -> Path:
    """Writes the report of `model` on `data` and returns its path; the file needs nothing but itself, and has at most 10 MB.

    The labels are one a picture (N), or 0 and 1 for each class (N K), of which the report tells other things; of a detector or a
    segmenter `data` is its data set, or what `beside_truth` gave for it is `beside`; of a regressor a pair of pictures and numbers.
    `model` answers `predict_probs` or `predict`; `history` is as for `learning_curves`; `settings` are noted under "How it
    was made"; at most `shown` mistakes are drawn; `run` is the folder of the training run, whose records are drawn too. Raises
    DataError or ShapeError where model and data do not fit.
    """
    scenes = getattr(model, "task", "") in TASKS
    target = Path(path)
    if target.is_dir():
        raise LaminaError(
            f"The report is to be {target}, which is a folder.",
            "A file was expected.",
            f"Pass {target / 'report.html'}.",
        )
    if isinstance(shown, bool) or not isinstance(shown, int) or shown < 0:
        raise LaminaError(f"shown is {shown!r}.", "A number of mistakes, 0 or more, was expected.", "Pass shown=300.")
    about = f"{getattr(model, 'name', '') or type(model).__name__}"
    if scenes:
        made = beside_truth(model, data) if beside is None else beside
        named_by = None if run is None else Path(run)
        scene = Scene(model, data, made, run=named_by, history=history, settings=settings or {}, shown=shown)
        return _write(target, title or f"{about} on {data.name}", scene, OF_SCENES[type(made)], count=len(made.rows))
    if getattr(model, "answers", "probs") == "values":
        found = model.numbered(data)
        progress.step(f"asking the model about {len(found.images):,} pictures")
        numbers = Numbers(
            model,
            as_numpy(found.images),
            as_numpy(found.labels).astype(np.float64),
            model.predict_values(found.images).astype(np.float64),
            tuple(model.names),
            sources=found.sources,
            run=None if run is None else Path(run),
            history=history,
            settings=settings or {},
            shown=shown,
        )
        return _write(target, title or about, numbers, OF_NUMBERS, count=len(numbers.images))
    if hasattr(model, "memorised"):  # a classifier reads a path, a folder or a named data set itself
        data = model.memorised(data)
    images, labels, classes = arrays(data)
    several = getattr(model, "multi_label", labels.ndim == 2)
    progress.step(f"asking the model about {len(images):,} pictures")
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
    data_name = str(getattr(data, "name", ""))
    heading = title or (f"{about} on {data_name}" if data_name else about)
    return _write(target, heading, subject, SEVERAL_LABELS if several else SECTIONS, count=len(images))


def _write(target: Path, heading: str, subject: Any, parts: Sequence[tuple[str, Any]], *, count: int) -> Path:
    """The page into its file."""
    if isinstance(subject, Numbers):
        told = f"{html.counted(count, 'picture')}, {html.counted(len(subject.names), 'number')}"
    elif isinstance(subject, Scene):
        told = f"{count:,} pictures, {len(subject.beside.classes):,} classes"
    else:
        told = f"{count:,} samples, {len(subject.classes):,} classes"
    subtitle = f"{told} · {datetime.now().astimezone():%d %B %Y}"
    page = html.document(heading, subtitle=subtitle, sections=_written(subject, parts))
    with replacing(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return target


def _facts_of(scene: Scene) -> dict[str, Any]:
    size = "" if scene.model.preprocess is None else " x ".join(map(str, scene.model.preprocess.size))
    return sections.made_of(
        f"{len(scene.beside.rows):,}, made {size} for the network", scene.beside.classes, scene.settings
    )


def _written(subject: Any, parts: Sequence[tuple[str, Any]]) -> list[tuple[str, str]]:
    """Heading and content of each section that has something to say and finds room."""
    written: list[tuple[str, str]] = []
    room = PAGE_BYTES
    for heading, section in parts:
        progress.step(f"report, {heading.lower() or 'headline'}")
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
