"""Colours of the page and its figures: two hues that colour-blind readers tell apart, and greys.

Blue and burnt orange after Okabe and Ito (2008), darkened until each has a contrast of 4.5 on
white (WCAG 2.1, AA), so that they serve for text too.
"""

PAPER = "#ffffff"
INK = "#1a1a1a"
QUIET = "#5c5c5c"
RULE = "#d4d4d4"
SHADE = "#f5f5f2"
FOR = "#00639c"
AGAINST = "#a84a00"
ALARM = "#8f1414"
ALARM_SHADE = "#fdeeee"
