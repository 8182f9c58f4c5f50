"""The data sets of labelled pictures that have a name. Where a file was published with a hash, by its authors or by those who
redistribute it, it is fetched and checked; the others are fetched by hand.

Hashes: the authors' pages (CIFAR), and the lists of torchvision (MD5) and TensorFlow Datasets (SHA-256, sizes).
"""

from __future__ import annotations

from lamina.data import formats
from lamina.data.dataset import FolderDataset, ImageDataset
from lamina.data.datasets import (
    cifar10,
    dtd,
    flowers102,
    food101,
    gtsrb,
    mnist,
    oxford_pets,
    stl10,
    svhn,
)
from lamina.data.datasets.joined import Kept
from lamina.data.datasets.named import Named, Read, Remote
from lamina.data.splits import Splits
from lamina.data.tree import Tree

_CLASSIFICATION = ("classification",)
_EMNIST = "Cohen, Afshar, Tapson & van Schaik, EMNIST, 2017"
_FASHION = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
_IMAGENETTE = (
    "tench,English springer,cassette player,chain saw,church,French horn,garbage truck,gas pump,golf ball,parachute"
)
_OXFORD, _SHA = "https://www.robots.ox.ac.uk/~vgg/data/", "sha256:"
_FAST, _SIGNS = (
    "https://s3.amazonaws.com/fast-ai-imageclas/",
    "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/",
)
_HOUSES = "http://ufldl.stanford.edu/housenumbers/"


def _emnist(variant: str) -> Read:
    def read(tree: Tree, task: str) -> Splits[ImageDataset]:
        inner = tree.below("gzip")
        return formats.idx.open_tree(Kept(inner, lambda name: name.startswith(f"emnist-{variant}-")), task)

    return read


def _caltech101(tree: Tree, task: str) -> Splits[FolderDataset]:
    """Without the pictures of nothing in particular, which are no class."""
    inner = tree.below("101_ObjectCategories")
    return formats.image_folder.open_tree(Kept(inner, lambda name: not name.startswith("BACKGROUND_Google/")), task)


def _idx(address: str, hashes: tuple[tuple[str, int], ...]) -> tuple[Remote, ...]:
    files = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    pairs = zip(files, hashes, strict=True)
    return tuple(Remote(f"{address}{name}-ubyte.gz", _SHA + digest, size) for name, (digest, size) in pairs)


def _emnist_named(variant: str, pictures: int) -> Named:
    zipped = Remote(
        "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip", "md5:58c8d27c78d21e728a6bc7b3cc06412e", 561_753_746
    )
    licence = "no formal licence; made from NIST Special Database 19"
    return Named(_CLASSIFICATION, pictures, licence, _EMNIST, (zipped,), _emnist(variant), folder="emnist")


OF_CLASSES: dict[str, Named] = {
    "caltech101": Named(
        _CLASSIFICATION,
        8_677,
        "CC BY 4.0",
        "Fei-Fei, Fergus & Perona, Learning Generative Visual Models from Few Training Examples, 2004",
        (
            Remote(
                "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
                "md5:3138e1922a9193bfa496528edbbc45d0",
                137_414_764,
                inner="caltech-101/101_ObjectCategories.tar.gz",
            ),
        ),
        _caltech101,
    ),
    "caltech256": Named(
        _CLASSIFICATION,
        30_607,
        "CC BY 4.0",
        "Griffin, Holub & Perona, Caltech-256 Object Category Dataset, 2007",
        (
            Remote(
                "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",
                "md5:67b4f42ca05d46448c6bb8ecd2220f6d",
                1_183_006_720,
            ),
        ),
        "image_folder",
    ),
    "cifar10": Named(
        _CLASSIFICATION,
        60_000,
        "no formal licence; free with citation",
        "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        (Remote(cifar10.URLS[0], cifar10.DIGEST, 170_052_171),),
        load=cifar10.load,
        folder=".",
    ),
    "cifar100": Named(
        _CLASSIFICATION,
        60_000,
        "no formal licence; free with citation",
        "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        (
            Remote(
                "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                "md5:03b5dce01913d631647c71ecec9e9cb8",
                168_513_733,
            ),
        ),
        "cifar_binary",
    ),
    "dtd": Named(
        _CLASSIFICATION,
        5_640,
        "research",
        "Cimpoi et al., Describing Textures in the Wild, 2014",
        (
            Remote(
                f"{_OXFORD}dtd/download/dtd-r1.0.1.tar.gz",
                "sha256:e42855a52a4950a3b59612834602aa253914755c95b0cff9ead6d07395f8e205",
                625_239_812,
            ),
        ),
        dtd.read,
    ),
    "emnist-balanced": _emnist_named("balanced", 131_600),
    "emnist-byclass": _emnist_named("byclass", 814_255),
    "emnist-bymerge": _emnist_named("bymerge", 814_255),
    "emnist-digits": _emnist_named("digits", 280_000),
    "emnist-letters": _emnist_named("letters", 145_600),
    "eurosat": Named(
        _CLASSIFICATION,
        27_000,
        "MIT",
        "Helber, Bischke, Dengel & Borth, EuroSAT, 2019",
        (
            Remote(
                "https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
                "c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
                "md5:c8fa014336c82ac7804f0398fcb19387",
                94_280_567,
            ),
        ),
        "image_folder",
    ),
    "fashion-mnist": Named(
        _CLASSIFICATION,
        70_000,
        "MIT, Zalando SE",
        "Xiao, Rasul & Vollgraf, Fashion-MNIST, 2017",
        _idx(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            (
                ("3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 26_421_880),
                ("a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29_515),
                ("346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4_422_102),
                ("67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5_148),
            ),
        ),
        "idx",
        classes=tuple(_FASHION.split(",")),
    ),
    "flowers102": Named(
        _CLASSIFICATION,
        8_189,
        "not known; see its page",
        "Nilsback & Zisserman, Automated Flower Classification over a Large Number of Classes, 2008",
        (
            Remote(
                f"{_OXFORD}flowers/102/102flowers.tgz",
                "sha256:2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246",
                344_862_509,
            ),
            Remote(
                f"{_OXFORD}flowers/102/imagelabels.mat",
                "sha256:4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d",
                502,
            ),
            Remote(
                f"{_OXFORD}flowers/102/setid.mat",
                "sha256:46b8678f91fd95d3c8f4feab80d271a6c834a1dd896fe29fd3e6ad9ce5c8dccd",
                14_989,
            ),
        ),
        flowers102.read,
    ),
    "food101": Named(
        _CLASSIFICATION,
        101_000,
        "scientific fair use; the photos belong to Foodspotting",
        "Bossard, Guillaumin & Van Gool, Food-101: Mining Discriminative Components with Random Forests, 2014",
        (
            Remote(
                "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
                "sha256:d97d15e438b7f4498f96086a4f7e2fa42a32f2712e87d3295441b2b6314053a4",
                4_996_278_331,
            ),
        ),
        food101.read,
    ),
    "gtsrb": Named(
        _CLASSIFICATION,
        39_270,
        "not known; see its page",
        "Stallkamp, Schlipsing, Salmen & Igel, Man vs. Computer, 2012",
        (
            Remote(f"{_SIGNS}GTSRB-Training_fixed.zip", "md5:513f3c79a4c5141765e10e952eaa2478", 187_490_228),
            Remote(f"{_SIGNS}GTSRB_Final_Test_Images.zip", "md5:c7e4e6327067d32654124b0fe9e82185", 88_978_620),
            Remote(f"{_SIGNS}GTSRB_Final_Test_GT.zip", "md5:fe31e9c9270bbcd7b84b7f21a9d9d9e5", 99_620),
        ),
        gtsrb.read,
    ),
    "hymenoptera": Named(
        _CLASSIFICATION,
        397,
        "no formal licence; photos of ImageNet, for research",
        "Chilamkurthy, Transfer Learning for Computer Vision Tutorial",
        read="image_folder",
        by_hand="It was published without a hash: fetch https://download.pytorch.org/tutorial/hymenoptera_data.zip.",
    ),
    "imagenet": Named(
        _CLASSIFICATION,
        1_331_167,
        "research and education, not commercial; for registered persons",
        "Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, 2015",
        read="imagenet",
        by_hand="Register at https://image-net.org/download-images or join the competition "
        "https://www.kaggle.com/c/imagenet-object-localization-challenge, and fetch ILSVRC 2012.",
    ),
    "imagenette": Named(
        _CLASSIFICATION,
        13_394,
        "Apache 2.0; photos of ImageNet, for research",
        "Howard, Imagenette, https://github.com/fastai/imagenette",
        (
            Remote(
                f"{_FAST}imagenette2-160.tgz",
                "md5:e793b78cc4c9e9a4ccc0c1155377a412",
                99_003_388,
            ),
        ),
        "image_folder",
        classes=tuple(_IMAGENETTE.split(",")),
    ),
    "imagenette-320": Named(
        _CLASSIFICATION,
        13_394,
        "Apache 2.0; photos of ImageNet, for research",
        "Howard, Imagenette, https://github.com/fastai/imagenette",
        (
            Remote(
                f"{_FAST}imagenette2-320.tgz",
                "md5:3df6f0d01a2c9592104656642f5e78a3",
                341_663_724,
            ),
        ),
        "image_folder",
        classes=tuple(_IMAGENETTE.split(",")),
    ),
    "kmnist": Named(
        _CLASSIFICATION,
        70_000,
        "CC BY-SA 4.0, ROIS-DS Center for Open Data in the Humanities",
        "Clanuwat et al., Deep Learning for Classical Japanese Literature, 2018",
        _idx(
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            (
                ("51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4", 18_165_135),
                ("e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17", 29_497),
                ("edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5", 3_041_136),
                ("20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c", 5_120),
            ),
        ),
        "idx",
        classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
    "mnist": Named(
        _CLASSIFICATION,
        70_000,
        mnist.LICENCE,
        "LeCun, Bottou, Bengio & Haffner, Gradient-Based Learning Applied to Document Recognition, 1998",
        load=mnist.load,
    ),
    "oxford-pets": Named(
        (*_CLASSIFICATION, "segmentation"),
        7_349,
        "CC BY-SA 4.0",
        "Parkhi, Vedaldi, Zisserman & Jawahar, Cats and Dogs, 2012",
        (
            Remote(
                f"{_OXFORD}pets/data/images.tar.gz",
                "sha256:67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
                791_918_971,
            ),
            Remote(
                f"{_OXFORD}pets/data/annotations.tar.gz",
                "sha256:52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
                19_173_078,
            ),
        ),
        oxford_pets.read,
    ),
    "stl10": Named(
        _CLASSIFICATION,
        13_000,
        "not known; see its page",
        "Coates, Ng & Lee, An Analysis of Single-Layer Networks in Unsupervised Feature Learning, 2011",
        (
            Remote(
                "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
                "sha256:f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
                2_640_397_119,
            ),
        ),
        stl10.read,
    ),
    "svhn": Named(
        _CLASSIFICATION,
        99_289,
        "not commercial",
        "Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning, 2011",
        (
            Remote(
                f"{_HOUSES}train_32x32.mat",
                "sha256:435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
                182_040_794,
            ),
            Remote(
                f"{_HOUSES}test_32x32.mat",
                "sha256:cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
                64_275_384,
            ),
        ),
        svhn.read,
    ),
}
