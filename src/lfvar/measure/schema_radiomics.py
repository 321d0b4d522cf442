"""The 102 radiomics: names, units, ranges and meanings. Part of `lfvar.measure.schema`, and read through it.

One line per feature, in the order of pyradiomics' classes: name there; unit; lowest and highest value; `log` for
positive features with a heavy tail; meaning.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple


class RadiomicsRow(NamedTuple):
    """One line of the tables below, with its names."""

    name: str
    group: Literal["shape", "histogram", "texture"]
    unit: str
    low: float | None
    high: float | None
    transform: Literal["none", "log"]
    pyradiomics: str
    description: str


_SHAPE2D = """
Elongation; 1; 0; 1; none; short by long axis of the ellipse with the lesion's moments
MajorAxisLength; px; 0; -; log; long axis of that ellipse
MaximumDiameter; px; 0; -; log; largest distance between two points of the outline
MeshSurface; px²; 0; -; log; area within the outline
MinorAxisLength; px; 0; -; log; short axis of that ellipse
Perimeter; px; 0; -; log; length of the outline, as a mesh of half-pixel steps
PerimeterSurfaceRatio; 1/px; 0; -; log; perimeter by area
PixelSurface; px²; 0; -; log; number of pixels
Sphericity; 1; 0; 1; none; perimeter of the disc of the same area by perimeter
"""

_FIRSTORDER = """
10Percentile; grey levels; 0; 255; none; 10th percentile
90Percentile; grey levels; 0; 255; none; 90th percentile
Energy; grey levels²; 0; -; log; sum of squares
Entropy; bits; 0; -; none; entropy of the histogram of bins
InterquartileRange; grey levels; 0; 255; none; 75th minus 25th percentile
Kurtosis; 1; 1; -; log; fourth standardised moment (3 for a normal distribution)
Maximum; grey levels; 0; 255; none; highest value
MeanAbsoluteDeviation; grey levels; 0; 255; none; mean distance from the mean
Mean; grey levels; 0; 255; none; mean
Median; grey levels; 0; 255; none; median
Minimum; grey levels; 0; 255; none; lowest value
Range; grey levels; 0; 255; none; highest minus lowest value
RobustMeanAbsoluteDeviation; grey levels; 0; 255; none; mean distance from the mean between the 10th and 90th percentile
RootMeanSquared; grey levels; 0; 255; none; root of the mean of squares
Skewness; 1; -; -; none; third standardised moment
TotalEnergy; grey levels² px²; 0; -; log; sum of squares times the area of a pixel (1: equals Energy)
Uniformity; 1; 0; 1; none; sum of squares of the histogram of bins
Variance; grey levels²; 0; -; log; mean square distance from the mean
"""

_GLCM = """
Autocorrelation; bins²; 1; -; log; mean product of neighbouring levels
ClusterProminence; bins⁴; 0; -; log; fourth moment of the sum of neighbours: peakedness and asymmetry about the mean
ClusterShade; bins³; -; -; none; third moment of the sum of neighbours: skewness
ClusterTendency; bins²; 0; -; log; second moment of the sum of neighbours: groups of similar levels
Contrast; bins²; 0; -; log; mean square difference of neighbours
Correlation; 1; -1; 1; none; linear dependence of neighbours
DifferenceAverage; bins; 0; -; log; mean difference of neighbours
DifferenceEntropy; bits; 0; -; none; entropy of the difference of neighbours
DifferenceVariance; bins²; 0; -; log; variance of the difference of neighbours
Id; 1; 0; 1; none; inverse difference: homogeneity
Idm; 1; 0; 1; none; inverse difference moment: homogeneity
Idmn; 1; 0; 1; none; the same, normalised by the number of levels
Idn; 1; 0; 1; none; inverse difference, normalised by the number of levels
Imc1; 1; -1; 0; none; information measure of correlation 1
Imc2; 1; 0; 1; none; information measure of correlation 2
InverseVariance; 1; 0; 1; none; mean inverse square difference of unequal neighbours
JointAverage; bins; 1; -; none; mean level
JointEnergy; 1; 0; 1; none; sum of squares of the co-occurrence matrix
JointEntropy; bits; 0; -; none; entropy of the co-occurrence matrix
MCC; 1; 0; 1; none; maximal correlation coefficient
MaximumProbability; 1; 0; 1; none; share of the most frequent pair of neighbours
SumAverage; bins; 2; -; none; mean sum of neighbours
SumEntropy; bits; 0; -; none; entropy of the sum of neighbours
SumSquares; bins²; 0; -; log; variance of the levels of pairs
"""

_GLRLM = """
GrayLevelNonUniformity; runs; 0; -; log; how unequally runs share the levels
GrayLevelNonUniformityNormalized; 1; 0; 1; none; the same by number of runs
GrayLevelVariance; bins²; 0; -; log; variance of the level of runs
HighGrayLevelRunEmphasis; bins²; 1; -; log; runs of high levels
LongRunEmphasis; px²; 1; -; log; long runs
LongRunHighGrayLevelEmphasis; px² bins²; 1; -; log; long runs of high levels
LongRunLowGrayLevelEmphasis; px²/bins²; 0; -; log; long runs of low levels
LowGrayLevelRunEmphasis; 1/bins²; 0; 1; log; runs of low levels
RunEntropy; bits; 0; -; none; entropy of lengths and levels of runs
RunLengthNonUniformity; runs; 0; -; log; how unequally runs share the lengths
RunLengthNonUniformityNormalized; 1; 0; 1; none; the same by number of runs
RunPercentage; 1; 0; 1; none; runs by pixels: fine texture
RunVariance; px²; 0; -; log; variance of the length of runs
ShortRunEmphasis; 1; 0; 1; none; short runs
ShortRunHighGrayLevelEmphasis; bins²; 0; -; log; short runs of high levels
ShortRunLowGrayLevelEmphasis; 1/bins²; 0; 1; log; short runs of low levels
"""

_GLSZM = """
GrayLevelNonUniformity; zones; 0; -; log; how unequally zones share the levels
GrayLevelNonUniformityNormalized; 1; 0; 1; none; the same by number of zones
GrayLevelVariance; bins²; 0; -; log; variance of the level of zones
HighGrayLevelZoneEmphasis; bins²; 1; -; log; zones of high levels
LargeAreaEmphasis; px⁴; 1; -; log; large zones
LargeAreaHighGrayLevelEmphasis; px⁴ bins²; 1; -; log; large zones of high levels
LargeAreaLowGrayLevelEmphasis; px⁴/bins²; 0; -; log; large zones of low levels
LowGrayLevelZoneEmphasis; 1/bins²; 0; 1; log; zones of low levels
SizeZoneNonUniformity; zones; 0; -; log; how unequally zones share the sizes
SizeZoneNonUniformityNormalized; 1; 0; 1; none; the same by number of zones
SmallAreaEmphasis; 1; 0; 1; none; small zones
SmallAreaHighGrayLevelEmphasis; bins²; 0; -; log; small zones of high levels
SmallAreaLowGrayLevelEmphasis; 1/bins²; 0; 1; log; small zones of low levels
ZoneEntropy; bits; 0; -; none; entropy of sizes and levels of zones
ZonePercentage; 1; 0; 1; log; zones by pixels: fine texture
ZoneVariance; px⁴; 0; -; log; variance of the size of zones
"""

_NGTDM = """
Busyness; px/bins; 0; -; log; quick changes from a pixel to its neighbours
Coarseness; 1/bins; 0; 1000000; log; slow changes over wide areas (1000000 where nothing changes)
Complexity; bins; 0; -; log; many rapid changes of level
Contrast; bins³; 0; -; log; range of levels times local change
Strength; bins; 0; -; log; clearly distinct primitives
"""

_GLDM = """
DependenceEntropy; bits; 0; -; none; entropy of levels and dependences
DependenceNonUniformity; px; 0; -; log; how unequally pixels share the dependences
DependenceNonUniformityNormalized; 1; 0; 1; none; the same by number of pixels
DependenceVariance; 1; 0; -; none; variance of the number of equal neighbours
GrayLevelNonUniformity; px; 0; -; log; how unequally pixels share the levels
GrayLevelVariance; bins²; 0; -; log; variance of the level
HighGrayLevelEmphasis; bins²; 1; -; log; high levels
LargeDependenceEmphasis; 1; 1; 81; none; many equal neighbours: homogeneous texture
LargeDependenceHighGrayLevelEmphasis; bins²; 1; -; log; homogeneous areas of high levels
LargeDependenceLowGrayLevelEmphasis; 1/bins²; 0; 81; log; homogeneous areas of low levels
LowGrayLevelEmphasis; 1/bins²; 0; 1; log; low levels
SmallDependenceEmphasis; 1; 0; 1; log; few equal neighbours: heterogeneous texture
SmallDependenceHighGrayLevelEmphasis; bins²; 0; -; log; heterogeneous areas of high levels
SmallDependenceLowGrayLevelEmphasis; 1/bins²; 0; 1; log; heterogeneous areas of low levels
"""


def _parse(table: str, group: Literal["shape", "histogram", "texture"], kind: str) -> list[RadiomicsRow]:
    prefix = group if group != "texture" else f"texture_{kind}"
    rows = []
    for line in table.strip().splitlines():
        name, unit, low, high, transform, description = line.split("; ")
        assert transform in ("none", "log"), line
        rows.append(
            RadiomicsRow(
                name=f"{prefix}_{_snake_case(name)}",
                group=group,
                unit=unit,
                low=None if low == "-" else float(low),
                high=None if high == "-" else float(high),
                transform="log" if transform == "log" else "none",
                pyradiomics=f"{kind}_{name}",
                description=description,
            )
        )
    return rows


def _snake_case(name: str) -> str:
    """`10Percentile` → `percentile_10`, `GrayLevelVariance` → `gray_level_variance`, `MCC` → `mcc`."""
    if number := re.match(r"\d+", name):
        return f"{_snake_case(name[number.end() :])}_{number[0]}"
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


RADIOMICS: tuple[RadiomicsRow, ...] = (
    *_parse(_SHAPE2D, "shape", "shape2D"),
    *_parse(_FIRSTORDER, "histogram", "firstorder"),
    *_parse(_GLCM, "texture", "glcm"),
    *_parse(_GLRLM, "texture", "glrlm"),
    *_parse(_GLSZM, "texture", "glszm"),
    *_parse(_NGTDM, "texture", "ngtdm"),
    *_parse(_GLDM, "texture", "gldm"),
)
