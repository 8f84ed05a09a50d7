"""Options and arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Photos = Annotated[list[str], typer.Argument(metavar="PHOTO", help="Pictures, folders or globs.")]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="best|fast|NAME|FILE", help="A model; if left out, best where it is quick."),
]
Tile = Annotated[
    str, typer.Option("--tile", metavar="auto|N", help="Side of the tiles that large pictures are cut into.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16, float16.")]
MaxPixels = Annotated[int | None, typer.Option("--max-pixels", min=1, help="Refuse pictures with more pixels.")]
Skip = Annotated[
    bool, typer.Option("--skip-existing", help="Leave outputs that are there; they are replaced otherwise.")
]
Check = Annotated[
    bool, typer.Option("--check/--no-check", help="Warn of photos that are out of focus, or sharp already.")
]
DataConsistency = Annotated[
    int | None,
    typer.Option(
        "--data-consistency",
        metavar="N",
        help="Steps that bring the photo's light back into the sharp frame; 4, or 0 for none.",
    ),
]
Faces = Annotated[
    bool, typer.Option("--faces", help="Restore faces by a model of their own, the rest by the general one.")
]
FaceModel = Annotated[str | None, typer.Option("--face-model", metavar="NAME|FILE", help="A model of faces.")]
FaceBoxes = Annotated[
    list[str] | None,
    typer.Option("--face-box", metavar="L,T,R,B", help="A face, in pixels of the upright photo; may be repeated."),
]
SplitName = Literal["train", "val", "test"]
Split = Annotated[SplitName | None, typer.Option("--split", help="Of metadata; all if left out.")]
ResponseName = Literal["srgb", "gamma", "linear"]
Root = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where metadata's paths start, or a folder with it in it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable report, and nothing else, on stdout.")]
