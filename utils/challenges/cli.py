"""`python -m utils challenge ...`: make a sealed challenge, judge an explanation, open it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from utils.console import Json, print_json, steps
from utils.errors import CourseError

app = typer.Typer(
    help="Sealed challenges: a fresh network trained on a secret program.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def new(
    family: Annotated[str, typer.Option(help="What it reads: cnn, pairs or sequence.")],
    out: Annotated[Path, typer.Option(help="The folder to make; it must not exist.")],
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="The same seed, the same challenge; none: a secret one."),
    ] = None,
    difficulty: Annotated[int, typer.Option(min=1, max=5, help="1 is easy, 5 is hard.")] = 3,
    unlearnable: Annotated[
        bool, typer.Option("--unlearnable", help="Plant a region that no network learns.")
    ] = False,
    learner: Annotated[
        str | None,
        typer.Option(help="Whose it is: the seed comes from this id and the course key."),
    ] = None,
    course_key: Annotated[
        Path | None, typer.Option(help="File with the course's secret, 16 bytes or more.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Where the key goes; else beside the folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw a secret program, train a network on it and seal both; takes a minute or two.

    Hand out the folder. Keep the key: it names the program, and opens the folder with `reveal`.
    """
    # all that can be wrong is found before anything heavy is loaded
    if family not in ("cnn", "pairs", "sequence"):
        raise CourseError(f"There is no family {family!r}; there are: cnn, pairs, sequence.")
    if learner is None and course_key is not None:
        raise CourseError("--course-key is only used together with --learner: add that.")
    if learner is not None and course_key is None:
        raise CourseError("--learner needs the course's secret too: add --course-key FILE.")
    if learner is not None and seed is not None:
        raise CourseError("--learner and --seed both choose the seed: leave one of them out.")
    with steps(as_json) as step:
        step("loading PyTorch and TransformerLens")
        from utils.challenges import make, seal

        if learner is not None:
            seed = seal.learner_seed(seal.read_course_key(course_key), learner)
        seed = seal.fresh_seed() if seed is None else seed
        seal.check_places(out, key)
        made = make.make(family, seed, difficulty, unlearnable=unlearnable, tell=step)
        step("sealing")
        key = seal.seal(made, seed, out, key, learner=None if learner is None else learner.strip())
        card = seal.load(out).card
    if as_json:
        print_json(
            {
                "folder": str(out), "key": str(key), "family": family, "difficulty": difficulty,
                "commitment": card["commitment"],
            }
        )  # fmt: skip
        return
    print(f"Challenge: {out} (hand this out)")
    print(f"Key:       {key} (keep this: it names the program)")
    print(f"Committed: {card['commitment']}")


@app.command()
def reveal(
    folder: Annotated[Path, typer.Argument(help="Folder of the challenge.")],
    key: Annotated[Path, typer.Option(help="The key that was written with it.")],
    as_json: Json = False,
) -> None:
    """Prove with the key that nothing was changed, and say what the program is."""
    with steps(as_json) as step:
        step("loading PyTorch and TransformerLens")
        import torch

        from utils.challenges import seal

        torch.set_num_threads(1)
        step("checking the commitment, the hashes and the network")
        found = seal.reveal(folder, key)
    if as_json:
        print_json(
            {
                "folder": str(folder), "commitment": found.commitment,
                "sentence": found.sentence, "program": found.program.as_dict(),
                "accuracy": found.accuracy, "recorded_accuracy": found.recorded,
                "figures": found.key["figures"], "refused": found.key["refused"],
            }
        )  # fmt: skip
        return
    print(found.sentence)
    print(
        f"\nProved: key, card, weights and materials give the commitment"
        f" {found.commitment[:16]}...,\nand the network follows this program on"
        f" {found.accuracy:.3f} of held-out inputs ({found.recorded:.3f} when it was sealed)."
    )
    if found.program.region is not None:
        print(
            "The planted region is left out of these figures; in it the network was right on"
            f" {found.key['figures']['accuracy_in_region']:.3f}."
        )


@app.command()
def judge(
    folder: Annotated[Path, typer.Argument(help="Folder of the challenge.")],
    explanation: Annotated[
        Path, typer.Option(help="Python file that ends in `explanation = Explanation([...])`.")
    ],
    key: Annotated[
        Path | None, typer.Option(help="The key: compare with the secret labels as well.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Limit for each step and batch.")] = 60.0,
    memory: Annotated[int, typer.Option(min=1024, help="Limit in MiB, torch included.")] = 4096,
    as_json: Json = False,
) -> None:
    """Try an explanation: program, bits, sufficiency, necessity, and one verdict with reasons.

    The file runs in a process of its own with limits of time and memory. It may import torch, and
    Explanation, Step and Site; what was handed out it finds as `given["name"]`.
    """
    if not explanation.is_file():  # told at once, before anything heavy is loaded
        raise CourseError(
            f"There is no file {explanation}; name the Python file of the explanation."
        )
    with steps(as_json) as step:
        step("loading PyTorch and TransformerLens")
        import torch

        from utils.challenges import seal
        from utils.challenges.judge import judge as judged
        from utils.challenges.submission import submitted

        torch.set_num_threads(1)
        challenge = seal.load(folder)
        labels = None
        if key is not None:
            step("checking the key")
            labels = seal.reveal(folder, key).program.labels
        step("starting the explanation in a process of its own")
        with submitted(explanation, challenge.given, seconds=seconds, memory_mb=memory) as mine:
            verdict = judged(challenge, mine, labels=labels, progress=step)
    if as_json:
        print_json(verdict.as_dict())
        return
    print(verdict)
