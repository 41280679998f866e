"""Where the files of the data sets come from: addresses, sizes, checksums and who vouches for them,
licence notes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One file to download. An archive is unpacked below `target`; a plain file becomes
    `target/file`."""

    file: str
    address: str
    size: int  # bytes
    checksum: str  # "md5:…" or "sha256:…" as pooch takes it; "" when nobody publishes one
    vouched: str  # who published the checksum
    target: str  # folder below the data folder
    provides: str  # a path below the data folder that exists when this file was put in place
    archive: bool = True


_TORCHVISION = "of the VOC archives: those of torchvision.datasets.VOCDetection"
_COCO = "not published on cocodataset.org; the values are those that LAVIS and PaddleDetection use"
_VOC_ADDRESS = "https://thor.robots.ox.ac.uk/pascal/VOC"
_COCO_ADDRESS = (
    "http://images.cocodataset.org"  # its https has no valid certificate, hence the checksums
)
_LISTS_ADDRESS = "https://raw.githubusercontent.com/richard-peng-xia/LMPT/HEAD/data"

_VOC2007 = "VOCdevkit/VOC2007/ImageSets/Main"
VOC_TRAINVAL = Source(
    "VOCtrainval_06-Nov-2007.tar",
    f"{_VOC_ADDRESS}/voc2007/VOCtrainval_06-Nov-2007.tar",
    460_032_000,
    "md5:c52e279531787c972589f7e41ab4ae64",
    _TORCHVISION,
    ".",
    f"{_VOC2007}/trainval.txt",
)
VOC_TEST = Source(
    "VOCtest_06-Nov-2007.tar",
    f"{_VOC_ADDRESS}/voc2007/VOCtest_06-Nov-2007.tar",
    451_020_800,
    "md5:b6e924de25625d8de591ea690078ad9f",
    _TORCHVISION,
    ".",
    f"{_VOC2007}/test.txt",
)
VOC2012 = Source(
    "VOCtrainval_11-May-2012.tar",
    f"{_VOC_ADDRESS}/voc2012/VOCtrainval_11-May-2012.tar",
    1_999_639_040,
    "md5:6cd6e144f989b92b3379bac3b3de84fd",
    _TORCHVISION,
    ".",
    "VOCdevkit/VOC2012/JPEGImages",
)


def _coco(file: str, folder: str, size: int, md5: str, provides: str) -> Source:
    return Source(
        file,
        f"{_COCO_ADDRESS}/{folder}/{file}",
        size,
        f"md5:{md5}",
        _COCO,
        "coco",
        f"coco/{provides}",
    )


def _list(name: str, part: str, size: int, sha256: str) -> Source:
    folder = name.removesuffix("_mlt")
    file = f"{folder}_{part}.txt"
    vouched = (
        "of the lists: taken from copies whose counts agree with the published ones, no "
        "official values"
    )
    checksum = f"sha256:{sha256}"
    address = f"{_LISTS_ADDRESS}/{folder}/{file}"
    return Source(file, address, size, checksum, vouched, name, f"{name}/{file}", archive=False)


SOURCES: dict[str, tuple[Source, ...]] = {
    "voc2007": (VOC_TRAINVAL, VOC_TEST),
    "voc2012": (VOC2012,),
    "coco2014": (
        _coco(
            "train2014.zip", "zips", 13_510_573_713, "0da8c0bd3d6becc4dcb32757491aca88", "train2014"
        ),
        _coco("val2014.zip", "zips", 6_645_013_297, "a3d79f5ed8d289b7a7554ce06a5782b3", "val2014"),
        _coco(
            "annotations_trainval2014.zip",
            "annotations",
            252_872_794,
            "0a379cfc70b0e71301e0f377548639bd",
            "annotations/instances_val2014.json",
        ),
    ),
    "nus_wide": (),
    "voc_mlt": (
        _list(
            "voc_mlt",
            "labels",
            204,
            "59e82ce7a1fa096b8a80c22cc72e6c86e54c598b2e1cfe08a211f1c82a0dcb2c",
        ),
        _list(
            "voc_mlt",
            "lt_train",
            57_433,
            "2111a5e58ae8b67a112a2b2c8aa98fe8fa926ac3e1d73e2e4e0e4844c90cc047",
        ),
        _list(
            "voc_mlt",
            "lt_test",
            217_854,
            "43b2929a86e9fe685cdf3b6b72fb90b6838ff9f9f427807e8b9502111e73750a",
        ),
        _list(
            "voc_mlt",
            "lt_captions",
            104_823,
            "a986c2d493d4258aa470fe0b48b66b12c1ec338e4341dda3fb4c46ef9865f273",
        ),
        VOC2012,
        VOC_TEST,
    ),
    "coco_mlt": (
        _list(
            "coco_mlt",
            "labels",
            929,
            "a16d52dc65d8bc2b7abe5875199d802e951b7af142b327f8c85b496116a87f45",
        ),
        _list(
            "coco_mlt",
            "lt_train",
            76_702,
            "8e0c354ae2214d7ced46f4a5ae24236149296be4dcd2df74f00eba2abe6be0ce",
        ),
        _list(
            "coco_mlt",
            "lt_test",
            164_352,
            "4dda722463b0ed3aada172ce1c75f46f1391e4d2bee7643760549f916a8022e5",
        ),
        _list(
            "coco_mlt",
            "lt_captions",
            572_056,
            "4bcc3de5c20e3561f6bbe90188c00cea3adf1eab58245f761e4fd9b93319fecd",
        ),
        _coco(
            "train2017.zip", "zips", 19_336_861_798, "cced6f7f71b7629ddf16f17bbcfab6b2", "train2017"
        ),
        _coco("val2017.zip", "zips", 815_585_330, "442b8da7639aecaf257c1dceb8ba8c80", "val2017"),
    ),
}

_FLICKR = "the images belong to their Flickr authors, their use must respect Flickr's terms"
_LISTS = (
    "lists by Wu et al. (ECCV 2020, github.com/wutong16/DistributionBalancedLoss), see there "
    "for their terms"
)
LICENCES: dict[str, str] = {
    "voc2007": f"{_FLICKR}; annotations by the VOC organisers",
    "voc2012": f"{_FLICKR}; annotations by the VOC organisers",
    "coco2014": f"annotations CC BY 4.0; {_FLICKR}",
    "nus_wide": f"for research, by agreement with the National University of Singapore; {_FLICKR}",
    "voc_mlt": f"{_LISTS}; {_FLICKR}",
    "coco_mlt": f"{_LISTS}; {_FLICKR}",
}

STEPS: dict[str, str] = {
    "nus_wide": """NUS-WIDE cannot be downloaded automatically (images come by mail). Step by step:
  1. Open https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html
  2. Download "Tags" (NUS_WID_Tags), "Groundtruth", "Image List" and "Concept List" from that page
     and unpack them.
  3. For the images, fill in the Agreement and Disclaimer Form that is linked there and mail it to
     the address on the page; the answer says where to download them. (Downloading the listed
     Flickr addresses oneself works as well, but many images are gone; the suite then leaves them
     out of train and test and records how many.)
  4. Put everything below {root}/nus_wide so that these paths exist:
       Flickr/actor/0001_2124494179.jpg …              269,648 images in folders named after tags
       ImageList/TrainImagelist.txt, TestImagelist.txt  161,789 and 107,859 lines
       ConceptsList/Concepts81.txt                      81 names: the unseen classes
       NUS_WID_Tags/TagList1k.txt                       1,000 names; 925 are the seen classes
       NUS_WID_Tags/Train_Tags1k.dat, Test_Tags1k.dat   one line of 1,000 zeros and ones an image
       Groundtruth/TrainTestLabels/Labels_airport_Train.txt, Labels_airport_Test.txt …
                                                        for each of the 81 concepts
  5. Run `python run_all.py data nus_wide` again: it says what is still missing. No checksums are
     published.""",
    "coco2014": """optional   The published sample of zero-shot test images,
           zero_shot(test_images='sample'), needs instances_val2014_unseen_48_17.json and
           instances_val2014_gzsi_48_17.json in {root}/coco/annotations;
           github.com/zhengye1995/Zero-shot-Instance-Segmentation links to them.""",
    "coco_mlt": "note       Only 1,909 images of train2017 are used; a folder you have can be "
    "linked to {root}/coco.",
}
