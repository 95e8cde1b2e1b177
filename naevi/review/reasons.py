"""The reasons to look at an image: a name and a sentence for each."""

from typing import NamedTuple

from naevi.preprocessing.vanished import MIN_PIXELS


class Reason(NamedTuple):
    """A reason, as the page names and explains it."""

    name: str
    help: str


VANISHED = Reason(
    "too few pixels", f"The largest lesion in the mask has fewer than {MIN_PIXELS} pixels at the training size."
)
DUPLICATE = Reason("near-duplicate", "Another image is nearly the same. Both are shown side by side.")
FRAME = Reason("turned or mirrored", "The mask fits much better if it is mirrored or turned.")
SWAPPED = Reason("swapped mask", "The mask of another image fits better here, and this mask fits better there.")
ORIENTATION = Reason("EXIF orientation", "The EXIF orientations of image and mask differ, so one may be turned.")
SHIFTED = Reason("shifted mask", "The mask fits much better if it is shifted.")
OUTLINE = Reason("doubtful outline", "The outline doesn't follow the colors of the image.")
EMPTY = Reason("empty mask", "The mask contains only background.")
TINY = Reason("tiny lesion", "The lesion is much smaller than those of the other images.")
HUGE = Reason("huge lesion", "The lesion fills nearly the whole image.")
BORDER = Reason("touches the border", "The lesion reaches the border, which is rare in this data set.")
SIZE = Reason("odd size", "The image has a different shape or a very different size than most images.")

REASONS = (VANISHED, DUPLICATE, FRAME, SWAPPED, SHIFTED, OUTLINE, ORIENTATION, EMPTY, TINY, HUGE, BORDER, SIZE)
