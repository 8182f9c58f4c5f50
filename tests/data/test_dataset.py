"""Data sets in memory and in files: samples, cuts, and what they refuse."""

import pickle

import pytest
import torch
from PIL import Image

from lamina.core.errors import DataError, ShapeError
from lamina.data import FolderDataset, ImageDataset, Preprocess, Splits


def make(count: int = 12, classes: int = 3) -> ImageDataset:
    images = torch.arange(count * 16, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(count, 1, 4, 4)
    return ImageDataset(images, torch.arange(count) % classes, tuple("abcdef"[:classes]), name="made")


@pytest.fixture
def folder(tmp_path):
    """Six pictures of different sizes, two of each class."""
    paths = []
    for index in range(6):
        path = tmp_path / f"{index}.png"
        Image.new("RGB", (8 + index, 9), (40 * index, 10, 20)).save(path)
        paths.append(path)
    return FolderDataset(paths, [0, 0, 1, 1, 2, 2], ("a", "b", "c"), root=tmp_path)


def test_a_sample_is_a_uint8_picture_and_an_integer():
    image, label = make()[4]
    assert image.dtype == torch.uint8
    assert image.shape == (1, 4, 4)
    assert label == 1
    assert type(label) is int
    assert make().task == "classification"


def test_works_in_a_torch_data_loader():
    images, labels = next(iter(torch.utils.data.DataLoader(make(), batch_size=5)))
    assert images.shape == (5, 1, 4, 4)
    assert labels.tolist() == [0, 1, 2, 0, 1]


def test_a_subset_keeps_order_classes_and_name():
    part = make().subset([5, 0])
    assert part.labels.tolist() == [2, 0]
    assert torch.equal(part.images[1], make().images[0])
    assert (part.classes, part.name) == (("a", "b", "c"), "made")


def test_a_split_holds_every_picture_exactly_once():
    rest, held = make().split(0.25)
    assert (len(rest), len(held)) == (9, 3)
    together = {image.numpy().tobytes() for image in torch.cat([rest.images, held.images])}
    assert together == {image.numpy().tobytes() for image in make().images}


def test_a_split_does_not_depend_on_order_but_on_the_seed():
    data = make(200)
    turned = data.subset(torch.randperm(200, generator=torch.Generator().manual_seed(1)))

    def held(one, seed=0):
        return {image.numpy().tobytes() for image in one.split(0.1, seed=seed)[1].images}

    assert held(data) == held(turned)
    assert held(data) != held(data, seed=1)


def test_equal_pictures_never_land_on_both_sides():
    images = torch.randint(0, 256, (10, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = ImageDataset(images.repeat(7, 1, 1, 1), torch.arange(70) % 2, ("a", "b"))
    for seed in range(5):
        rest, held = data.split(0.33, seed=seed)
        sides = [{image.numpy().tobytes() for image in side.images} for side in (rest, held)]
        assert not sides[0] & sides[1]
        assert len(rest) + len(held) == 70


def test_a_split_leaves_something_on_both_sides():
    assert [len(side) for side in make(3).split(0.01)] == [2, 1]
    assert [len(side) for side in make(3).split(0.99)] == [1, 2]


def test_copies_of_one_picture_cannot_be_split():
    data = ImageDataset(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.zeros(5, dtype=torch.int64), ("a",))
    with pytest.raises(DataError, match="cannot be split"):
        data.split(0.5)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 20])
def test_a_fraction_outside_0_and_1_is_refused(fraction):
    with pytest.raises(DataError, match="between 0 and 1"):
        make().split(fraction)


def test_a_limit_takes_the_classes_in_turn_and_keeps_the_order():
    data = ImageDataset(make(9).images, torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 2]), ("a", "b", "c"))
    assert data.limit(3).labels.tolist() == [0, 1, 2]
    assert data.limit(6).labels.tolist() == [0, 0, 0, 1, 1, 2]
    assert torch.equal(data.limit(3).images, data.images[[0, 5, 8]])
    assert data.limit(100) is data
    with pytest.raises(DataError, match="limit is 0"):
        data.limit(0)


def test_the_label_that_is_outside_the_classes_is_named():
    with pytest.raises(DataError, match=r"Label 2 is 7\. With 3 classes, labels lie in 0\.\.2\."):
        ImageDataset(make(3).images, torch.tensor([0, 1, 7]), ("a", "b", "c"))


@pytest.mark.parametrize("images", [torch.zeros(3, 1, 4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8)])
def test_only_uint8_batches_are_images(images):
    with pytest.raises(ShapeError, match="uint8 images of shape N C H W"):
        ImageDataset(images, torch.tensor([0, 0, 0]), ("a",))


def test_counts_that_differ_one_hot_labels_and_nothing_at_all_are_refused():
    with pytest.raises(DataError, match="3 images and 2 labels"):
        ImageDataset(make(3).images, torch.tensor([0, 0]), ("a",))
    with pytest.raises(DataError, match="argmax"):
        ImageDataset(make(3).images, torch.eye(3), ("a", "b", "c"))
    with pytest.raises(DataError, match="empty"):
        make().subset([])


def test_files_keep_their_size_without_preprocessing_and_get_one_with_it(folder):
    image, label = folder[5]
    assert image.shape == (3, 9, 13)
    assert image[0, 0, 0] == 200
    assert label == 2
    assert folder.prepared(Preprocess(channels=1, size=(6, 5)))[5][0].shape == (1, 6, 5)


def test_cuts_of_a_folder_are_cuts_of_its_files(folder):
    rest, held = folder.split(0.34)
    assert sorted([*rest.paths, *held.paths]) == sorted(folder.paths)
    assert len(held) == 2
    assert folder.limit(3).labels.tolist() == [0, 1, 2]
    assert folder.subset([3]).paths == [folder.paths[3]]


def test_a_copied_file_stays_on_the_side_of_the_original(folder, tmp_path):
    copies = []
    for path in folder.paths:
        copies.append(tmp_path / f"copy{path.name}")
        copies[-1].write_bytes(path.read_bytes())
    both = FolderDataset([*folder.paths, *copies], [0] * 12, ("a",), root=tmp_path)
    rest, held = both.split(0.5)
    assert not {path.name[-5:] for path in rest.paths} & {path.name[-5:] for path in held.paths}


def test_a_folder_in_memory_holds_what_its_samples_hold(folder):
    preprocess = Preprocess(size=(7, 7))
    loaded = folder.in_memory(preprocess)
    assert torch.equal(loaded.images, torch.stack([folder.prepared(preprocess)[i][0] for i in range(6)]))
    assert torch.equal(loaded.labels, folder.labels)


def test_unreadable_pictures_are_left_out_and_all_named_in_one_warning(folder):
    folder.paths[1].write_bytes(b"no picture")
    folder.paths[4].write_bytes(folder.paths[4].read_bytes()[:40])
    with pytest.warns(UserWarning, match="2 of 6 pictures") as caught:
        loaded = folder.in_memory(Preprocess(size=(4, 4)))
    assert len(caught) == 1
    assert str(folder.paths[1]) in str(caught[0].message)
    assert str(folder.paths[4]) in str(caught[0].message)
    assert loaded.labels.tolist() == [0, 1, 1, 2]
    assert loaded.images[:, 0, 0, 0].tolist() == [0, 80, 120, 200]


def test_an_unreadable_picture_can_be_an_error_that_names_the_file(folder):
    folder.paths[2].write_bytes(b"")
    with pytest.raises(DataError, match=r"2\.png cannot be read"):
        folder.in_memory(Preprocess(size=(4, 4)), on_error="raise")


def test_a_folder_without_one_readable_picture_is_an_error(folder):
    for path in folder.paths:
        path.write_bytes(b"")
    with pytest.raises(DataError, match="None of the 6 pictures"):
        folder.in_memory(Preprocess(size=(4, 4)))


def test_a_folder_data_set_travels_to_spawned_workers(folder):
    again = pickle.loads(pickle.dumps(folder))
    assert torch.equal(again[3][0], folder[3][0])


def test_a_folder_fits_in_memory_where_it_takes_less_than_a_quarter_of_what_is_free(folder, monkeypatch):
    preprocess = Preprocess(size=(10, 10))  # 300 bytes for each of six pictures
    for free, fits in ((4 * 1801, True), (4 * 1800, False)):
        monkeypatch.setattr("lamina.data.dataset.free_bytes", lambda free=free: free)
        assert folder.fits_in_memory(preprocess) is fits


def test_splits_know_their_classes_and_refuse_to_be_empty():
    assert Splits(None, make()).classes == ("a", "b", "c")
    with pytest.raises(DataError, match="no part"):
        Splits(None, None, name="nothing")


@pytest.mark.parametrize("indices", [[-1, 0], torch.tensor([True, False, False, False, False, True]).flip(0)])
def test_a_subset_counts_from_the_end_and_takes_masks(folder, indices):
    wanted = [5, 0] if isinstance(indices, list) else [0, 5]
    part, loaded = folder.subset(indices), folder.in_memory(Preprocess(size=(4, 4)))
    assert list(part.paths) == [folder.paths[index] for index in wanted]
    assert part.labels.tolist() == folder.labels[wanted].tolist()
    assert torch.equal(loaded.subset(indices).images, loaded.images[wanted])


@pytest.mark.parametrize("indices", [[6], [-7], torch.tensor([True])])
def test_positions_that_are_not_there_are_refused(folder, indices):
    for dataset in (folder, folder.in_memory(Preprocess(size=(4, 4)))):
        with pytest.raises(DataError, match="Numbers below 6, or a mask of 6, were expected"):
            dataset.subset(indices)


def test_a_subset_without_a_cache_does_not_keep_the_names_of_all(folder):
    assert folder.subset([3])._known[0] == [folder.paths[3]]


def test_pictures_in_memory_count_once_for_each_process_of_this_machine(folder, monkeypatch):
    monkeypatch.setattr("lamina.data.dataset.free_bytes", lambda: 4 * 1801)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert not folder.fits_in_memory(Preprocess(size=(10, 10)))


def test_a_folder_shows_its_name_and_its_pictures_and_classes(tmp_path):
    paths = [tmp_path / "photos" / f"{n}.png" for n in range(3)]
    made = FolderDataset(paths, [0, 0, 1], ("a", "b"), root=tmp_path / "photos")
    assert repr(made) == "<FolderDataset 'photos', 3 pictures, 2 classes>"
    assert repr(FolderDataset(paths, [0] * 3, ("a",), root=tmp_path / "photos")).endswith("3 pictures, 1 class>")


def test_the_pictures_of_each_class_are_counted(tmp_path):
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    assert ImageDataset(images, torch.tensor([0, 2, 2, 0]), "abc").counts().tolist() == [2, 0, 2]
    several = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]])
    assert FolderDataset(["a", "b", "c", "d"], several, "abc", root=tmp_path).counts().tolist() == [2, 2, 0]
