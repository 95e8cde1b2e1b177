"""Draw mask and prediction over an image."""

import base64
import io

import numpy as np
from PIL import Image
from scipy.ndimage import binary_erosion

from naevi.images.files import VOID, Pixels, resize_mask
from naevi.rendering.colors import BLUE, GREEN, YELLOW

# Color and opacity by outcome. Errors are filled and the correct area is only outlined, so that errors stand out and
# the lesion stays visible.
OUTCOMES = {"found": (GREEN, 0.0), "missed": (YELLOW, 0.5), "false": (BLUE, 0.5)}
MAX_WIDTH_PX = 512
LINE_WIDTH_PX = 2


def draw_overlay(image: Pixels, mask: Pixels, prediction: Pixels) -> Pixels:
    """Return the image, uint8 (H, W, 3), with found areas outlined, missed and false areas filled.

    Mask and prediction are class indices, uint8 (H, W). A pixel of the wrong class counts as missed, and nothing is
    drawn where the mask is VOID. Each area has an outline of LINE_WIDTH_PX inside its edge, except along the frame.
    """
    prediction = np.where(mask == VOID, 0, prediction)
    mask = np.where(mask == VOID, 0, mask)
    foreground, correct = mask > 0, mask == prediction
    areas = {"found": foreground & correct, "missed": foreground & ~correct, "false": ~foreground & ~correct}
    picture, levels = image.copy(), np.arange(256, dtype=np.float32)
    for name, (color, opacity) in OUTCOMES.items():
        area = areas[name]
        outline = area & ~binary_erosion(area, iterations=LINE_WIDTH_PX, border_value=1)
        for channel, value in enumerate(_rgb(color)):
            plane = picture[..., channel]
            # By a table, because floating-point copies of a large image would take gigabytes.
            blended = np.rint(levels + np.float32(opacity) * (value - levels)).astype(np.uint8)
            plane[area] = blended[plane[area]]
            plane[outline] = value
    return picture


def _rgb(color: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(color[1:]))


def shrink_image(image: Pixels) -> Pixels:
    """Return the image, uint8 (H, W, 3), no wider than MAX_WIDTH_PX."""
    return np.asarray(Image.fromarray(image).resize(_shrunk_size(image), Image.Resampling.LANCZOS))


def shrink_mask(mask: Pixels) -> Pixels:
    """Return the class indices, uint8 (H, W), no wider than MAX_WIDTH_PX."""
    return resize_mask(mask, _shrunk_size(mask))


def _shrunk_size(pixels: Pixels) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    new_width = min(width, MAX_WIDTH_PX)
    return new_width, max(1, round(height * new_width / width))


def to_jpeg(pixels: Pixels, *, lines: bool) -> bytes:
    """Return a JPEG of uint8 (H, W, 3). With `lines`, color has full resolution, because thin lines would blur."""
    buffer = io.BytesIO()
    options = {"quality": 85, "subsampling": "4:4:4"} if lines else {"quality": 80, "subsampling": "4:2:0"}
    Image.fromarray(pixels).save(buffer, format="JPEG", optimize=True, **options)
    return buffer.getvalue()


def to_data_uri(pixels: Pixels, *, lines: bool) -> str:
    """Return the JPEG as a data URI for an HTML page."""
    return "data:image/jpeg;base64," + base64.b64encode(to_jpeg(pixels, lines=lines)).decode()
