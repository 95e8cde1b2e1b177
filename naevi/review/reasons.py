"""The reasons to look at an image: a name and a sentence for each."""

from typing import NamedTuple


class Reason(NamedTuple):
    """A reason, as the page names and explains it."""

    name: str
    help: str


VANISHED = Reason("vanished lesion", "The lesion has only a few pixels at the training size.")
DUPLICATE = Reason("near-duplicate", "Another image is nearly the same. They are shown side by side.")
FRAME = Reason("other frame", "The mask fits much better if it is mirrored or turned.")
EXCHANGED = Reason("exchanged mask", "The mask of another image fits better here, and this mask fits better there.")
SHIFTED = Reason("shifted mask", "The mask fits much better if it is shifted.")
OUTLINE = Reason("doubtful outline", "The outline doesn't follow the colors of the image.")
EMPTY = Reason("empty mask", "The mask contains only background.")
TINY = Reason("tiny lesion", "The lesion is much smaller than those of the other images.")
HUGE = Reason("huge lesion", "The lesion fills nearly the whole image.")
BORDER = Reason("touches the border", "The lesion reaches the border, which is rare in this data set.")
SIZE = Reason("odd size", "The image has a different shape or a very different size than most images.")

REASONS = (VANISHED, DUPLICATE, FRAME, EXCHANGED, SHIFTED, OUTLINE, EMPTY, TINY, HUGE, BORDER, SIZE)
