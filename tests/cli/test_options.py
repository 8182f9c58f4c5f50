"""What is wrong with the options of `lamina train` is said in the words that were typed, before any data is read."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lamina import networks
from lamina.cli import launch, opening, options
from lamina.cli.commands import app
from lamina.cli.options import USUAL, TrainOptions, parse_size
from lamina.core.errors import LaminaError, UnknownNameError
from lamina.data.augment import AUGMENTATIONS
from lamina.networks import by_path

PARAMETERS_OF = opening.parameters_of  # before conftest.py spares the tests all but one


@pytest.fixture(autouse=True)
def no_data(tmp_path, monkeypatch):
    """An empty folder, in which nobody may open data."""

    def read(name, format):
        raise AssertionError("The data was read.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(opening, "open_data", read)


def refused(*words):
    ran = CliRunner().invoke(app, ["train", "photos", *map(str, words)])
    assert isinstance(ran.exception, LaminaError), ran.exception
    return str(ran.exception)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--optimizer", "adamm"], "--optimizer 'adamm' is not known. The nearest of the 10 known names: 'adam',"),
        (["--schedule", "cosin"], "--schedule 'cosin' is not known. The nearest of the 13 known names: 'cosine',"),
        (["--average", "emma"], "--average 'emma' is not known. The known names are: 'ema', 'swa', 'wise'."),
        (["--precision", "half"], "--precision 'half' is not known. The known names are: 'auto', 'float32',"),
        (["--augment", "flip, crap"], "--augment 'crap' is not known. The nearest of the 17 known names: 'crop',"),
        (
            ["--format", "imagenett"],
            "--format 'imagenett' is not known. The nearest of the 22 known names: 'imagenet',",
        ),
        (["--model", "deepconvet"], "--model 'deepconvet' is not known."),
        (["--recipe", "mnist_fats"], "--recipe 'mnist_fats' is not known."),
        (["--recipe", "mnist_fast", "--augment", "flip"], "--recipe came beside --augment."),
        (["--device", "gpu"], "--device 'gpu' is no device. Here there are: cpu"),
        (["--device", "cuda:99"], "--device 'cuda:99' is not on this machine."),
        (["--lr", "-1"], "--lr -1.0 came. A number that is not negative"),
        (["--lr", "nan"], "--lr nan came."),
        (["--clip-norm", "0"], "--clip-norm 0.0 came. A number above 0"),
        (["--size", "big"], "--size 'big' is no size."),
        (["--model", "mine.py:net"], "There is no file mine.py."),
        (["--devices", "2", "--lr", "-1"], "--lr -1.0 came."),
        (["--devices", "2", "--batch-size", "1"], "--batch-size 1 came, and 2 processes train together."),
    ],
)
def test_a_wrong_option_is_named_as_it_was_typed_before_data_is_read(words, says, monkeypatch):
    monkeypatch.setattr(launch, "start", lambda *args, **rest: pytest.fail("Processes were started."))
    assert says in refused(*words)
    assert not list(Path().iterdir())


def test_a_function_that_a_file_does_not_have_is_named_before_data_is_read_and_the_file_is_run_once():
    Path("mine.py").write_text(
        "from pathlib import Path\nPath('ran' if not Path('ran').exists() else 'again').touch()\ndef net(num_classes):\n    return 3\n"
    )
    assert "mine.py has no function 'nett'. It has: net." in refused("--model", "mine.py:nett")
    assert by_path.find("mine.py:net")(10) == 3
    assert Path("ran").exists()
    assert not Path("again").exists()


def test_a_folder_that_cannot_take_the_run_is_named_with_the_command_that_goes_on():
    Path("taken").write_text("")
    assert "--output taken is a file." in refused("-o", "taken")
    Path("run").mkdir()
    Path("run/config.yaml").write_text("data: photos\n")
    assert "Go on with it: lamina train --resume --output run; or name another --output." in refused("-o", "run")


def test_options_that_mean_something_pass_the_check():
    TrainOptions(
        model="deepconvnet",
        optimizer="AdamW",
        schedule="cosine",
        average="ema",
        augment=",".join(AUGMENTATIONS),
        size="24x20",
        lr=0.0,
        clip_norm=1.0,
        device="cpu",
        batch_size=2,
    ).check(processes=2)
    assert parse_size("96x128") == (96, 128)
    assert TrainOptions(augment="flip, crop").augmentations() == ["flip", "crop"]


def test_how_the_network_is_compiled_reaches_the_runtime(monkeypatch):
    told = []
    monkeypatch.setattr(options, "Runtime", lambda *_, compile, **__: told.append(compile))
    for given in ({}, {"compile": True}, {"reduce_overhead": True}):
        TrainOptions(**given).runtime()
    assert told == ["auto", True, "reduce-overhead"]


def test_the_names_of_augmentations_in_the_help_are_those_of_the_table():
    shown = re.sub(r"\s+", " ", CliRunner().invoke(app, ["train", "--help"]).stdout)
    listed = re.search(r"some of (.*?), with commas", shown)[1].split(", ")
    assert sorted(listed) == sorted(AUGMENTATIONS)


def test_help_fits_a_terminal_of_80_columns_and_lists_options_by_topic():
    for words in (["--help"], ["train", "--help"], ["find-lr", "--help"], ["evaluate", "--help"]):
        shown = CliRunner().invoke(app, words, terminal_width=80).stdout
        assert max(map(len, shown.splitlines())) <= 80
        assert not [line for line in shown.splitlines()[1:] if line.endswith("...") and not line.endswith(" ...")]
    shown = CliRunner().invoke(app, ["train", "--help"], terminal_width=80).stdout
    topics = [line for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert topics[1:] == ["Network and pictures:", "Training:", "The run:", "Device:", "Several processes:", "Other:"]
    assert "train/ and val/" in re.sub(r"\s+", " ", shown)


def test_networks_are_listed_in_80_columns_with_their_parameters(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = CliRunner().invoke(app, ["models"]).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    (line,) = [line for line in lines if line.startswith("cifar_resnet20 ")]
    assert line.split()[1] == "269,722"
    assert any(line.startswith("mnist_fast ") for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for task in USUAL for name in networks.names(task)])
def test_of_each_network_the_parameters_are_counted(name):
    assert int(PARAMETERS_OF(name).replace(",", "")) > 10_000


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, KeyboardInterrupt("Saved.")])
def test_ctrl_c_is_told_once_with_exit_code_130(monkeypatch, interrupt):
    def stop(name, format, task):
        raise interrupt

    monkeypatch.setattr(opening, "open_data", stop)
    ran = CliRunner().invoke(app, ["train", "photos"])
    assert ran.exit_code == 130
    early = "Stopped by Ctrl-C before training began; nothing was saved.\n"
    assert ran.stderr == (early if interrupt is KeyboardInterrupt else "Saved.\n")


def test_of_several_processes_the_first_leaves_its_last_words_to_the_one_that_started_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    launch.say_last("one")
    monkeypatch.setenv("LAMINA_SAID", str(tmp_path / "said"))
    launch.say_last("two")
    assert not (tmp_path / "said").exists()
    monkeypatch.setenv("RANK", "0")
    launch.say_last("three")
    assert (tmp_path / "said").read_text() == "three"
    assert launch.devices_started() == 2
    monkeypatch.delenv("LAMINA_SAID")
    assert launch.devices_started() is None
    launch.say_last("four")
    assert capsys.readouterr().err == "four\n"


def test_an_unknown_name_is_a_usage_error():
    with pytest.raises(UnknownNameError):
        TrainOptions(optimizer="adamm").check()
