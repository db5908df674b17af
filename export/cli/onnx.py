"""`onnx`: checkpoint to model repository."""

from pathlib import Path
from typing import Annotated

import typer

from export.cli.console import console
from export.cli.options import (
    AskedVariant,
    Decoder,
    LightBeside,
    Threads,
    parse_decoder,
    parse_opset,
    parse_size,
    parse_style,
)
from export.cli.planned import announce, show
from export.cli.progress import progress
from export.planning.containers import check_container, newest_opset
from export.precision.policy import Fp8Scale, Precision


def onnx(
    checkpoint_dir: Annotated[
        Path,
        typer.Argument(exists=True, file_okay=False, help="Folder in the public layout."),
    ],
    repository: Annotated[Path, typer.Option(help="Model repository to write.")] = Path(
        "model_repository"
    ),
    size: Annotated[
        list[str] | None,
        typer.Option(help="WIDTHxHEIGHT to offer, several times; the first is the default."),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="Of the large weights; norms and what layers add to stay in 32 bits. int8 is for "
            "CPUs: matrices only, widened when used. fp8 is for TensorRT on GPUs of compute "
            "capability 8.9 and later: the denoiser's blocks, and 16 bits elsewhere. By default 32 "
            "bits, and 16 for a network that cannot be exported in 32 in the memory there is."
        ),
    ] = None,
    text_precision: Annotated[
        Precision | None,
        typer.Option(
            help="Of the text encoder, where it is to be another one: int8 keeps it on the CPU and "
            "out of the GPU's memory."
        ),
    ] = None,
    image_precision: Annotated[
        Precision | None,
        typer.Option(help="Of the image encoder, likewise; it runs once for each portrait."),
    ] = None,
    vae_precision: Annotated[
        Precision | None,
        typer.Option(help="Of the VAE, likewise: bf16 or fp32 where its weights overflow in fp16."),
    ] = None,
    decoder: Decoder = None,
    light_decoder: LightBeside = None,
    whole_vae: Annotated[
        bool,
        typer.Option(
            "--whole-vae",
            help="The VAE without a loop, all frames of a window at once: for TensorRTs that "
            "refuse the loop, and faster where windows are small. Takes more memory.",
        ),
    ] = False,
    portrait: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Picture that fp8 is calibrated with."),
    ] = None,
    speech: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Audio file that fp8 is calibrated with: its loudest stretches of 0.88 s, three "
            "at most, animated in the first --size.",
        ),
    ] = None,
    fp8_scale: Annotated[
        Fp8Scale | None,
        typer.Option(
            help="What of a weight in fp8 has a scale of its own: each output channel, which is "
            "the default, or the tensor, which every GPU with fp8 takes."
        ),
    ] = None,
    opset: Annotated[
        int | None,
        typer.Option(
            help="Newest ONNX opset to use: 20, 22 (convolutions in bf16) or 23 (attention and "
            "rotary embedding as single operators, in fp16 and fp8); the newest by default."
        ),
    ] = None,
    container: Annotated[
        str | None,
        typer.Option(
            help="Triton's container that will serve, as 26.07: nothing newer is used than its "
            "ONNX Runtime loads, and what it cannot serve is refused."
        ),
    ] = None,
    style_bank: Annotated[
        bool,
        typer.Option(
            "--style-bank",
            help="Encode some prompts now and leave the text encoder out: 11 GB less at its "
            "public size. Requests then choose among these styles.",
        ),
    ] = False,
    style: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=PROMPT, several times: a further style of the bank; or without a bank the "
            "styles that the weights were trained with, of which the first is the default prompt."
        ),
    ] = None,
    riflex_latent_frames: Annotated[
        int,
        typer.Option(
            min=0,
            help="Latent frames of the clips to come, 4 frames each; slows one temporal frequency "
            "so that long clips do not repeat (RIFLEx). 0 leaves it as it is.",
        ),
    ] = 0,
    riflex_k: Annotated[
        int, typer.Option(min=1, help="Which temporal frequency RIFLEx slows.")
    ] = 6,
    variant: AskedVariant = None,
    halves: Annotated[
        bool,
        typer.Option(
            "--halves", help="Store weights that half precision holds exactly in half the room."
        ),
    ] = False,
    threads: Threads = 0,
    only_plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="Show what would be written, and what that takes, and write nothing."
        ),
    ] = False,
    memory_gb: Annotated[
        float | None,
        typer.Option(
            min=0, help="Memory to plan for; by default what the machine or its container has."
        ),
    ] = None,
) -> None:
    """Write an ONNX file and a config.pbtxt for each network, checked against torch."""
    sizes = [parse_size(text) for text in size or ()]
    styles = dict(parse_style(text) for text in style or ())
    others = _others(text_precision, image_precision, vae_precision)
    light = None if decoder is None else parse_decoder(decoder)
    beside = None if light_decoder is None else parse_decoder(light_decoder)
    _check_calibration(precision, portrait, speech, fp8_scale)
    newest = newest_opset(parse_opset(opset), container)

    import torch

    from export.checkpoint.inspection import check
    from export.checkpoint.layout import Checkpoint
    from export.models.denoiser.config import Riflex
    from export.networks.vae import LightDecoder, VaeChoice
    from export.planning.machine import machine_bytes
    from export.planning.plan import check_memory, make_plan
    from export.precision.calibration import Calibration
    from export.repository.exporter import count_stages, export_repository
    from export.repository.styles import bank
    from export.tensorrt.profiles import SIZES

    if threads:
        torch.set_num_threads(threads)
    checkpoint = Checkpoint(checkpoint_dir, variant)
    check(checkpoint)
    vae = VaeChoice(
        light=LightDecoder(*light) if light else None,
        whole=whole_vae,
        beside=LightDecoder(*beside) if beside else None,
    )
    plan = make_plan(
        checkpoint,
        machine_bytes() if memory_gb is None else round(memory_gb * 1e9),
        asked=precision,
        others=others,
        style_bank=style_bank,
        vae=vae,
    )
    if container is not None:
        check_container(container, set(plan.precisions.values()))
    (show if only_plan else announce)(plan)
    check_memory(checkpoint, plan)
    if only_plan:
        return
    prompts = bank(checkpoint.variant, styles) if style_bank else None
    offered = sizes or SIZES
    calibration = Calibration(portrait, speech, offered[0]) if portrait and speech else None
    with progress(count_stages(checkpoint.variant, prompts, calibration, vae)) as report:
        export_repository(
            checkpoint,
            repository,
            sizes=offered,
            report=report,
            others=plan.precisions,
            riflex=Riflex(riflex_k, riflex_latent_frames) if riflex_latent_frames else None,
            halves=halves,
            prompts=prompts,
            styles=styles,
            calibration=calibration,
            fp8_scale=fp8_scale or "channel",
            vae=vae,
            newest=newest,
        )
    console.print(f"wrote {repository}")


def _others(
    text: Precision | None, image: Precision | None, vae: Precision | None
) -> dict[str, Precision]:
    """Returns the precisions of networks that are to have one of their own."""
    asked: dict[str, Precision | None] = {
        "text_encoder": text,
        "image_encoder": image,
        "vae_encoder": vae,
        "vae_decoder": vae,
        "vae_decoder_light": vae,
    }
    others: dict[str, Precision] = {
        name: precision for name, precision in asked.items() if precision is not None
    }
    if "fp8" in others.values():
        raise typer.BadParameter("fp8 is for the denoiser: --precision fp8")
    if vae == "int8":
        raise typer.BadParameter("--vae-precision: int8 is for matrices, of which the VAE has none")
    return others


def _check_calibration(
    precision: Precision | None, portrait: Path | None, speech: Path | None, scale: Fp8Scale | None
) -> None:
    if (precision == "fp8") != bool(portrait or speech) or bool(portrait) != bool(speech):
        raise typer.BadParameter(
            "--portrait and --speech go with --precision fp8, which needs both"
        )
    if scale and precision != "fp8":
        raise typer.BadParameter("--fp8-scale goes with --precision fp8")
