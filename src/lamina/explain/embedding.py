"""Pictures as points: what the network knows of each before its class layer, in two dimensions."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lamina.core.errors import DataError, LaminaError, unknown_name
from lamina.explain import located, watching
from lamina.explain.drawn import Drawn
from lamina.explain.lens import Lens
from lamina.explain.seen import drawable, file_name, seen
from lamina.explain.tsne import tsne
from lamina.networks import contract
from lamina.structures import draw
from lamina.structures.drawing import colour

Method = Literal["pca", "tsne", "umap"]
METHODS: tuple[Method, ...] = get_args(Method)

_EXACT = 2000  # points of the t-SNE here
_MARKERS = "os^vDPX*<>"
_NAMED = 12  # classes with a marker of their own; more than the eye tells apart are shown as others
_ODD = 8  # pictures that are shown
_ACROSS = 48  # letters of a line of the classes below the points
_AXES = {"pca": "principal component", "tsne": "t-SNE", "umap": "UMAP"}


@dataclass(frozen=True, eq=False)
class Embedding(Drawn):
    """Points (N 2) of pictures, with the features (N D) that they were made of.

    `odd` are the pictures that lie farthest from the others of their class (without labels: from all) in the features, the farthest
    first, as places among the points; `thumbs` shows them. `explained` is the share of the variance that each axis of a PCA has.
    """

    points: Float[np.ndarray, "N 2"]
    features: Float[np.ndarray, "N D"]
    labels: Int64[np.ndarray, " N"] | None
    classes: tuple[str, ...]
    method: Method
    layer: str
    odd: tuple[int, ...]
    thumbs: tuple[UInt8[np.ndarray, "C H W"], ...]
    places: Int64[np.ndarray, " N"]
    sources: tuple[str, ...] = ()
    explained: tuple[float, float] | None = None

    def figure(self) -> Figure:
        """The points by class, each class with a marker of its own, and the pictures that lie farthest out, numbered."""
        count = len(self.thumbs)
        figure = Figure(figsize=(6.4, 4.6 + (0.95 if count else 0)), layout="constrained")
        grid = figure.add_gridspec(2 if count else 1, max(count, 1), height_ratios=[4.6, 0.95] if count else None)
        self.scatter(figure.add_subplot(grid[0, :]))
        for number, (row, thumb) in enumerate(zip(self.odd, self.thumbs, strict=True)):
            axes = figure.add_subplot(grid[1, number])
            axes.imshow(draw.picture(thumb), cmap="gray", vmin=0, vmax=255)
            axes.set_title(f"{number + 1}: {self._name(row)}", fontsize=6, parse_math=False, pad=2)
            axes.set_axis_off()
        return figure

    def _name(self, row: int) -> str:
        told = self.classes[int(self.labels[row])] if self.labels is not None and self.classes else ""
        told = told or file_name(self.sources, row) or f"#{self.places[row]}"
        return told if len(told) <= 12 else f"{told[:11]}…"

    def scatter(self, axes: Axes, *, below: bool = False) -> None:
        """The points on matplotlib axes, with the classes beside them, or below where the page is narrow."""
        size = float(np.clip(8000 / max(len(self.points), 1), 10, 30))
        for name, rows, style in self._groups():
            x, y = self.points[rows].T
            axes.scatter(x, y, s=size, label=name, **{"linewidths": 0.3, **style})
        if self.labels is not None:
            self._write_names(axes)
        for number, row in enumerate(self.odd):
            box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "#333333", "linewidth": 0.5, "pad": 1.0}
            spot: Any = tuple(self.points[row])
            axes.annotate(str(number + 1), spot, xytext=(5, 5), textcoords="offset points", fontsize=8, bbox=box)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[["top", "right"]].set_visible(False)
        shares = [f" ({100 * share:.0f} % of the variance)" for share in self.explained or ()] or ["", ""]
        axes.set_xlabel(f"{_AXES[self.method]} 1{shares[0]}", fontsize=8)
        axes.set_ylabel(f"{_AXES[self.method]} 2{shares[1]}", fontsize=8)
        axes.set_title(f"{len(self.points):,} pictures by what {self.layer} is given", fontsize=9)
        if self.labels is not None:
            names = axes.get_legend_handles_labels()[1]
            look: dict[str, Any] = {"fontsize": 7, "loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
            if below:
                columns = int(np.clip(_ACROSS // (max(map(len, names), default=0) + 4), 1, 5))
                look = {"fontsize": 8, "loc": "upper center", "bbox_to_anchor": (0.5, -0.1), "ncols": columns}
                look |= {"handletextpad": 0.2, "columnspacing": 1.0}
            legend = axes.legend(frameon=False, markerscale=1.4, **look)
            for text in legend.get_texts():
                text.set_parse_math(False)

    def _write_names(self, axes: Axes) -> None:
        """Each class's name where its points are thickest, for who sees no colours, where that is not too many."""
        assert self.labels is not None
        present = np.unique(self.labels)
        for label in present if len(present) <= _NAMED else ():
            x, y = np.median(self.points[self.labels == label], axis=0)
            box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8}
            middle: Any = {"ha": "center", "va": "center", "fontsize": 7, "fontweight": "bold"}
            axes.text(x, y, self._class(int(label)), bbox=box, parse_math=False, **middle)

    def _groups(self) -> list[tuple[str, Any, dict[str, Any]]]:
        """Name, rows and look of each class that is there, the largest first; many classes end in one group of others."""
        if self.labels is None:
            return [("pictures", slice(None), {"marker": "o", "color": "#44403a"})]
        counts = np.bincount(self.labels, minlength=len(self.classes))
        present = [int(label) for label in np.argsort(-counts, kind="stable") if counts[label]]
        named = present if len(present) <= _NAMED else present[: _NAMED - 1]
        groups: list[tuple[str, Any, dict[str, Any]]] = []
        others = ~np.isin(self.labels, named)
        if others.any():
            text = f"{len(present) - len(named)} other classes"
            groups.append((text, others, {"marker": ".", "color": "#c9c5be"}))
        for place, label in enumerate(sorted(named)):
            shade = tuple(channel / 255 for channel in colour(place))
            filled = place % 2 == 0  # a ring beside a disc: told apart in grey too
            look: dict[str, Any] = {
                "facecolors": [shade] if filled else "none",
                "edgecolors": "#222222" if filled else [shade],
            }
            if not filled:
                look["linewidths"] = 1.1
            groups.append(
                (self._class(label), self.labels == label, {"marker": _MARKERS[place % len(_MARKERS)], **look})
            )
        return groups

    def _class(self, label: int) -> str:
        name = self.classes[label] if label < len(self.classes) else str(label)
        return name if len(name) <= 20 else f"{name[:19]}…"

    def to_dict(self) -> dict[str, Any]:
        """What JSON needs: each picture's place, file, class and point."""
        rows = []
        for row, (x, y) in enumerate(self.points.tolist()):
            told: dict[str, Any] = {"index": int(self.places[row]), "x": x, "y": y}
            if row < len(self.sources):
                told["path"] = self.sources[row]
            if self.labels is not None and self.classes:
                told["label"] = self.classes[int(self.labels[row])]
            rows.append(told)
        return {
            "method": self.method,
            "layer": self.layer,
            "odd": [int(self.places[row]) for row in self.odd],
            "points": rows,
        }

    def __repr__(self) -> str:
        return f"Embedding({len(self.points):,} points by {self.method}, of {self.features.shape[1]:,} features at {self.layer})"


def embeddings(
    model: Any, data: Any, method: Method = "pca", *, layer: str | None = None, limit: int = _EXACT
) -> Embedding:
    """Pictures as points in two dimensions, by what the class layer is given (or by what `layer` gives), averaged over places; of
    a detector or segmenter by the coarsest map that it stands on. Of several labels the first of each picture is its class.

    "pca" are the two directions of most variance. "tsne" keeps neighbours together (exact, up to 2,000 points; more by
    scikit-learn where it is installed), "umap" is umap-learn's where that is installed. At most `limit` pictures are taken, evenly
    over the data. Raises UnknownNameError for a method or layer that is not there, LaminaError where what it takes is missing.
    """
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    lens = Lens.of(model, data[0] if isinstance(data, np.ndarray | Tensor) and data.ndim == 4 and len(data) else None)
    some = seen(model, lens, data, limit=limit)
    if len(some) < 2:
        raise DataError(f"{len(some)} picture came.", "At least two were expected.", "Bring more pictures.")
    if layer is None and located.standing(lens) is not None:
        name = "the head"
        features = np.concatenate([located.features(lens, images) for _, images in some.batches()])
    else:
        name = layer or contract.class_layers(lens.net)[0]
        read = watching.given_to if layer is None else watching.layer_output
        features = np.concatenate([pooled(read(lens.net, lens.prepared(images), name)) for _, images in some.batches()])
    if not np.isfinite(features).all():
        raise DataError(
            f"What {name} is given or gives is not finite.",
            "Numbers were expected.",
            "Training has probably diverged: train again with a lower learning rate.",
        )
    points, explained = placed(features, method)
    odd = outlying(features, some.labels)[: min(_ODD, len(some) // 4)]
    thumbs = tuple(drawable(some.images[row]).numpy() for row in odd)
    return Embedding(
        points, features, some.labels, some.classes, method, name, odd, thumbs, some.places, some.sources, explained
    )


def placed(
    features: Float[np.ndarray, "N D"], method: Method
) -> tuple[Float[np.ndarray, "N 2"], tuple[float, float] | None]:
    """The features in two dimensions, and of a PCA the share of the variance that each has."""
    centred = torch.from_numpy(features).double()
    centred = centred - centred.mean(0)
    if method == "pca":
        left, sizes, right = torch.linalg.svd(centred, full_matrices=False)
        # The largest weight of each direction is positive, so that a second run does not mirror the first.
        signs = torch.sign(right.gather(1, right.abs().argmax(1, keepdim=True))).squeeze(1)
        two = (left * sizes * signs)[:, :2]
        two = torch.cat([two, two.new_zeros(len(two), 2 - two.shape[1])], dim=1)
        shares = (sizes.square() / sizes.square().sum().clamp(min=1e-30)).tolist()
        return two.float().numpy(), (shares[0], shares[1] if len(shares) > 1 else 0.0)
    if method == "umap":
        return np.asarray(_needed("umap", "umap-learn", "UMAP").UMAP(random_state=0).fit_transform(features)), None
    if len(features) <= _EXACT:
        return tsne(centred).numpy(), None
    manifold = _needed("sklearn.manifold", "scikit-learn", f"t-SNE of more than {_EXACT:,} points")
    return np.asarray(manifold.TSNE(init="pca", random_state=0).fit_transform(features)), None


def _needed(module: str, package: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise LaminaError(
            f"{what} needs {package}, which is not installed.",
            f'"pca" and "tsne" of up to {_EXACT:,} points need nothing.',
            f"Install it (pip install {package}), or take another method, or fewer pictures: limit={_EXACT}.",
        ) from error


def outlying(features: Float[np.ndarray, "N D"], labels: Int64[np.ndarray, " N"] | None) -> tuple[int, ...]:
    """The rows by how far they lie from the middle of their class, in typical distances of that class; the farthest first."""
    groups = np.zeros(len(features), int) if labels is None else labels
    far = np.zeros(len(features))
    for label in np.unique(groups):
        rows = groups == label
        distances = np.linalg.norm(features[rows] - np.median(features[rows], axis=0), axis=1)
        far[rows] = distances / max(float(np.median(distances)), 1e-12)
    return tuple(int(row) for row in np.argsort(-far, kind="stable"))


def pooled(value: Tensor) -> Float[np.ndarray, "B D"]:
    """What a layer gave, one row a picture: maps averaged over their places."""
    flat = value.mean(dim=(2, 3)) if value.dim() == 4 else value.flatten(1)
    return np.asarray(flat.float().cpu().numpy())
