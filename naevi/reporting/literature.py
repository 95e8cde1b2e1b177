"""Published results on PH2, each with its source and protocol: reference values, not a ranking.

Protocols differ in training data, test images and soft or binary masks. Only results that can be read at their source
are listed.
"""

from typing import NamedTuple


class PublishedResult(NamedTuple):
    """A result as its source has it."""

    name: str
    dice: float
    iou: float
    protocol: str
    source: str


_DERMOMAMBA = "https://github.com/hnkhai25/DermoMamba"
_HARDNET = "https://www.ncbi.nlm.nih.gov/pmc/articles/PMC9849244/"
_SOFT = "soft Dice, not of binary masks; split not published"
_IMA = "https://github.com/sfu-mial/IMAplusplus"
_ANNOTATORS = "3,103 pairs of annotators, on images of the ISIC archive with several masks, not on PH2"

PH2_RESULTS = [
    PublishedResult("DermoMamba", 0.9556, 0.9157, _SOFT, _DERMOMAMBA),
    PublishedResult("SL-HarDNet", 0.927, 0.871, "trained on ISIC 2016, not on PH2", _HARDNET),
    PublishedResult("U-Net, by DermoMamba's authors", 0.9245, 0.8654, _SOFT, _DERMOMAMBA),
    PublishedResult("SegNet, by DermoMamba's authors", 0.9228, 0.8627, _SOFT, _DERMOMAMBA),
    PublishedResult("two annotators, median", 0.857, 0.750, _ANNOTATORS, _IMA),
    PublishedResult("two annotators, mean", 0.781, 0.683, _ANNOTATORS, _IMA),
]


def published_results(source: str) -> list[PublishedResult]:
    """Return the published results on the images of a data.source, best Dice first. Only PH2 has any."""
    return PH2_RESULTS if source == "ph2" else []
