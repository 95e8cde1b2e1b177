"""What others report on PH2, each with where it stands and how it was measured: reference lines, not a ranking.

Protocols differ: on what a model was trained, on which images it was tested, whether masks were soft. Only what can be
opened and read at its source is here.
"""

from typing import NamedTuple


class Published(NamedTuple):
    """A result as its source prints it."""

    name: str
    dice: float
    iou: float
    protocol: str
    source: str


_DERMOMAMBA = "https://github.com/hnkhai25/DermoMamba"
_HARDNET = "https://www.ncbi.nlm.nih.gov/pmc/articles/PMC9849244/"
_SOFT = "soft Dice, not of masks; split not given"
_IMA = "https://github.com/sfu-mial/IMAplusplus"
_PEOPLE = "3,103 pairs of people on images of the ISIC archive that have several masks, not PH2"

PH2 = [
    Published("DermoMamba", 0.9556, 0.9157, _SOFT, _DERMOMAMBA),
    Published("SL-HarDNet", 0.927, 0.871, "trained on ISIC 2016, never on PH2", _HARDNET),
    Published("U-Net, by DermoMamba's authors", 0.9245, 0.8654, _SOFT, _DERMOMAMBA),
    Published("SegNet, by DermoMamba's authors", 0.9228, 0.8627, _SOFT, _DERMOMAMBA),
    Published("two people, median", 0.857, 0.750, _PEOPLE, _IMA),
    Published("two people, mean", 0.781, 0.683, _PEOPLE, _IMA),
]


def on(source: str) -> list[Published]:
    """Those measured on the images of a data.source, best Dice first; none but for PH2, whose images others have."""
    return PH2 if source == "ph2" else []
