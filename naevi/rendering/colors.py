"""The Okabe-Ito palette, safe for color-blind readers (https://jfly.uni-koeln.de/color/), and the text color."""

ORANGE, SKY, GREEN = "#e69f00", "#56b4e9", "#009e73"
YELLOW, BLUE, VERMILION, PURPLE = "#f0e442", "#0072b2", "#d55e00", "#cc79a7"
TEXT_COLOR = "#202124"  # of plots; `to_svg` replaces it by the text color of the page, light or dark
