"""What `lamina tune` does, and the config by which `lamina train --config` does what a trial did."""

from __future__ import annotations

import csv
import dataclasses
import math
import shlex
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from lamina.cli import dense, opening
from lamina.cli.options import TrainOptions, check_device, parse_size
from lamina.core.errors import DataError, LaminaError, UnknownNameError, nearest_names
from lamina.core.files import replacing
from lamina.core.warnings import warn
from lamina.models import pictures
from lamina.tasks.classification import inputs, tunable_cnn
from lamina.training import tuner
from lamina.training.runtime import Runtime
from lamina.training.tuner.file import require_optuna
from lamina.training.tuner.study import DONE, Study, figure_shown, shown

ASKED_BY_RUN = "asked"  # in a run's config.yaml: the options that were typed
STUDY, BEST, ASKED = "study.db", "best.yaml", "tune.yaml"
MONITOR = "val_accuracy"
MODEL = "tunable_cnn"
_SURE = 3.0  # standard errors above chance that the best of many trials has to be
_DEFAULTS = {"trials": 20, "epochs": 5, "seed": 0}


@dataclass(frozen=True)
class TuneOptions:
    """The options of `lamina tune`; None where nobody said."""

    data: str | None
    trials: int | None
    epochs: int | None
    limit: int | None
    seed: int | None
    format: str | None
    output: Path
    timeout_min: float | None
    size: str | None
    device: str
    resume: bool


def tune(options: TuneOptions) -> Study:
    """Searches, and writes best.yaml, trials.csv and pictures into the output folder; prints what was found."""
    require_optuna()
    check_device(options.device)
    asked = _asked(options)
    shape = (None, None, None) if asked["size"] is None else (None, *parse_size(asked["size"]))
    splits = opening.limited(opening.open_data(asked["data"], asked["format"]), asked["limit"])
    dense.refuse(splits.task, "lamina tune")
    train, held = inputs.training_sets(splits, None, None, None)
    if opening.is_multi_label(splits):
        raise DataError(
            f"The pictures of {asked['data']} have several labels each.",
            "A search compares classifiers of one label a picture.",
            f"Train on them: lamina train {shlex.quote(asked['data'])}.",
        )
    told = "its validation pictures"
    if held is None:  # as `lamina train` holds them out, so that it can repeat a trial
        train, held, _ = inputs.hold_out(train, inputs.HELD_OUT)
        told = "held out of the training pictures; the test pictures are not looked at"
    preprocess = inputs.fitting_preprocess(train, shape=shape)
    train, held = pictures.in_memory(train, preprocess), pictures.in_memory(held, preprocess)
    print(f"Data: {asked['data']}: {len(train):,} pictures to train on, {len(held):,} to compare by ({told})")
    runtime = Runtime(options.device)

    def build(trial: tuner.Trial) -> Any:
        return tunable_cnn.classifier(trial, preprocess, num_classes=len(splits.classes), runtime=runtime)

    fixed = {"data": asked["data"], "format": asked["format"], "limit": asked["limit"], "epochs": asked["epochs"]}
    fixed |= {} if asked["size"] is None else {"size": asked["size"]}  # so that studies from before it go on
    timeout_s = None if options.timeout_min is None else 60 * options.timeout_min
    if not (options.output / STUDY).exists():
        _write(options.output / ASKED, asked)
    study = tuner.search(
        build,
        {**fixed, **tunable_cnn.space()},
        data=train,
        validation=held,
        trials=asked["trials"],
        monitor=MONITOR,
        timeout_s=timeout_s,
        seed=asked["seed"],
        storage=options.output / STUDY,
    )
    _write(options.output / ASKED, asked)  # more trials may have come
    done = [trial for trial in study.trials if trial.outcome == DONE]
    written = study.save(options.output) if study.trials else []
    if done:
        sides = (preprocess.channels, *preprocess.size)
        written = [_write_best(options.output / BEST, study, sides, precision=runtime.precision), *written]
        _print_best(study, len(held))
        _warn_of_chance(study, held.labels)
    if written:
        print(f"Written: {', '.join(map(str, written))}")
    go_on = f"lamina tune --resume --output {shlex.quote(str(options.output))}"
    if study.interrupted:
        raise KeyboardInterrupt(
            f"Stopped by Ctrl-C, with {len(done)} of {asked['trials']} trials done. It goes on with: {go_on}"
        )
    if not done:
        print(f"No trial was trained to its end in that time. It goes on with: {go_on}")
        return study
    some = "" if asked["limit"] is None else f", on all pictures, not the {asked['limit']:,} of --limit"
    print(f"It trains for {_epochs(asked['epochs'])}, as a trial did{some}; for a longer training add --epochs.")
    best = f"--config {shlex.quote(str(options.output / BEST))} --output {shlex.quote(str(options.output / 'best'))}"
    print(f"Train it: lamina train {shlex.quote(asked['data'])} {best}")
    return study


def config_to_options(
    path: Path, data: str | None, options: TrainOptions, *, given: Container[str]
) -> tuple[str | None, TrainOptions]:
    """DATA and the options of `lamina train` from a config file; what was `given` on the command line goes before it.

    Its keys are the options' names, `data`, and for the tunable CNN `network`, `loss`, `label_smoothing` and
    `momentum`; or it is the config.yaml of a run that `lamina train` made, whose options are taken. Raises LaminaError for a
    file that is none, for an unknown key, and for a run whose network is made by a file that is no more.
    """
    config = read_config(path)
    print(f"Settings: {path}{', of an earlier run' if ASKED_BY_RUN in _loaded(path) else ''}")
    named = None if data is None else opening.lasting_data(data)
    if named is not None and named != config.get("data") and isinstance(config.get("network"), dict):
        config["network"] = {name: v for name, v in config["network"].items() if name != "input_shape"}
        size = config.get("found", {}).get("size")  # which a search was told, and other pictures need to be told again
        config |= {} if size is None else {"size": size}
    fields = {field.name for field in dataclasses.fields(TrainOptions)} - {"tuned"}
    values = {name: v for name, v in config.items() if name in fields and name not in given}
    tuned = {} if "recipe" in given else {name: v for name, v in config.items() if name in TUNED and name not in given}
    if "model" in given:
        tuned.pop("network", None)
    if "optimizer" in given:
        tuned.pop("momentum", None)
    return data or config.get("data"), replace(options, **values, tuned=tuned)


TUNED = ("network", "loss", "label_smoothing", "momentum")
_NUMBER = (int, float)
_KEYS: dict[str, Any] = {
    "data": str,
    "format": str,
    "limit": int,
    "model": str,
    "recipe": str,
    "network": dict,
    "epochs": int,
    "batch_size": int,
    "optimizer": str,
    "accumulate": int,
    "clip_norm": _NUMBER,
    "average": str,
    "augment": str,
    "balance": str,
    "folds": int,
    "lr": _NUMBER,
    "momentum": _NUMBER,
    "loss": str,
    "label_smoothing": _NUMBER,
    "schedule": str,
    "seed": int,
    "size": str,
    "device": str,
    "precision": str,
    "checkpoint_every": int,
    "log_every": int,
    "deterministic": bool,
    "compile": bool,
    "reduce_overhead": bool,
    "shard": bool,
    "sync_batchnorm": bool,
    "found": dict,
}


def read_config(path: Path) -> dict[str, Any]:
    """The settings of a config file, or of a run's own, without those that are empty. Raises LaminaError."""
    config = _loaded(path)
    if ASKED_BY_RUN in config or "metrics" in config:
        config = _of_run(path, config)
    for name, value in config.items():
        if name not in _KEYS:
            near = ", ".join(nearest_names(str(name), _KEYS))
            raise UnknownNameError(
                f"{path} has {name!r}.", f"The nearest known: {near}.", "Correct it, or take it out."
            )
        if value is not None and (
            not isinstance(value, _KEYS[name]) or (isinstance(value, bool) and _KEYS[name] is not bool)
        ):
            kinds = _KEYS[name] if isinstance(_KEYS[name], tuple) else (_KEYS[name],)
            raise LaminaError(
                f"{path} has {name}: {value!r}.",
                f"{' or '.join(kind.__name__ for kind in kinds)} was expected.",
                "Correct it; small numbers are written 1.0e-3 or 0.001.",
            )
    return {name: value for name, value in config.items() if value is not None}


def _of_run(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by which `lamina train` began a run, from the run's config.yaml. Raises where it cannot be done again."""
    asked = config.get(ASKED_BY_RUN)
    if not isinstance(asked, dict):
        raise LaminaError(
            f"{path} is the config of a run that Python code began.",
            "One that `lamina train` began holds the options that were typed.",
            "Run that code again, or write the settings down as options or in a file such as best.yaml.",
        )
    settings = {"data": config.get("data"), **{name: value for name, value in asked.items() if name != "tuned"}}
    settings |= asked.get("tuned") or {}
    model = settings.get("model")
    source = str(model).rpartition(":")[0]
    if source.endswith(".py") and not Path(source).is_file():
        raise LaminaError(
            f"{path} is of a run whose network was made by {model}, and that file is not there.",
            "A run is done again with the network that it had.",
            "Put the file back, or name where it is now: --model FILE.py:function.",
        )
    return settings


def _loaded(path: Path) -> dict[Any, Any]:
    """What a YAML file of settings holds. Raises LaminaError."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LaminaError(
            f"There is no file {path}.", "--config names a file of settings.", "lamina tune writes one: best.yaml."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LaminaError(
            f"{path} cannot be read ({str(error).splitlines()[0]}).", "YAML was expected.", "Correct the file."
        ) from error
    if not isinstance(config, dict):
        raise LaminaError(f"{path} holds no settings.", "Lines such as `lr: 0.001` were expected.", "Correct the file.")
    return config


def compare(config: Path, run: Path) -> None:
    """Prints the figure of a run beside the one that the search had found, where the config names one."""
    found = _loaded(config).get("found") or {}
    results = run / "results.csv"
    if MONITOR not in found or not results.is_file():
        return
    with results.open(newline="", encoding="utf-8") as stream:
        last = list(csv.DictReader(stream))[-1]
    if last.get(MONITOR):
        some = "" if found.get("limit") is None else f" with {found['limit']:,} pictures"
        had = f"trial {found.get('trial')} of the search had {figure_shown(found[MONITOR])}{some}"
        print(f"{MONITOR} after the last epoch: {figure_shown(float(last[MONITOR]))} ({had})")


def _asked(options: TuneOptions) -> dict[str, Any]:
    """What is searched for; what a search that goes on was not told again it takes from its beginning."""
    began: dict[str, Any] = {}
    there = (options.output / STUDY).exists()
    if there and not options.resume:
        raise LaminaError(
            f"{options.output} already holds a search.",
            "A search is not written over another.",
            "Go on with it by --resume, or choose another --output.",
        )
    if there and (options.output / ASKED).is_file():
        try:
            began = dict(yaml.safe_load((options.output / ASKED).read_text(encoding="utf-8")) or {})
        except (yaml.YAMLError, ValueError, TypeError) as error:
            raise LaminaError(
                f"{options.output / ASKED} cannot be read.", "What lamina tune wrote was expected.", "Restore the file."
            ) from error
    names = ("data", "format", "limit", "size", "trials", "epochs", "seed")
    asked = {
        n: getattr(options, n) if getattr(options, n) is not None else began.get(n, _DEFAULTS.get(n)) for n in names
    }
    asked["data"] = asked["data"] and opening.lasting_data(asked["data"])
    if asked["data"] is None:
        raise UnknownNameError(
            "tune came without DATA.", "It trains on pictures.", "Try: lamina tune mnist --limit 2000."
        )
    return asked


def _write_best(path: Path, study: Study, shape: tuple[int, ...], *, precision: str) -> Path:
    best = study.best
    settings = {name: best[name] for name in study.space if name in best and name not in tunable_cnn.NETWORK}
    # The size is that of the input shape. The limit made the search quick; who trains by this file wants all pictures.
    searched = {name: settings.pop(name) for name in ("limit", "size") if settings.get(name) is not None}
    settings = {name: value for name, value in settings.items() if name not in ("limit", "size")}
    config = {name: settings.pop(name, None) for name in ("data", "format")}
    config |= {
        "model": MODEL,
        "network": {"input_shape": list(shape), **{n: best[n] for n in tunable_cnn.NETWORK if n in best}},
    }
    config |= settings
    config |= {
        "seed": best.seed,
        "precision": precision,
        "found": {MONITOR: best.figure, "trial": best.number, **searched},
    }
    told = f"# The best trial of a search by lamina tune. epochs: {best['epochs']} is the length of a trial; more may be better.\n"
    if "limit" in searched:
        told += f"# The search looked at {searched['limit']} pictures (--limit); this trains on all.\n"
    return _write(path, {name: value for name, value in config.items() if value is not None}, told)


def _write(path: Path, values: Mapping[str, Any], told: str = "") -> Path:
    with replacing(path) as temporary:
        text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
        temporary.write_text(told + text, encoding="utf-8")
    return path


def _print_best(study: Study, held: int) -> None:
    best = study.best
    print(f"Best: trial {best.number}, {MONITOR} {figure_shown(best.figure)} on {held:,} pictures")
    print(f"  {', '.join(f'{name} {shown(value)}' for name, value in best.drawn.items())}")
    shares = [f"{name} {100 * share:.0f} %" for name, share in list(study.importance().items())[:5] if share >= 0.01]
    if shares:
        print(f"What set good trials apart most: {', '.join(shares)}")


def _warn_of_chance(study: Study, labels: Any) -> None:
    """Warns where the best accuracy is one that always naming the largest class may have by luck."""
    counts = torch.bincount(torch.as_tensor(labels))
    number = int(counts.sum())
    share = float(counts.max()) / number
    luck = _SURE * math.sqrt(share * (1 - share) / number)
    if study.best.figure <= share + luck:
        warn(
            f"The best trial's {MONITOR} of {figure_shown(study.best.figure)} on {number:,} pictures cannot be told from luck: "
            f"always naming the largest class has {share:.2f} +- {luck:.2f}. Trials that have learned were expected. "
            "Use more pictures (--limit), trials or epochs; if that does not help, see whether the labels belong to the pictures."
        )


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' if count != 1 else ''}"
