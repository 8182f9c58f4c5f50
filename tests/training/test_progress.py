import io
import mmap
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from torch import nn

from lamina.core.errors import LaminaError
from lamina.structures import Logs
from lamina.training import Loop, Runtime
from lamina.training.progress import Bar, Lines, reporter
from lamina.training.watching import Starvation


class ToyStep:
    """Trains nothing; every batch of 10 takes 2 ms."""

    def __init__(self):
        self.networks, self.updates, self.metrics = {"net": nn.Linear(1, 1)}, {}, {}

    def train(self, batch):
        time.sleep(0.002)
        return Logs(10, loss=torch.tensor(0.25), tiny=torch.tensor(1e-5))

    evaluate = train


class Batches:
    samples = 40

    def __len__(self):
        return 4

    def epoch(self, epoch, start=0):
        return iter(range(start, 4))


def console(**more):
    return Console(file=io.StringIO(), **more)


def trained(callback, batches=None, **more):
    shown = callback._console
    Loop(ToyStep(), callbacks=[callback]).fit(batches or Batches(), epochs=2, **more)
    return shown.file.getvalue()


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_terminal_gets_a_bar_and_everything_else_lines():
    live, watch = reporter(console=console(force_terminal=True))
    lines, _ = reporter(console=console())
    asked, _ = reporter(2, console=console(force_terminal=True))
    assert (type(live), type(lines), type(asked)) == (Bar, Lines, Lines)
    assert type(watch) is Starvation
    assert reporter(0) == []
    with pytest.raises(LaminaError, match=r"verbose is 'loud'.*\"auto\" or 1.*Leave it out"):
        reporter("loud")


def test_lines_tell_time_speed_and_all_figures_once_an_epoch():
    first, second = trained(
        Lines(console(width=20)), validation=[0]
    ).splitlines()  # longer than the console, not wrapped
    number = r"[\d,.]+"
    pattern = rf"epoch 1/2  {number} s  {number} images/s  loss 0.2500  tiny 1e-05  val_loss 0.2500  val_tiny 1e-05"
    assert re.fullmatch(pattern, first)
    assert second.startswith("epoch 2/2  ")
    speed = float(re.search(r"([\d,]+) images/s", first).group(1).replace(",", ""))
    assert 50 < speed < 5000  # 10 images in 2 ms at best


def test_without_a_count_of_samples_the_speed_is_in_steps():
    assert re.search(r"[\d.]+ steps/s", trained(Lines(console()), batches=[0, 1, 2]))


def test_lines_have_no_control_characters():
    assert "\x1b" not in trained(Lines(console()))


def test_the_bar_shows_batches_speed_figures_and_the_time_left():
    text = plain(trained(Bar(console(force_terminal=True, width=120))))
    assert re.search(r"epoch 1/2  ━+─* 4/4  [\d,]+ images/s  loss 0.2500  tiny 1e-05  0:00 left", text)
    assert re.search(r"epoch 1/2  ━{8}─{22} 1/4", text)


def test_finished_epochs_stay_as_lines_above_the_bar():
    text = plain(trained(Bar(console(force_terminal=True, width=120))))
    assert len(re.findall(r"epoch \d/2  [\d.]+ s  ", text)) == 2


@pytest.mark.parametrize("width", [20, 40, 60])
def test_the_bar_fits_a_narrow_terminal(width):
    text = plain(trained(Bar(console(force_terminal=True, width=width))))
    shown = [line for line in re.split(r"[\r\n]", text) if " left" in line or "…" in line]
    assert shown
    assert "…" in text  # cut, not wrapped: a second line would stay behind
    assert all(len(line) <= width for line in shown)


def test_a_failing_step_leaves_the_terminal_as_it_was():
    class Failing(ToyStep):
        def train(self, batch):
            raise RuntimeError("broken")

    bar = Bar(console(force_terminal=True))
    with pytest.raises(RuntimeError, match="broken"):
        Loop(Failing(), callbacks=[bar]).fit(Batches(), epochs=1)
    assert bar._console.file.getvalue().rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in bar._console.file.getvalue()


def test_a_run_that_goes_on_in_the_middle_of_an_epoch_counts_its_own_steps_only():
    lines = Lines(console())
    loop = Loop(ToyStep(), callbacks=[lines])
    loop.batch = 3
    loop.fit(Batches(), epochs=1)
    speed = float(re.search(r"([\d,]+) images/s", lines._console.file.getvalue()).group(1).replace(",", ""))
    assert speed < 5000  # one step of 10 images in 2 ms; four steps would be 20,000


@pytest.mark.parametrize(("used", "told"), [(None, ""), (123_456_789, "  123 MB"), (3_210_000_000, "  3.2 GB")])
def test_memory_stands_behind_the_speed_where_the_step_has_a_runtime(used, told):
    class Placed(ToyStep):
        runtime = SimpleNamespace(memory=lambda: used)

    for callback in (Lines(console()), Bar(console(force_terminal=True, width=120))):
        Loop(Placed(), callbacks=[callback]).fit(Batches(), epochs=1)
        assert re.search(rf"images/s{told}  loss 0.2500", plain(callback._console.file.getvalue()))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")
def test_memory_of_a_cpu_is_what_the_process_holds():
    runtime = Runtime("cpu", keep_memory=False)
    before = runtime.memory()
    with mmap.mmap(-1, 60_000_000) as block:  # from the system, not from what an allocator has kept
        block.write(b"x" * len(block))
        assert 50e6 < runtime.memory() - before < 150e6
