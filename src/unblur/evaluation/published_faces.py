"""The numbers of CFMD-GAN's tables 2 to 5 (Lee, Han, Heo, IEEE Access 2022, section V), as they are printed.

They are of 300VW: 13058 test exposures of 5 to 13 frames at 256 x 256 pixels (table 3: 128 x 128). An asterisk marks
networks that the authors trained again on 300VW. "ALL" of table 4 is the mean weighted by frames, but of FID the plain
mean of the five. Whether a centre frame is that of time or of FMR the paper does not say; the released program
validates on that of FMR. Nor does it define its ArcFace distance.
"""

from __future__ import annotations

from typing import NamedTuple

from unblur.table import Sheet

NOT_OURS = "the paper's, on 300VW: not comparable with numbers on other data"
AGAIN = "* trained again on 300VW"
METRICS = ("PSNR", "SSIM", "LPIPS", "FID", "ArcFace")


class Published(NamedTuple):
    """A table: what it is of, and a line for each network, its name before its `METRICS`."""

    title: str
    lines: tuple[tuple[str, str, str, str, str, str], ...]


TABLES = {
    2: Published(
        f"centre frame, 256 x 256, {AGAIN}",
        (
            ("Nah et al.", "31.4144", ".9232", ".0935", "13.9722", "1.1250"),
            ("SRN", "32.1485", ".9249", ".0930", "11.6292", "1.1488"),
            ("DMPHN", "33.1797", ".9284", ".0847", "13.0407", "1.0338"),
            ("DMPHN*", "33.8182", ".9345", ".0916", "14.3071", "1.0126"),
            ("MIMO-UNet", "34.0372", ".9350", ".0795", "7.8606", "1.0205"),
            ("MIMO-UNet*", "34.8496", ".9401", ".0794", "7.2459", ".9918"),
            ("CFMD-GAN", "34.2684", ".9362", ".0697", "5.1448", ".9338"),
        ),
    ),
    3: Published(
        f"centre frame, 128 x 128, {AGAIN}",
        (
            ("Shen et al.", "23.1795", ".6873", ".2310", "78.3630", "2.2112"),
            ("UMSN", "27.0050", ".8276", ".1460", "39.4150", "1.4908"),
            ("UMSN*", "30.5884", ".9140", ".0833", "16.8517", "1.2716"),
            ("MSPL-GAN", "28.2286", ".8936", ".1092", "27.9441", "1.2947"),
            ("MSPL-GAN*", "34.2711", ".9359", ".0638", "10.3597", "1.0983"),
            ("CFMD-GAN-128", "33.8475", ".9379", ".0491", "6.5449", "1.0246"),
        ),
    ),
    4: Published(
        "films",
        (
            ("Jin et al., 7 frames", "29.2407", ".8754", ".1471", "25.6946", "1.1574"),
            ("CFMD-GAN, 5 frames", "34.6556", ".9498", ".0538", "2.9080", ".7548"),
            ("CFMD-GAN, 7 frames", "33.1360", ".9336", ".0691", "3.4238", ".9078"),
            ("CFMD-GAN, 9 frames", "32.0300", ".9192", ".0823", "4.0663", "1.0384"),
            ("CFMD-GAN, 11 frames", "31.1256", ".9060", ".0939", "4.7120", "1.1466"),
            ("CFMD-GAN, 13 frames", "30.3970", ".8949", ".1041", "5.3640", "1.2367"),
            ("CFMD-GAN, ALL", "31.8474", ".9153", ".0857", "4.0948", "1.0650"),
        ),
    ),
    5: Published(
        "ablation, centre frame",
        (
            ("CADC, FMR (no CACA)", "33.5546", ".9263", ".0814", "7.0030", "1.0457"),
            ("CACA, FMR (no CADC)", "34.0271", ".9279", ".0810", "6.8322", "1.0389"),
            ("CADC, CACA (no FMR)", "33.4478", ".9201", ".0880", "9.6110", "1.1547"),
            ("CADC, CACA, FMR", "34.2684", ".9362", ".0697", "5.1448", ".9338"),
        ),
    ),
}


def published(size: int) -> tuple[Sheet, Sheet, Sheet]:
    """Of centre frames, by the longest side of one's own in pixels; of films; and the ablation."""
    centre, films, ablation = (_sheet(number) for number in (3 if size <= 128 else 2, 4, 5))
    return centre, films, ablation


def _sheet(number: int) -> Sheet:
    title, lines = TABLES[number]
    return Sheet(("of", *METRICS), lines, [False] * len(lines), f"Table {number}, {title}: {NOT_OURS}")
